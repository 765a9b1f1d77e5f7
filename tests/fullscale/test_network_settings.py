"""Memory order, precision, compilation and what needs a GPU, as flags of one process."""

import pytest
import torch

from fullscale.strategies import refuse_what_needs_a_gpu
from models_of_scaling.errors import InputError

SHORT = (
    "--data.global_batch_size=64",
    "--model.train_duration=4 steps",
    "--data.evaluate_every=4 steps",
)
RESNET = (*SHORT, "--model.name=resnet8", "--model.batch_norm_span=16")


@pytest.fixture
def final_state(fit, tmp_path):
    def run(*flags):
        path = tmp_path / "state.pt"
        code, trial, err = fit(
            "--trainer.callbacks+=strategy_callbacks.DumpState",
            f"--trainer.callbacks.path={path}",
            *flags,
        )
        assert code == 0, err
        for file in (tmp_path / "trials").iterdir():
            file.unlink()
        return torch.load(path, weights_only=True), trial

    return run


def largest_difference(one, other):
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


def test_channels_last_changes_the_memory_order_and_not_the_update(final_state):
    want, _ = final_state(*RESNET, "--trainer.precision=64-true")
    got, _ = final_state(*RESNET, "--trainer.precision=64-true", "--model.channels_last=true")
    assert got["3.conv1.weight"].is_contiguous(memory_format=torch.channels_last)
    assert largest_difference(want, got) < 1e-12


def test_bf16_trains_single_precision_weights_to_its_own_rounding(final_state):
    want, trial = final_state(*SHORT)
    got, other = final_state(*SHORT, "--trainer.precision=bf16-mixed")
    assert got["1.weight"].dtype == torch.float32
    # bfloat16 has 8 bits; weights of an MLP stay below 1 and four steps move them by less.
    assert 0 < largest_difference(want, got) < 4 * 2**-8
    assert other.curve_train_loss[0] == pytest.approx(trial.curve_train_loss[0], rel=2**-7)


def test_fp16_with_a_scaler_trains_as_single_precision_does(final_state):
    """Lightning makes the scaler on a GPU by itself; on a CPU it is asked for by its class."""
    want, trial = final_state(*SHORT)
    got, other = final_state(
        *SHORT,
        "--trainer.plugins=lightning.pytorch.plugins.MixedPrecision",
        "--trainer.plugins.precision=16-mixed",
        "--trainer.plugins.device=cpu",
    )
    # float16 has 11 bits; the gradients come back unscaled, or the weights would be far away.
    assert 0 < largest_difference(want, got) < 4 * 2**-8
    assert other.curve_train_loss[0] == pytest.approx(trial.curve_train_loss[0], rel=2**-8)


@pytest.mark.slow
# torch 2.13's compiler uses what torch 2.13 calls deprecated.
@pytest.mark.filterwarnings("ignore:.torch.jit.*:DeprecationWarning")
def test_a_compiled_network_makes_the_same_update(final_state):
    want, _ = final_state(*SHORT, "--trainer.precision=64-true")
    got, _ = final_state(*SHORT, "--trainer.precision=64-true", "--model.compile=true")
    assert largest_difference(want, got) < 1e-12


def test_the_first_lines_state_the_span_of_batch_norm(fit, capsys):
    from fullscale.fit import main

    lines = {}
    for name, flags in {
        "span": ("--model.batch_norm_span=30",),
        "forward": ("--model.batch_norm_moving_averages=false",),
    }.items():
        main([*SHORT, "--model.name=resnet8", "--trainer.fast_dev_run=1", *flags])
        lines[name] = capsys.readouterr().out.splitlines()
    # ceil(64 / 30) = 3 groups of 22, 21 and 21.
    assert "batch norm over 22 examples or one fewer;" in lines["span"][1]
    words = "batch norm over each forward, which changes with the devices, without moving averages;"
    assert words in lines["forward"][1]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--model.batch_norm_span=16",), "--model.batch_norm_span 16: mlp has no batch norm"),
        (
            ("--model.name=resnet8", "--model.batch_norm_span=1"),
            "--model.batch_norm_span 1 must be at least 2",
        ),
        (
            (
                *("--model.name=resnet8", "--model.batch_norm_span=64"),
                "--data.max_per_device_batch_size=32",
            ),
            "give --data.max_per_device_batch_size 64 or more",
        ),
        (("--trainer.strategy=fsdp",), "--trainer.strategy fsdp needs a GPU"),
        (("--trainer.precision=16-mixed",), "--trainer.precision 16-mixed needs a GPU"),
        (
            (
                "--trainer.strategy=fullscale.strategies.FullyShard",
                "--trainer.strategy.tensor_parallel_size=2",
            ),
            "tensor_parallel_size 2 must divide the 1 devices",
        ),
        (
            ("--trainer.strategy=fullscale.strategies.FullyShard", "--trainer.precision=64-true"),
            "--trainer: ",
        ),
        (("--comm.hook=fp16",), "--comm.hook fp16 needs --trainer.strategy ddp"),
        (("--comm.hook=bf16", "--trainer.devices=2"), "--comm.hook bf16 needs GPUs"),
        (
            ("--comm.hook=post_local_sgd", "--trainer.devices=2", "--data.evaluate_every=5 steps"),
            "must be multiples of --comm.averaging_period_steps (4)",
        ),
        (
            ("--comm.hook=post_local_sgd", "--trainer.devices=2", "--comm.group_size=3"),
            "--comm.group_size 3 must divide the 2 processes",
        ),
        (("--comm.hook=zip",), "zip"),
        (("--data.max_per_device_batch_size=most",), "max_per_device_batch_size"),
    ],
)
def test_wrong_input_is_one_line_and_code_2_before_any_process_group(fit, flags, words):
    code, trial, err = fit(*SHORT, *flags)
    assert code == 2
    assert trial is None
    assert len(err.splitlines()) == 1, err
    assert words in err
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize("accelerator", ["auto", "gpu"])
def test_with_a_gpu_half_precision_and_fsdp_are_lightnings_to_judge(accelerator):
    refuse_what_needs_a_gpu({"precision": "16-mixed", "accelerator": accelerator}, has_gpu=True)
    refuse_what_needs_a_gpu({"strategy": "fsdp", "accelerator": "gpu"}, has_gpu=True)
    with pytest.raises(InputError, match="needs a GPU and --trainer.accelerator gpu"):
        refuse_what_needs_a_gpu({"strategy": "fsdp", "accelerator": "auto"}, has_gpu=True)


@pytest.mark.parametrize("accelerator", ["gpu", "cuda"])
def test_without_a_gpu_one_that_is_asked_for_is_refused_with_what_to_ask_instead(accelerator):
    with pytest.raises(InputError, match="no GPU that torch can use; --trainer.accelerator cpu"):
        refuse_what_needs_a_gpu({"accelerator": accelerator}, has_gpu=False)
    refuse_what_needs_a_gpu({"accelerator": "auto"}, has_gpu=False)


def test_the_probe_on_one_process_takes_all_where_all_fits(final_state):
    want, _ = final_state(*SHORT, "--trainer.precision=64-true")
    got, _ = final_state(
        *SHORT,
        *("--trainer.precision=64-true", "--data.max_per_device_batch_size=auto"),
        *(
            "--trainer.callbacks+=strategy_callbacks.RunOutOfMemory",
            "--trainer.callbacks.limits=[9]",
        ),
    )
    assert 0 < largest_difference(want, got) < 1e-12


def test_a_device_without_room_for_one_example_ends_the_run_with_code_2(fit):
    code, trial, err = fit(
        *(*SHORT, "--data.max_per_device_batch_size=auto"),
        *(
            "--trainer.callbacks+=strategy_callbacks.RunOutOfMemory",
            "--trainer.callbacks.limits=[0]",
        ),
    )
    assert code == 2
    assert trial is None
    assert "no memory for a single example" in err

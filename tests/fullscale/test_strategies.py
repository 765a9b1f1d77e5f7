"""One experiment on one process and on two, by every strategy: the same update."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
UNEVEN = ("--data.global_batch_size=97", "--model.weight_decay=0.01")
RESNET = (
    "--data.global_batch_size=96",
    "--model.name=resnet8",
    "--model.batch_norm_span=32",
    "--model.weight_decay=0.01",
)
LAST_STEP_ONLY = (*RESNET, "--model.batch_norm_moving_averages=false")
LARS = (
    *("--model.optimizer=lars", "--model.optimizer_numbers={trust_coefficient: 0.02}"),
    *("--model.weight_decay=0.01", "--model.train_duration=20 steps"),
    "--data.evaluate_every=20 steps",
)
LARS_RESNET = (
    *(*LARS, "--data.global_batch_size=32", "--model.name=resnet8"),
    "--model.batch_norm_span=16",
)
LARS_MLP_32 = (*LARS, "--data.global_batch_size=97", "--trainer.precision=32-true")
ASKED = ("--model.train_duration=20 steps", "--data.evaluate_every=20 steps")
KFAC = (
    *(*ASKED, "--data.global_batch_size=97", "--model.name=small_cnn"),
    *("--model.optimizer=kfac", "--model.weight_decay=0.01"),
    "--model.optimizer_numbers={inverse_every: 5}",
)
SAM = (*ASKED, *RESNET, "--model.optimizer=sam:lars", "--model.batch_norm_span=16")
ADASCALE = (*ASKED, "--data.global_batch_size=96", "--model.optimizer=adascale")
WHOLE_SET = ("--data.global_batch_size=1024", "--model.decay_power=0")
HOOK = ("--data.global_batch_size=64", "--model.learning_rate=0.05")
LOCAL = (
    *("--comm.hook=post_local_sgd", "--comm.start_steps=4", "--comm.averaging_period_steps=4"),
    *("--data.evaluate_every=4 steps", "--model.train_duration=8 steps"),
)

# As many examples as ImageNet has, 4,096 to a forward, in 313 steps or in one; first of all, since
# the peak of a process never falls.
SYNTHETIC = (
    *("--data.name=synthetic", "--data.image_size=8", "--model.train_duration=1 epochs"),
    *("--data.max_per_device_batch_size=4096", "--trainer.limit_val_batches=1"),
    *("--data.num_classes=10", "--trainer.precision=32-true"),
    *("--data.evaluate_every=1 epochs", "--trainer.callbacks+=strategy_callbacks.ZeroPictures"),
)
ALONE = {
    "memory_of_4096": (*SYNTHETIC, "--data.global_batch_size=4096"),
    "memory_of_all": (*SYNTHETIC, "--data.global_batch_size=1281167"),
    "uneven": UNEVEN,
    "whole_set": WHOLE_SET,
    "resnet": RESNET,
    "resnet_accumulated": (*RESNET, "--data.max_per_device_batch_size=32"),
    "last_step_only": LAST_STEP_ONLY,
    "lars": LARS_RESNET,
    "lars_32": LARS_MLP_32,
    "kfac": KFAC,
    "sam": SAM,
    "adascale": ADASCALE,
    "hook": HOOK,
    "hook_8": (*HOOK, "--data.evaluate_every=4 steps", "--model.train_duration=8 steps"),
}
ACCUMULATED = "--data.max_per_device_batch_size=17"
SHARED = "--data.max_per_device_batch_size=16"  # half of a statistic
TOGETHER = {
    "uneven_ddp": (*UNEVEN, ACCUMULATED),
    "uneven_fsdp2": (*UNEVEN, ACCUMULATED, "--trainer.strategy=fsdp2"),
    "uneven_head": (*UNEVEN, "--trainer.strategy=fsdp2_head2"),
    "uneven_probed": (
        *(*UNEVEN, "--data.max_per_device_batch_size=auto"),
        *(
            "--trainer.callbacks+=strategy_callbacks.RunOutOfMemory",
            "--trainer.callbacks.limits=[40, 20]",
        ),
    ),
    "whole_set_fsdp2": (*WHOLE_SET, "--trainer.strategy=fsdp2"),
    "resnet_ghost": RESNET,
    "resnet_shared": (*RESNET, SHARED),
    "resnet_fsdp2": (*RESNET, SHARED, "--trainer.strategy=fsdp2", "--model.channels_last=true"),
    "last_step_only_shared": (*LAST_STEP_ONLY, SHARED),
    "lars_fsdp2": (
        *(*LARS_RESNET, "--data.max_per_device_batch_size=8"),
        "--trainer.strategy=fsdp2",
    ),
    "lars_32_fsdp2": (*LARS_MLP_32, "--trainer.strategy=fsdp2"),
    "kfac_ddp": (*KFAC, ACCUMULATED),
    "kfac_fsdp2": (*KFAC, "--trainer.strategy=fsdp2"),
    "sam_ddp": (*SAM, "--data.max_per_device_batch_size=8"),
    "sam_fsdp2": (*SAM, "--trainer.strategy=fsdp2"),
    "adascale_ddp": (*ADASCALE, "--data.max_per_device_batch_size=24"),
    "adascale_fsdp2": (*ADASCALE, "--trainer.strategy=fsdp2"),
    "hook_fp16": (*HOOK, "--comm.hook=fp16"),
    "hook_powersgd": (*HOOK, "--comm.hook=powersgd", "--comm.start_steps=2"),
    "hook_8_local": (*HOOK, *LOCAL),
    "hook_8_local_of_2": (*HOOK, *LOCAL, "--comm.group_size=2"),
}


def write_runs(folder: Path, runs: dict[str, tuple[str, ...]], *, devices: int) -> str:
    every = {
        name: [
            *("--trainer.accelerator=cpu", f"--trainer.devices={devices}"),
            *("--trainer.precision=64-true", "--model.train_duration=4 steps"),
            "--data.evaluate_every=2 steps",
            *("--trainer.callbacks+=strategy_callbacks.DumpState",),
            *(f"--trainer.callbacks.path={folder / name}.pt", f"--record.folder={folder / name}"),
            *flags,
        ]
        for name, flags in runs.items()
    }
    path = folder / f"runs_{devices}.json"
    path.write_text(json.dumps(every))
    return str(path)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """All runs, in one start of one process and one start of two."""
    import os

    folder = tmp_path_factory.mktemp("strategies")
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MASTER_", "RANK", "WORLD_SIZE", "LOCAL_", "TORCHEL", "SLURM_"))
    }
    clean |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE)}
    script = str(HERE / "run_many.py")
    two = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    started = [
        subprocess.Popen(
            [*words, script, write_runs(folder, chosen, devices=devices)],
            env=clean,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for words, chosen, devices in (([sys.executable], ALONE, 1), (two, TOGETHER, 2))
    ]
    said = [process.communicate(timeout=240)[0] for process in started]
    codes = {path.name: path.read_text() for path in folder.glob("*.code.*")}
    print(*said, sep="\n")  # shown where the next line fails
    assert len(codes) == len(ALONE) + 2 * len(TOGETHER)
    assert set(codes.values()) == {"0"}, codes
    return folder, said[1]


def load(runs, name):
    return torch.load(runs[0] / f"{name}.pt", weights_only=True)


def largest_difference(runs, one: str, other: str) -> float:
    """The largest difference of any parameter or moving average, relative to the tensor's."""
    a, b = load(runs, one), load(runs, other)
    assert a.keys() == b.keys()
    return max(
        float((b[name].double() - a[name].double()).abs().max() / a[name].double().abs().max())
        for name in a
    )


pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["uneven_ddp", "uneven_fsdp2", "uneven_head", "uneven_probed"])
def test_97_examples_make_the_same_update_however_they_are_spread(runs, name):
    # float64: sums in another order.
    assert largest_difference(runs, "uneven", name) < 1e-12


def test_the_whole_training_set_in_one_step_is_the_same_under_fsdp2(runs):
    assert largest_difference(runs, "whole_set", "whole_set_fsdp2") < 1e-12


def test_memory_does_not_grow_from_a_batch_of_4096_to_all_of_imagenets_examples(runs):
    small, whole = (
        int((runs[0] / f"memory_of_{name}.peak_kib.0").read_text()) for name in ("4096", "all")
    )
    # All pictures at once would be 0.9 GiB more: far above these 5 %.
    assert 0.5 * small < 1_281_167 * 3 * 8 * 8 * 4 / 1024
    assert small <= whole < 1.05 * small


@pytest.mark.parametrize(
    "name", ["resnet_accumulated", "resnet_ghost", "resnet_shared", "resnet_fsdp2"]
)
def test_with_a_stated_span_batch_norm_gives_the_same_update_and_the_same_averages(runs, name):
    assert any("running_var" in key for key in load(runs, name))
    assert largest_difference(runs, "resnet", name) < 1e-12


def test_without_moving_averages_the_last_steps_statistics_are_the_same_and_others(runs):
    assert largest_difference(runs, "last_step_only", "last_step_only_shared") < 1e-12
    averages, last = load(runs, "resnet"), load(runs, "last_step_only")
    # The weights are the same: training never looks at the averages.
    torch.testing.assert_close(last["0.weight"], averages["0.weight"], rtol=0, atol=0)
    assert float((last["1.running_var"] - averages["1.running_var"]).abs().max()) > 0.1


def test_20_steps_of_lars_have_norms_of_whole_tensors_also_where_they_are_cut(runs):
    # Rounding of 1e-16 a step, amplified by training: 20 steps of it stay below this.
    assert largest_difference(runs, "lars", "lars_fsdp2") < 1e-11


def test_20_steps_of_lars_in_single_precision_agree_to_its_rounding(runs):
    assert largest_difference(runs, "lars_32", "lars_32_fsdp2") < 1e-6


@pytest.mark.parametrize("name", ["kfac_ddp", "kfac_fsdp2", "sam_ddp", "sam_fsdp2", "adascale_ddp"])
def test_20_steps_of_what_asks_the_batch_for_more_are_the_same_on_two_processes(runs, name):
    # As above; K-FAC's inverses multiply rounding by the inverse of the damping, 1e3.
    assert largest_difference(runs, name.partition("_")[0], name) < 1e-10


def test_adascale_on_shards_has_parts_of_its_own_and_so_another_estimate(runs):
    assert 1e-6 < largest_difference(runs, "adascale", "adascale_fsdp2") < 0.5


def test_the_probe_takes_what_the_smallest_device_holds(runs):
    # 40 and 20 examples: 32 and 16; the smaller one counts, 97 = 2 x 4 forwards of at most 13.
    assert "13 per device x 2 devices x 4 accumulation" in runs[1]


def test_compressed_gradients_change_the_update_by_their_rounding_only(runs):
    # Four steps; weights move by less than their size, so by less than its rounding each.
    assert 0 < largest_difference(runs, "hook", "hook_fp16") < 4 * 2**-11


def test_powersgd_is_not_the_exact_sum(runs):
    assert 1e-6 < largest_difference(runs, "hook", "hook_powersgd") < 0.2


def test_post_local_sgd_is_exact_within_a_group_and_close_between_averages(runs):
    # A group of both processes still sums over both: the averages change nothing.
    assert largest_difference(runs, "hook_8", "hook_8_local_of_2") < 1e-12
    assert 1e-6 < largest_difference(runs, "hook_8", "hook_8_local") < 0.1

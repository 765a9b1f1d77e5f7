"""A run that goes on from a checkpoint is the run that was never disturbed."""

import resource
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from fullscale.checkpoints.files import list_checkpoints, read_checkpoint

# 24 steps, evaluated every 4: two epochs and a bit, in uneven steps.
RUN = (
    "--data.global_batch_size=97",
    "--model.train_duration=24 steps",
    "--model.warmup=5 steps",
    "--model.target=validation_accuracy>=1",
    "--data.evaluate_every=4 steps",
)


@pytest.fixture(autouse=True)
def _one_thread():
    """Like the processes that other tests start: sums in the same order to the last bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def part(fit, tmp_path):
    """Run or go on in this process: (code, trial, weights at the end, standard error)."""
    weights = tmp_path / "weights.pt"

    def run(*flags, every="3 steps"):
        code, trial, err = fit(
            *RUN,
            f"--checkpoint.folder={tmp_path / 'checkpoints'}",
            f"--checkpoint.every={every}",
            "--trainer.callbacks+=fit_callbacks.DumpWeights",
            f"--trainer.callbacks.path={weights}",
            *flags,
        )
        return code, trial, torch.load(weights) if weights.exists() else None, err

    return run


@pytest.fixture
def undisturbed(part, tmp_path):
    """The same run from start to end, without a checkpoint."""

    def run(*flags):
        code, trial, weights, err = part("--checkpoint.folder=null", *flags)
        assert code == 0, err
        shutil.rmtree(tmp_path / "trials")
        return trial, weights

    return run


def stop_after(step, number=signal.SIGINT):
    return (
        "--trainer.callbacks+=fit_callbacks.SignalAtStep",
        f"--trainer.callbacks.step={step}",
        f"--trainer.callbacks.number={int(number)}",
    )


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The checkpoints of a run that was stopped after 5 steps."""
    from fullscale.fit import main

    base = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        code = main([
            *(*RUN, "--trainer.accelerator=cpu", *stop_after(5)),
            f"--record.folder={base / 'trials'}",
            f"--checkpoint.folder={base / 'checkpoints'}",
            "--checkpoint.every=3 steps",
        ])
    assert code == 130
    return base / "checkpoints"


def assert_same(one, other):
    """Bit for bit: weights; of the trial all but its times."""
    (trial, weights), (other_trial, other_weights) = one, other
    for a, b in zip(weights, other_weights, strict=True):
        assert torch.equal(a, b)
    for column in ("trial_id", "status", "steps", "examples", "curve_steps"):
        assert getattr(other_trial, column) == getattr(trial, column), column
    for column in ("train_loss", "validation_loss", "validation_accuracy"):
        a, b = (getattr(each, f"curve_{column}") for each in (trial, other_trial))
        assert a == b, column


@pytest.mark.parametrize(
    ("step", "optimizer"), [(1, "momentum"), (12, "momentum"), (12, "lars"), (23, "lars")]
)
def test_a_run_stopped_at_a_step_and_resumed_is_bit_equal_to_an_undisturbed_one(
    part, undisturbed, optimizer, step
):
    """Step 12 is an evaluation step: the stop comes first, the resumed run begins with it."""
    want = undisturbed(f"--model.optimizer={optimizer}")
    code, trial, _, _ = part(f"--model.optimizer={optimizer}", *stop_after(step))
    assert (code, trial.status, trial.steps) == (130, "interrupted", step)
    assert trial.curve_steps == list(range(4, step, 4))
    code, trial, weights, err = part(f"--model.optimizer={optimizer}")
    assert (code, err) == (0, "")
    assert_same(want, (trial, weights))


def test_a_run_resumed_twice_has_one_trial_with_the_time_of_all_its_parts(part):
    _, first, _, _ = part(*stop_after(5))
    _, second, _, _ = part(*stop_after(17))
    _, whole, _, _ = part()
    assert first.wall_time_s < second.wall_time_s < whole.wall_time_s
    assert first.start_time == second.start_time == whole.start_time
    assert whole.curve_steps == [4, 8, 12, 16, 20, 24]
    assert whole.commit == first.commit


@pytest.mark.parametrize("limit", [20, 7])
def test_another_per_device_batch_goes_on_with_the_same_examples(part, undisturbed, limit):
    want_trial, want = undisturbed("--trainer.precision=64-true")
    part("--trainer.precision=64-true", *stop_after(10))
    code, trial, weights, _ = part(
        "--trainer.precision=64-true", f"--data.max_per_device_batch_size={limit}"
    )
    assert code == 0
    # Only the order of float64 sums differs. An example repeated or left out would move the
    # weights by 1e-3 and more.
    for a, b in zip(weights, want, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(trial.curve_train_loss, want_trial.curve_train_loss, rtol=1e-12)
    assert trial.curve_validation_accuracy == want_trial.curve_validation_accuracy


def test_random_draws_of_the_network_go_on_where_they_were(part, undisturbed):
    random = ("--seed_everything=7", "--trainer.callbacks+=fit_callbacks.AddDropout")
    want = undisturbed(*random)
    other = undisturbed("--seed_everything=8", "--trainer.callbacks+=fit_callbacks.AddDropout")
    assert not torch.equal(want[1][0], other[1][0])
    part(*random, *stop_after(10))
    _, trial, weights, _ = part(*random)
    assert_same(want, (trial, weights))


def test_batch_norms_averages_are_in_the_checkpoint(part, undisturbed):
    network = ("--model.name=resnet8", "--trainer.max_steps=6")
    want = undisturbed(*network)
    part(*network, *stop_after(3))
    code, trial, weights, err = part(*network)
    assert code == 0, err
    # Validation uses the moving averages.
    assert_same(want, (trial, weights))


def test_the_scale_of_half_precision_goes_on_where_it_was(part, undisturbed, tmp_path):
    """It doubles every 7 steps from 1024: stopped after step 10, it is 2048 and 3 steps old."""
    scaled = ("--trainer.callbacks+=fit_callbacks.ScaleLosses",)
    want = undisturbed(*scaled)
    part(*scaled, *stop_after(10))
    saved = read_checkpoint(list_checkpoints(tmp_path / "checkpoints")[0]).state["precision"]
    assert (saved["scale"], saved["_growth_tracker"]) == (2048.0, 3)
    _, trial, weights, _ = part(*scaled)
    final = read_checkpoint(list_checkpoints(tmp_path / "checkpoints")[0]).state["precision"]
    assert (final["scale"], final["_growth_tracker"]) == (8192.0, 3)
    assert_same(want, (trial, weights))


def test_a_resumed_run_diverges_where_the_undisturbed_one_does(part, undisturbed):
    """The bound comes from the first step's loss; the warm-up brings the run over it later."""
    rising = ("--model.learning_rate=20", "--model.warmup=20 steps", "--stop.max_loss_factor=1.2")
    trial, _ = undisturbed(*rising)
    assert (trial.status, trial.steps > 3) == ("diverged", True)
    part(*rising, *stop_after(3))
    code, resumed, _, _ = part(*rising)
    assert (code, resumed.status, resumed.steps) == (0, "diverged", trial.steps)


def test_a_run_ended_in_mid_step_is_not_saved_there(part, undisturbed, tmp_path):
    """Three forwards a step; the 23rd belongs to the 8th: batch norm may have seen half of it."""
    accumulated = "--data.max_per_device_batch_size=40"
    _, want = undisturbed(accumulated)
    stop = ("--trainer.callbacks+=fit_callbacks.StopInStep", "--trainer.callbacks.forwards=23")
    assert part(accumulated, *stop)[1].status == "interrupted"
    assert list_checkpoints(tmp_path / "checkpoints")[0].name == "step-000000006.ckpt"
    _, trial, weights, _ = part(accumulated)
    assert all(torch.equal(a, b) for a, b in zip(weights, want, strict=True))
    assert trial.curve_steps == [4, 8, 12, 16, 20, 24]


def test_a_damaged_checkpoint_is_passed_over_with_a_warning_that_names_both(
    part, undisturbed, tmp_path
):
    want = undisturbed()
    part(*stop_after(14))
    newest, before = list_checkpoints(tmp_path / "checkpoints")
    assert (newest.name, before.name) == ("step-000000014.ckpt", "step-000000012.ckpt")
    newest.write_bytes(newest.read_bytes()[:-100])
    code, trial, weights, err = part()
    assert code == 0
    assert err.splitlines() == [
        f"warning: checkpoint {newest} is damaged: its checksum is not that of its content; "
        f"{before} is used instead"
    ]
    assert_same(want, (trial, weights))


def test_a_full_disk_ends_the_run_in_one_line_and_leaves_the_last_good_one(part, tmp_path):
    part(*stop_after(10))
    (good, *_) = list_checkpoints(tmp_path / "checkpoints")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A checkpoint is of 37 kB, the trial of 15 kB.
    resource.setrlimit(resource.RLIMIT_FSIZE, (25_000, hard))
    try:
        code, trial, _, err = part()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 1
    (line,) = err.splitlines()
    assert line.startswith(f"error: checkpoint {tmp_path / 'checkpoints' / 'step-000000012.ckpt'}")
    assert line.endswith(f"{good} is the last good one")
    assert (trial.status, trial.steps) == ("interrupted", 12)
    assert read_checkpoint(good).header.steps == 10
    assert not list((tmp_path / "checkpoints").glob(".*"))
    assert part()[0] == 0


def test_a_run_that_ended_is_not_run_again(part, tmp_path, capsys):
    _, trial, _, _ = part()
    assert part()[:2] == (0, trial)
    code, _, _, _ = part("--record.folder", str(tmp_path / "elsewhere"))
    assert code == 0
    assert not list((tmp_path / "elsewhere").iterdir())


def test_checkpoints_come_at_their_rhythm_and_the_last_are_kept(part, tmp_path):
    part("--checkpoint.keep=100", every="5 steps")
    assert [path.name[-7:-5] for path in list_checkpoints(tmp_path / "checkpoints")] == [
        *("24", "20", "15", "10", "05")
    ]
    final = read_checkpoint(tmp_path / "checkpoints" / "step-000000024.ckpt")
    assert (final.header.status, final.header.evaluation_due) == ("not_reached", False)


def test_without_a_folder_nothing_is_saved(fit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, _ = fit(*RUN, "--trainer.max_steps=4")
    assert code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["trials"]


def test_a_given_checkpoint_is_the_one_gone_on_from(part, undisturbed, tmp_path):
    want = undisturbed()
    part("--checkpoint.keep=100", *stop_after(14))
    chosen = tmp_path / "checkpoints" / "step-000000006.ckpt"
    elsewhere = f"--checkpoint.folder={tmp_path / 'branch'}"
    code, trial, weights, err = part(elsewhere, f"--checkpoint.resume={chosen}")
    assert code == 0, err
    assert_same(want, (trial, weights))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--model.name=small_cnn",), "is of another run: model is mlp there and small_cnn here"),
        (("--model.optimizer=lars",), "optimizer is momentum there and lars here"),
        (("--model.learning_rate=0.3",), "learning_rate is 0.1 there and 0.3 here"),
        (("--model.train_duration=25 steps",), "num_train_steps is 24.0 there and 25.0 here"),
        (("--data.global_batch_size=98",), "global_batch_size is 97 there and 98 here"),
        (("--data.seed=1",), "seed is 0 there and 1 here"),
        (("--trainer.precision=64-true",), "precision is 32-true there and 64-true here"),
        (("--checkpoint.resume=never",), "holds step-000000005.ckpt already"),
        (("--checkpoint.resume=/nowhere/x.ckpt",), "--checkpoint.resume /nowhere/x.ckpt can't be"),
        (
            (f"--checkpoint.resume={__file__}",),
            "test_resume.py is not a checkpoint of this program",
        ),
        (("--checkpoint.resume={folder}/step-000000003.ckpt",), "holds a later one"),
        (("--checkpoint.every=0 steps",), "--checkpoint.every '0 steps' must be at least one"),
        (("--checkpoint.every=often",), "--checkpoint.every 'often' is not of the form"),
        (("--checkpoint.keep=0",), "--checkpoint.keep 0 must be at least 1"),
        (("--checkpoint.requeue=always",), "always"),
        (("--checkpoint.folder=/proc/nothing",), "/proc/nothing can't be written"),
        (
            ("--data.global_batch_size=1025",),
            "1025 is a batch larger than the data set: the training set has 1024 examples",
        ),
        (
            ("--data.global_batch_size=2000", "--trainer.devices=1500"),
            "1024 examples, which are too few for 1500 processes",
        ),
    ],
)
def test_wrong_input_is_one_line_and_code_2_and_the_checkpoints_stay(
    part, stopped, tmp_path, flags, words
):
    folder = tmp_path / "checkpoints"
    shutil.copytree(stopped, folder)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    code, _, _, err = part(*(flag.format(folder=folder) for flag in flags))
    assert code == 2
    assert len(err.splitlines()) == 1, err
    assert err.startswith("error: ")
    assert words in err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before

"""A batch that grows by a measured noise scale, here a planted one."""

import csv
import re
import signal

import numpy as np
import pytest
import torch

RUN = (
    *("--data.global_batch_size=32", "--model.train_duration=5 epochs", "--data.seed=1"),
    *("--model.learning_rate=0.1", "--model.target=validation_accuracy>=1"),
    *("--data.evaluate_every=1 epochs", "--data.max_per_device_batch_size=50"),
    "--model.growth_scaling=sqrt",
)
# 8 examples of noise for each step done, asked after every 10 steps: 32, 64 at 10, 160 at 20, ...
NOISE = (
    *(*RUN, "--data.grow_by_noise=true", "--data.max_global_batch_size=600"),
    *("--grow_by_noise.every=10 steps", "--trainer.callbacks+=growth_callbacks.PlantNoise"),
    *("--trainer.callbacks.per_step=8", "--trainer.callbacks.valid_after=15"),
)


@pytest.fixture
def one_thread():
    """Sums in the same order to the last bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def run(fit, tmp_path, monkeypatch):
    """Run: (trial, weights, rows of metrics.csv, growths as said)."""
    import fullscale.callbacks.grow_by_noise as growing

    def start(*flags):
        said = []
        monkeypatch.setattr(growing, "print", lambda *w, **_: said.append(w[0]), raising=False)
        path = tmp_path / "weights.pt"
        code, trial, err = fit(
            *flags,
            "--trainer.callbacks+=fit_callbacks.DumpWeights",
            f"--trainer.callbacks.path={path}",
        )
        assert code == 0, err
        (table,) = (tmp_path / "trials").glob("*.metrics.csv")
        rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
        for file in (tmp_path / "trials").iterdir():
            file.unlink()
        growths = [
            tuple(int(number) for number in re.findall(r"-> (\d+) from step (\d+)", line)[0])
            for line in said
            if "->" in line
        ]
        return trial, torch.load(path, weights_only=True), rows, growths

    return start


def as_table(growths, *, batch_size=32):
    """The same phases by places in the stream, as the user would write them."""
    lines, place, step = [], 0, 0
    for size, first_step in growths:
        place += (first_step - step) * batch_size
        lines.append(f"{place} examples: {size}")
        batch_size, step = size, first_step
    return f"--data.batch_phases={lines}".replace('"', "'")


def assert_equal(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.usefixtures("one_thread")
def test_a_batch_follows_the_noise_and_the_run_is_that_of_the_same_phases_by_table(run):
    trial, weights, rows, growths = run(*NOISE)
    # Not valid at 10; 160 at 20 allows 128; 480 at 60 never comes: 5,120 examples are over.
    assert growths[0] == (128, 20)
    # 20 x 32 + 12 x 128 = 2,176 examples by step 32, where 256 has come: 8 x 40 = 320 at 40.
    assert growths[1] == (256, 40)
    sizes = {20: 32, 40: 128}
    for row in rows:
        steps = int(row["steps"])
        want = next((size for end, size in sizes.items() if steps <= end), 256)
        assert int(row["batch_size"]) == want
    assert trial.examples == 20 * 32 + 20 * 128 + (trial.steps - 40) * 256
    assert 5 * 1024 <= trial.examples < 5 * 1024 + 256
    assert "batch_phases" not in trial.settings  # what it came to is no setting
    assert trial.settings["grow_by_noise"].startswith("by 2 within 1 of the noise scale")
    other, same, _, _ = run(*RUN, as_table(growths))
    assert_equal(weights, same)
    assert (other.steps, other.examples) == (trial.steps, trial.examples)
    # In a run of its own, so that what differs is the rhythm of evaluation only.
    assert other.curve_validation_loss[-1] == trial.curve_validation_loss[-1]


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("limit", [1024, 20])
def test_workers_that_are_ahead_change_nothing_also_where_a_step_has_several_forwards(run, limit):
    limit = f"--data.max_per_device_batch_size={limit}"
    trial, weights, _, growths = run(*NOISE, limit)
    other, same, _, others = run(*NOISE, limit, "--data.num_workers=2")
    assert growths == others == [(128, 20), (256, 40)]
    assert_equal(weights, same)
    assert (other.steps, other.examples) == (trial.steps, trial.examples)
    assert other.curve_train_loss == trial.curve_train_loss


@pytest.mark.usefixtures("one_thread")
@pytest.mark.slow
def test_a_run_stopped_right_after_its_growth_and_resumed_is_bit_equal(run, fit, tmp_path):
    flags = (*NOISE, "--data.num_workers=2")
    trial, weights, _, _ = run(*flags)
    saved = (f"--checkpoint.folder={tmp_path / 'checkpoints'}",)
    # Workers have prepared steps of the old batch by then.
    code, stopped, _ = fit(
        *(*flags, *saved, "--trainer.callbacks+=fit_callbacks.SignalAtStep"),
        *("--trainer.callbacks.step=21", f"--trainer.callbacks.number={int(signal.SIGINT)}"),
    )
    assert (code, stopped.steps) == (130, 21)
    other, same, _, _ = run(*flags, *saved)
    assert_equal(weights, same)
    assert (other.trial_id, other.steps, other.examples) == (
        trial.trial_id,
        trial.steps,
        trial.examples,
    )


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_the_measured_noise_scale_of_a_run_grows_its_batch_and_changes_nothing_else(run):
    """GradientNoiseScale as it is, over the last 16 steps; on digits it rises from some tens."""
    limit = "--data.max_per_device_batch_size=8"
    trial, weights, rows, growths = run(
        *(*RUN, limit, "--data.grow_by_noise=true", "--grow_by_noise.every=20 steps"),
        "--data.max_global_batch_size=256",
        "--trainer.callbacks+=fullscale.callbacks.gradient_noise.GradientNoiseScale",
        *("--trainer.callbacks.window_steps=16", "--trainer.callbacks.blocks=16"),
    )
    assert growths
    sizes = [32, *(size for size, _ in growths)]
    for before, after in zip(sizes, sizes[1:], strict=False):
        assert after in {2 * before, 4 * before, 8 * before}
    assert max(sizes) <= 256
    assert int(rows[-1]["batch_size"]) == sizes[-1]
    other, same, _, _ = run(*RUN, limit, as_table(growths))
    assert_equal(weights, same)
    assert (other.steps, other.examples) == (trial.steps, trial.examples)


def test_a_batch_that_stays_says_why_once(fit, monkeypatch):
    import fullscale.callbacks.grow_by_noise as growing

    said = []
    monkeypatch.setattr(growing, "print", lambda *w, **_: said.append(w[0]), raising=False)
    code, _, err = fit(
        *("--data.global_batch_size=32", "--model.train_duration=12 steps"),
        *("--data.grow_by_noise=true", "--grow_by_noise.every=3 steps"),
        "--data.max_per_device_batch_size=8",
        "--trainer.callbacks+=fullscale.callbacks.gradient_noise.GradientNoiseScale",
    )
    assert code == 0, err
    assert said == ["growth  batch stays 32: too few steps: 0 in 0 blocks, 8 are needed"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "--data.grow_by_noise needs a callback that measures the noise scale"),
        (
            ("--data.max_per_device_batch_size=auto",),
            "--data.grow_by_noise needs a number for --data.max_per_device_batch_size",
        ),
        (("--grow_by_noise.factor=1",), "--grow_by_noise.factor 1 must be at least 2"),
        (("--grow_by_noise.share=0",), "--grow_by_noise.share 0.0 must be positive"),
        (("--data.batch_phases=['1 epochs: 64']",), "exclude each other"),
        (
            (
                *("--model.name=resnet8", "--data.max_per_device_batch_size=16"),
                "--trainer.callbacks+=fullscale.callbacks.gradient_noise.GradientNoiseScale",
            ),
            "unless --model.batch_norm_span says over how many examples its statistics are",
        ),
    ],
)
def test_growth_by_noise_is_refused_in_one_line(fit, flags, words):
    code, trial, err = fit("--data.global_batch_size=32", "--data.grow_by_noise=true", *flags)
    assert (code, trial) == (2, None)
    assert len(err.splitlines()) == 1, err
    assert words in err

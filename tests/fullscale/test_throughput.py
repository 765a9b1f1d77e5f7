"""Images a second: of training alone, of the examples that really passed."""

import csv
import math
from types import SimpleNamespace

import pytest
import torch

from fullscale.callbacks import throughput as room
from fullscale.callbacks.throughput import ResumeClock, Speed, Throughput
from fullscale.module import Classifier


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves when told to."""
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(room.time, "perf_counter", lambda: now.seconds)
    return now


@pytest.fixture
def run(clock):
    """Training by hand: `step` takes seconds over forwards, `pause` is not training."""
    module = Classifier()
    trainer = SimpleNamespace(global_step=0, world_size=1, sanity_checking=False)

    def start(warmup_steps):
        meter = Throughput(warmup_steps=warmup_steps)
        resume = ResumeClock(meter)
        meter.on_train_start(trainer, module)

        def step(seconds, *forwards):
            for number, weights in enumerate(forwards):
                clock.seconds += seconds / len(forwards)
                labels = torch.zeros(len(weights), dtype=torch.int64)
                batch = (torch.zeros(len(weights), 1), labels, torch.tensor(weights))
                trainer.global_step += number == len(forwards) - 1
                meter.on_train_batch_end(trainer, module, None, batch, number)
                resume.on_train_batch_end()

        def evaluate(seconds):
            meter.on_validation_start(trainer, module)
            clock.seconds += seconds
            resume.on_validation_end(trainer, module)

        def save(seconds):
            clock.seconds += seconds
            resume.on_train_batch_end()

        return SimpleNamespace(
            meter=meter,
            step=step,
            evaluate=evaluate,
            save=save,
            end=lambda: meter.on_train_end(trainer, module),
        )

    return start


def test_a_changing_batch_is_counted_by_the_examples_that_passed(run):
    training = run(0)
    training.step(1.0, [1.0] * 4)
    training.step(2.0, [1.0] * 8, [1.0] * 6)
    training.step(1.0, [1.0] * 2)
    training.end()
    assert training.meter.total == Speed(steps=3, examples=20, seconds=4.0, num_devices=1)
    assert training.meter.total.images_per_s == 5.0
    assert training.meter.total.step_time_s == pytest.approx(4 / 3)


def test_a_filler_is_no_example_and_a_lone_example_is_one(run):
    training = run(0)
    training.step(1.0, [1.0] * 4, [0.0])
    training.step(1.0, [1.0] * 4, [1.0])
    training.end()
    assert training.meter.total.examples == 9


def test_the_first_steps_evaluations_and_checkpoints_take_no_part(run):
    training = run(2)
    training.step(50.0, [1.0] * 4)
    training.step(50.0, [1.0] * 4)
    training.step(1.0, [1.0] * 4)
    training.save(30.0)
    training.evaluate(70.0)
    assert training.meter.latest == Speed(steps=1, examples=4, seconds=1.0)
    training.step(3.0, [1.0] * 4)
    training.evaluate(70.0)
    assert training.meter.latest == Speed(steps=1, examples=4, seconds=3.0)
    training.evaluate(70.0)
    assert math.isnan(training.meter.latest.images_per_s)
    training.step(2.0, [1.0] * 4)
    training.end()
    assert training.meter.total == Speed(steps=3, examples=12, seconds=6.0)


def test_the_figure_of_each_device_is_its_share():
    speed = Speed(steps=2, examples=64, seconds=4.0, num_devices=8)
    assert (speed.images_per_s, speed.images_per_s_per_device) == (16.0, 2.0)


def test_nothing_is_claimed_before_a_step_was_timed():
    assert math.isnan(Speed().step_time_s)
    assert math.isnan(Speed().images_per_s)


def test_a_run_prints_its_speed_and_writes_it(tmp_path, capsys):
    """Each step sleeps 20 ms: the step time is that and little more, whatever evaluations take."""
    from fullscale.fit import main

    code = main([
        "--data.global_batch_size=256",
        "--model.train_duration=14 steps",
        "--model.target=validation_accuracy>=1",
        "--data.max_per_device_batch_size=200",
        "--data.evaluate_every=5 steps",
        "--throughput.warmup_steps=4",
        "--trainer.callbacks+=fit_callbacks.Dawdle",
        "--trainer.callbacks.seconds=0.01",
        "--trainer.accelerator=cpu",
        f"--record.folder={tmp_path}",
    ])
    assert code == 0
    lines = capsys.readouterr().out.splitlines()
    assert [" images/s " in line for line in lines if line.startswith("step ")] == [True] * 3
    speed = lines[-2]
    assert speed.startswith("speed   ")
    assert "mean of 10, without the first 4, evaluations and checkpoints" in speed
    (path,) = tmp_path.glob("*.metrics.csv")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    for row in rows:
        assert 0.02 <= float(row["step_time_s"]) < 0.2
        # To the digits of a float: 256 examples in each step.
        assert float(row["images_per_s"]) == pytest.approx(256 / float(row["step_time_s"]))
        assert row["images_per_s_per_device"] == row["images_per_s"]


def test_a_negative_number_of_steps_to_leave_out_is_refused(fit):
    code, _, err = fit("--data.global_batch_size=256", "--throughput.warmup_steps=-1")
    assert code == 2
    assert err == "error: --throughput.warmup_steps -1 must not be negative\n"

"""What ends a run: its target, at the rhythm that was set; a loss without a future; its length."""

import math
import shutil

import pytest

RUN = ("--data.global_batch_size=256", "--model.learning_rate=0.2")
NEVER = "--model.target=validation_accuracy>=1"


@pytest.mark.parametrize(
    ("every", "steps"), [("3 steps", 3), ("0.5 epochs", 2), ("1024 examples", 4)]
)
def test_the_target_is_looked_at_every_so_many_steps_examples_or_epochs(fit, every, steps):
    code, trial, _ = fit(
        *RUN, "--model.target=validation_accuracy>=0.9", f"--data.evaluate_every={every}"
    )
    assert (code, trial.status) == (0, "reached")
    assert trial.curve_steps == list(range(steps, trial.steps + 1, steps))
    assert trial.curve_validation_accuracy[-1] >= 0.9 > max(trial.curve_validation_accuracy[:-1])


def test_a_target_of_the_loss_is_met_from_above(fit):
    _, trial, _ = fit(*RUN, "--model.target=validation_loss<=0.5", "--data.evaluate_every=1 steps")
    assert trial.status == "reached"
    assert trial.curve_validation_loss[-1] <= 0.5 < min(trial.curve_validation_loss[:-1])


def test_a_run_that_comes_to_its_end_has_not_reached_its_target(fit):
    code, trial, _ = fit(*RUN, NEVER, "--model.train_duration=7 steps")
    assert (code, trial.status, trial.steps) == (0, "not_reached", 7)
    assert trial.curve_steps == [4, 7]


def test_a_target_met_by_the_last_step_is_reached(fit):
    low = ("--model.target=validation_accuracy>=0.01", "--model.train_duration=3 steps")
    _, trial, _ = fit(*RUN, *low)
    assert (trial.status, trial.steps, trial.curve_steps) == ("reached", 3, [3])


@pytest.mark.parametrize("planted", ["nan", "inf"])
def test_a_loss_that_is_not_finite_stops_the_run_at_its_step(fit, planted):
    code, trial, _ = fit(
        *RUN,
        NEVER,
        "--trainer.callbacks+=stop_callbacks.PlantWeight",
        "--trainer.callbacks.step=5",
        f"--trainer.callbacks.value={planted}",
    )
    assert (code, trial.status) == (0, "diverged")
    # Planted after step 5, met by the forward of step 6; no evaluation follows.
    assert (trial.steps, trial.curve_steps) == (6, [4])


def test_the_bound_on_the_loss_is_what_was_set(fit, tmp_path):
    """The loss rises from 2.3; 1.5 times chance, log 10, is passed long before 100 times."""
    rising = (
        *("--data.global_batch_size=256", "--model.learning_rate=20", "--model.warmup=10 steps"),
        *(NEVER, "--model.train_duration=30 steps", "--data.evaluate_every=1 steps"),
    )
    _, tight, _ = fit(*rising, "--stop.max_loss_factor=1.5")
    assert tight.status == "diverged"
    # The step that broke it is not evaluated.
    losses = tight.curve_train_loss
    assert tight.curve_steps == list(range(1, tight.steps))
    assert max(losses) <= 1.5 * max(losses[0], math.log(10))
    shutil.rmtree(tmp_path / "trials")
    _, loose, _ = fit(*rising, "--stop.max_loss_factor=1e6")
    assert loose.steps > tight.steps
    # The step that stopped the tight run was beyond its bound.
    assert loose.curve_train_loss[tight.steps - 1] > 1.5 * max(losses[0], math.log(10))


def test_a_target_met_at_the_step_that_diverges_is_not_reached(fit):
    """Every accuracy meets it; the first step's loss is followed by one beyond the bound."""
    _, trial, _ = fit(
        *("--data.global_batch_size=256", "--model.learning_rate=1e4"),
        *("--model.target=validation_accuracy>=0.01", "--data.evaluate_every=2 steps"),
    )
    assert (trial.status, trial.steps, trial.curve_steps) == ("diverged", 2, [])


def test_a_rhythm_of_no_step_at_all_is_refused(fit):
    code, trial, err = fit(*RUN, "--data.evaluate_every=0 steps")
    assert (code, trial) == (2, None)
    assert "--data.evaluate_every" in err

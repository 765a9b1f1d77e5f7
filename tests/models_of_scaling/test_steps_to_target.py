import numpy as np
import pyarrow as pa
import pytest

from models_of_scaling.steps_to_target import configuration_numbers, study_rows, trial_outcomes
from models_of_scaling.targets import Target
from models_of_scaling.trials import trials_to_table

TARGET = Target.parse("validation_accuracy>=0.9")


def reduce(trials):
    table = trials_to_table(trials)
    outcomes = trial_outcomes(table, TARGET)
    return table, outcomes, study_rows(table, outcomes)


def test_the_first_evaluation_that_holds_counts_with_the_one_before_as_lower_end(simulated):
    curve = [(10, 0.2), (20, 0.91), (30, 0.5), (40, 0.99)]
    _, outcomes, _ = reduce([simulated.trial(curve=curve)])
    assert (outcomes.steps_low[0], outcomes.steps_high[0], outcomes.steps[0]) == (10, 20, 20)


def test_a_target_met_at_the_first_evaluation_was_reached_after_step_zero(simulated):
    _, outcomes, _ = reduce([simulated.trial(), simulated.trial(curve=[(10, 0.95)])])
    assert (outcomes.steps_low[1], outcomes.steps_high[1]) == (0, 10)


def test_trials_that_did_not_reach_are_censored_at_the_steps_done(simulated):
    _, outcomes, _ = reduce([
        simulated.trial(curve=[(10, 0.2), (20, 0.3)], status="not_reached", steps=25),
        simulated.trial(curve=[(10, 0.2), (20, float("nan"))], status="diverged", steps=20),
        simulated.trial(curve=[], status="diverged", steps=3),
        simulated.trial(curve=[(10, 0.2)], status="interrupted", steps=12),
    ])
    assert outcomes.steps.tolist() == [25, 20, 3, 12]
    assert np.isinf(outcomes.steps_high).all()
    assert not outcomes.reached.any()
    assert outcomes.diverged.tolist() == [False, True, True, False]


def test_another_target_can_be_asked_of_stored_curves(simulated):
    table = trials_to_table([simulated.trial(curve=[(10, 0.4), (20, 0.7), (30, 0.92)])])
    steps = [
        trial_outcomes(table, Target.parse(f"validation_accuracy>={value}")).steps[0]
        for value in (0.3, 0.6, 0.9)
    ]
    assert steps == [10, 20, 30]
    harder = trial_outcomes(table, Target.parse("validation_accuracy>=0.99"))
    assert not harder.reached[0] and harder.steps[0] == 30


def test_the_reduction_equals_a_loop_over_trials(simulated):
    rng = np.random.default_rng(0)
    trials = []
    for number in range(200):
        length = int(rng.integers(0, 6))
        curve = [
            (10 * (k + 1), float(value)) for k, value in enumerate(rng.uniform(0.5, 1, length))
        ]
        trials.append(simulated.trial(curve=curve, seed=number, steps=60))
    table, outcomes, _ = reduce(trials)
    # a slice of a longer table has offsets that do not begin at zero
    part = trial_outcomes(pa.concat_tables([table, table]).slice(150, 100), TARGET)
    for place, trial in enumerate(trials):
        low, high = 60.0, np.inf
        for step, before, value in zip(
            trial.curve_steps,
            [0, *trial.curve_steps],
            trial.curve_validation_accuracy,
            strict=False,
        ):
            if value >= 0.9:
                low, high = before, step
                break
        assert (outcomes.steps_low[place], outcomes.steps_high[place]) == (low, high)
    np.testing.assert_array_equal(part.steps[:50], outcomes.steps[150:])
    np.testing.assert_array_equal(part.steps[50:], outcomes.steps[:50])


def test_an_older_file_without_the_curve_gives_censored_trials(simulated):
    table = trials_to_table([simulated.trial()])
    place = table.column_names.index("curve_validation_accuracy")
    table = table.set_column(place, table.schema.field(place), pa.nulls(1, pa.list_(pa.float64())))
    outcomes = trial_outcomes(table, TARGET)
    assert not outcomes.reached[0] and outcomes.steps[0] == 20


def test_the_winner_comes_from_the_search_and_its_value_from_its_repeats(simulated):
    fast, slow = [(10, 0.95)], [(10, 0.5), (20, 0.95)]
    slower = [*slow[:1], (20, 0.5), (30, 0.95)]
    trials = [
        simulated.trial(learning_rate=0.1, curve=fast),
        simulated.trial(learning_rate=0.2, curve=slow),
        simulated.trial(learning_rate=0.1, curve=slower, phase="repeat", seed=1),
        simulated.trial(learning_rate=0.1, curve=slower, phase="repeat", seed=2),
        simulated.trial(learning_rate=0.2, curve=fast, phase="repeat", seed=1),
    ]
    _, outcomes, studies = reduce(trials)
    assert outcomes.steps[studies[0].rows].tolist() == [30, 30]
    assert not studies[0].from_search


def test_without_repeats_the_best_of_the_search_stands_in_and_says_so(simulated):
    trials = [
        simulated.trial(learning_rate=0.2, curve=[(10, 0.5), (20, 0.95)]),
        simulated.trial(learning_rate=0.1, curve=[(10, 0.95)]),
        simulated.trial(learning_rate=0.3, curve=[(5, 0.1)], status="diverged"),
    ]
    _, outcomes, studies = reduce(trials)
    assert outcomes.steps[studies[0].rows].tolist() == [10]
    assert studies[0].from_search


def test_a_search_in_which_nothing_reached_gives_one_censored_row_at_the_longest(simulated):
    trials = [
        simulated.trial(learning_rate=rate, curve=[(10, 0.1)], status="not_reached", steps=steps)
        for rate, steps in ((0.1, 30), (0.2, 50), (0.3, 40))
    ]
    _, outcomes, studies = reduce(trials)
    assert outcomes.steps[studies[0].rows].tolist() == [50]
    assert not outcomes.reached[studies[0].rows].any()


def test_single_trials_stand_for_themselves(simulated):
    trials = [simulated.trial(phase="single", seed=seed) for seed in range(3)]
    _, _, studies = reduce(trials)
    assert len(studies[0].rows) == 3 and not studies[0].from_search


def test_configurations_are_told_apart_by_values_and_words_not_by_seed(simulated):
    table = trials_to_table([
        simulated.trial(learning_rate=0.1, seed=1),
        simulated.trial(learning_rate=0.1, seed=2, phase="repeat"),
        simulated.trial(learning_rate=0.2),
    ])
    numbers = configuration_numbers(table)
    assert numbers[0] == numbers[1] != numbers[2]
    assert configuration_numbers(table.slice(1)).tolist() == numbers[1:].tolist()


@pytest.mark.parametrize("metric", ["train_loss", "validation_loss"])
def test_a_loss_is_reached_from_above(simulated, metric):
    table = trials_to_table([simulated.trial()])
    place = table.column_names.index(f"curve_{metric}")
    table = table.set_column(place, table.schema.field(place), pa.array([[0.5, 0.1]]))
    assert trial_outcomes(table, Target.parse(f"{metric}<=0.2")).steps[0] == 20

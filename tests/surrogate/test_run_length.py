"""How long the runs of a sweep are, their schedules, and the second question: fixed epochs."""

import math
from collections import Counter
from datetime import UTC, datetime

import numpy as np
import pytest

from models_of_scaling.errors import InputError
from models_of_scaling.fixed_epochs.trial_accuracies import accuracies_from_trials
from models_of_scaling.study_source import TableChoice
from models_of_scaling.targets import Target
from models_of_scaling.trials import Trial, read_trials, table_to_trials
from surrogate.budget import Budget
from surrogate.protocol import Plan, Protocol
from surrogate.protocol_flags import RunChoice
from surrogate.ranking import final_accuracy, steps_to_target
from surrogate.run_schedule import RunSchedule, split_numbers
from surrogate.run_sweep import SweepSettings, run_sweep
from surrogate.search import next_stage
from surrogate.workloads import get_workload

TARGET = Target.parse("train_loss<=0.1")


def study(*, schedule=None, trials=32, repeats=3, **budget):
    return Plan(
        workload="digits",
        optimizer="momentum",
        target=TARGET,
        space=get_workload("digits").space("momentum"),
        protocol=Protocol(trials=trials, repeats=repeats),
        budget=Budget(floor_steps=200, budget_examples=20_000, **budget),
        schedule=schedule or RunSchedule(),
    )


def test_a_budget_is_the_workloads_cut_by_limits_in_steps_and_in_examples():
    budget = {"floor_steps": 200, "budget_examples": 20_000}
    assert Budget(**budget).steps(1000) == 220
    assert Budget(**budget, max_steps=150).steps(1000) == 150
    assert Budget(**budget, max_examples=50_500).steps(1000) == 50
    assert Budget(**budget, max_examples=500).steps(1000) == 1


def test_epochs_are_covered_by_the_fewest_steps_at_any_batch_size():
    budget = Budget(floor_steps=1, budget_examples=1, epochs=0.3, num_train_examples=1000)
    assert [budget.steps(size) for size in (1, 7, 100, 300, 1000)] == [300, 43, 3, 1, 1]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"max_steps": 0}, "--max-steps 0 must be at least 1"),
        ({"max_examples": -1}, "--max-examples -1 must be at least 1"),
        ({"epochs": 0.0}, "--epochs 0 must be positive"),
        ({"epochs": 2.0, "max_steps": 5}, "--max-steps 5: with --epochs"),
    ],
)
def test_a_limit_that_breaks_its_rule_is_named_by_flag(bad, words):
    with pytest.raises(InputError, match=words):
        Budget(floor_steps=1, budget_examples=1, **bad)


def test_the_length_of_a_schedule_is_searched_up_to_the_budget_of_each_batch_size():
    plan = study(schedule=RunSchedule(name="linear", warmup_share=0.1))
    for batch_size in (1, 1024):
        stage = next_stage(plan, batch_size, [])
        lengths = [c.hyper_parameters["num_train_steps"] for c in stage.candidates]
        limit = plan.budget.steps(batch_size)
        assert all(length == int(length) for length in lengths)
        assert 0.03 * limit - 1 <= min(lengths) < 0.06 * limit
        assert 0.6 * limit < max(lengths) <= limit
        # Spread evenly over the logarithm: four quarters of equal count.
        quarter = np.log(np.array(lengths) / (0.03 * limit)) / math.log(1 / 0.03) * 4
        assert set(np.bincount(np.clip(quarter.astype(int), 0, 3))) <= {3, 4, 5}


def test_a_candidate_carries_its_schedule_and_gives_it_back():
    plan = study(schedule=RunSchedule(name="polynomial", warmup_share=0.25))
    candidate = next_stage(plan, 64, []).candidates[0]
    numbers, schedule = split_numbers(candidate.hyper_parameters, candidate.settings)
    assert set(numbers) == {"learning_rate", "momentum", "weight_decay"}
    assert schedule.num_train_steps == candidate.hyper_parameters["num_train_steps"]
    assert schedule.warmup_steps == round(0.25 * schedule.num_train_steps)
    assert candidate.hyper_parameters["decay_power"] == 2.0
    assert candidate.settings["schedule"] == "polynomial"
    constant = next_stage(study(), 64, []).candidates[0]
    assert split_numbers(constant.hyper_parameters, constant.settings) == (
        constant.hyper_parameters,
        None,
    )


def test_a_schedule_that_cannot_be_is_refused_by_flag():
    with pytest.raises(InputError, match="--schedule 'exponential' is not one of constant, linear"):
        RunSchedule(name="exponential")
    with pytest.raises(InputError, match="--warmup-share 1 must be at least 0, below 1"):
        RunSchedule(warmup_share=1.0)
    with pytest.raises(InputError, match="a budget of 2 steps leaves no choice"):
        study(schedule=RunSchedule(name="cosine"), max_steps=2).space_at(64)


def test_length_and_schedule_change_the_studys_name_and_the_workloads_own_budget_does_not():
    plans = [
        study(),
        study(max_steps=100),
        study(epochs=3.0, num_train_examples=1024),
        study(schedule=RunSchedule(name="linear")),
        study(schedule=RunSchedule(warmup_share=0.1)),
    ]
    assert len({plan.study for plan in plans}) == len(plans)


def test_weight_decay_is_searched_or_set_where_the_optimizer_has_one():
    space = get_workload("digits").space("momentum")
    searched = RunChoice(weight_decay="search").space(space)
    assert [each.name for each in searched.dimensions] == [
        "learning_rate", "momentum", "weight_decay",
    ]  # fmt: skip
    decays = [point["weight_decay"] for point in searched.points(16, seed=(1,))]
    assert 1e-7 <= min(decays) < 1e-6
    assert 1e-3 < max(decays) <= 1e-2
    assert RunChoice(weight_decay="5e-4").space(space).fixed["weight_decay"] == 5e-4
    for bad in ("-1", "much", "nan"):
        with pytest.raises(InputError, match="--weight-decay"):
            RunChoice(weight_decay=bad).space(space)


def run(plan, candidate, *, batch_size=64):
    """A run of all its epochs: low rates are fast to the target, high ones end more accurate."""
    rate = candidate.hyper_parameters["learning_rate"]
    rng = np.random.default_rng([candidate.seed, int(1e9 * rate)])
    length = plan.budget.steps(batch_size)
    reached_at = round(10 * (1 + abs(math.log(rate / 0.05))) * math.exp(0.05 * rng.normal()))
    accuracy = 0.95 - 0.02 * abs(math.log(rate / 0.8)) + 0.002 * rng.normal()
    curve = list(range(1, length + 1))
    reached = reached_at <= length
    return Trial(
        study=plan.study,
        phase=candidate.phase,
        workload="digits",
        dataset="invented",
        num_train_examples=1024,
        model="none",
        num_parameters=1,
        optimizer="momentum",
        hyper_parameters=candidate.hyper_parameters,
        settings=candidate.settings,
        batch_size=batch_size,
        seed=candidate.seed,
        target=str(TARGET),
        status="reached" if reached else "not_reached",
        steps=length,
        examples=length * batch_size,
        wall_time_s=0.0,
        curve_steps=curve,
        curve_train_loss=[0.05 if step >= reached_at else 1.0 for step in curve],
        curve_validation_loss=[1 - accuracy] * length,
        curve_validation_accuracy=[accuracy] * length,
        commit="none",
        dirty=False,
        versions={},
        device="none",
        start_time=datetime(2026, 1, 1, tzinfo=UTC),
    )


def test_runs_of_fixed_epochs_answer_both_questions_with_a_winner_and_repeats_for_each():
    plan = study(epochs=4.0, num_train_examples=1024)
    done, names = [], []
    while stage := next_stage(plan, 64, done):
        names.append(stage.name)
        # No run is cut short by a faster one: all have the same epochs.
        assert stage.fewest_steps is None
        done += [run(plan, candidate) for candidate in stage.candidates]
    assert names == ["wide", "zoom-1", "shortlist", "repeat"]
    counts = Counter(trial.phase for trial in done)
    assert counts == {"search": 32, "shortlist": 2 * 4 * 3, "repeat": 2 * 3}
    repeats = [trial for trial in done if trial.phase == "repeat"]
    rates = sorted({trial.hyper_parameters["learning_rate"] for trial in repeats})
    assert len(rates) == 2
    accurate = [t for t in repeats if t.hyper_parameters["learning_rate"] == rates[1]]
    fast = [t for t in repeats if t.hyper_parameters["learning_rate"] == rates[0]]
    search = [trial for trial in done if trial.phase == "search"]
    # Each winner is among the search's best four in what it was chosen for.
    fourth = sorted(map(final_accuracy, search))[-4]
    assert np.mean([final_accuracy(t) for t in accurate]) > fourth - 0.01
    fourth = sorted(steps_to_target(t, TARGET) for t in search)[3]
    assert np.mean([steps_to_target(t, TARGET) for t in fast]) < 1.2 * fourth
    assert {trial.settings["epochs"] for trial in done} == {"4"}


@pytest.mark.slow
def test_a_sweep_at_fixed_epochs_trains_every_run_to_its_end_and_is_read_back(tmp_path):
    run_sweep(
        SweepSettings(
            workload="digits",
            out=tmp_path,
            batch_sizes=(256, 512, 1024),
            trials=4,
            repeats=1,
            workers=1,
            run=RunChoice(epochs=2.0, schedule=RunSchedule(name="linear", warmup_share=0.25)),
        ),
        progress=False,
    )
    trials = table_to_trials(read_trials(tmp_path / "trials"))
    ran = {(t.batch_size, t.steps) for t in trials if t.status != "diverged"}
    assert ran == {(256, 8), (512, 4), (1024, 2)}
    assert {t.hyper_parameters["num_train_steps"] - t.steps for t in trials} == {0.0}
    rows = accuracies_from_trials(tmp_path / "trials", TableChoice())
    assert rows.epochs == 2.0
    assert set(rows.batch_size) == {256, 512, 1024}

"""A race among the trials of a search stage: who stops, and that nothing else changes."""

import dataclasses
import math

import pytest

from fullscale.data.digits import digits_arrays
from fullscale.optimizers.registry import get_update_rule
from models_of_scaling.targets import Target
from surrogate.active.plan import active_plan
from surrogate.active.recorded_trials import compute_trials
from surrogate.engines import run_stage
from surrogate.race import Race, as_raced
from surrogate.run_schedule import RunSchedule
from surrogate.run_sweep import SweepSettings
from surrogate.search import next_stage
from surrogate.training.members import Member, StopRule
from surrogate.training.task import Task
from surrogate.training.train_population import train_population

LOSS = Target.parse("train_loss<=0.01")


def race(num_runs=10, least=2, target=LOSS):
    return Race(target=target, num_runs=num_runs, least=least)


def spread(best, num_runs=10):
    """Run 0 is the best, the others are behind it in their order."""
    return {run: best * (1 + run / 100) for run in range(num_runs)}


@pytest.mark.parametrize(("best", "stopped"), [(1.0, 0), (0.1, 2), (0.1**1.5, 5), (0.0101, 8)])
def test_as_many_stop_as_the_square_of_the_bests_share_of_the_way(best, stopped):
    # From 1 to 0.01 in logs: 0, 1/2, 3/4 and nearly all of the way; 10 (1 - p^2) rounded up stay.
    going = race()
    assert going.fallen_behind(spread(1.0)) == set()
    assert going.fallen_behind(spread(best)) == set(range(10 - stopped, 10))


def test_who_reached_the_target_counts_among_those_that_are_never_stopped():
    going = race(least=4)
    going.fallen_behind(spread(1.0))
    values = spread(0.02) | {7: 0.009}
    # The seventh is there; three others may go on, and what was behind the best no longer matters.
    assert going.fallen_behind(values) == set(range(3, 10)) - {7}
    # A second one reaches, a third diverges and is gone: one more may go on.
    assert going.fallen_behind({0: 0.01, 1: 0.02, 2: 0.03}) == set()


def test_a_loss_that_is_no_number_is_the_last_and_ties_go_to_the_first():
    going = race(num_runs=4, least=1)
    going.fallen_behind(dict.fromkeys(range(4), 1.0))
    # Half of the way: three of four stay.
    assert going.fallen_behind({0: math.nan, 1: 0.1, 2: 0.1, 3: 0.9}) == {0}
    ended = race(num_runs=3, least=1)
    ended.fallen_behind(dict.fromkeys(range(3), 1.0))
    assert ended.fallen_behind({0: 0.0101, 1: 0.0101, 2: 0.0101}) == {1, 2}


def test_an_accuracy_is_raced_by_what_it_lacks():
    going = race(num_runs=4, least=1, target=Target.parse("validation_accuracy>=0.99"))
    going.fallen_behind(dict.fromkeys(range(4), 0.0))
    assert going.fallen_behind({0: 0.9, 1: 0.5, 2: 0.7, 3: 0.2}) == {3}


def test_members_of_a_population_stop_where_a_race_of_their_whole_curves_stops_them():
    shared = Task(
        data=digits_arrays(), rule=get_update_rule("momentum"), model="mlp", batch_size=64
    )
    target = Target.parse("train_loss<=0.3")
    members = [
        Member(seed=0, numbers={"learning_rate": 0.002 * 2.0**power, "momentum": 0.5})
        for power in range(10)
    ]
    rule = StopRule(target=target, max_steps=150, divergence_factor=30.0)

    def ended(stop_rule):
        found = {}
        for left in train_population(shared, members, stop_rule):
            found |= {each.member: each for each in left}
        return [found[member] for member in range(len(members))]

    free, raced = ended(rule), ended(dataclasses.replace(rule, race_least=3))
    going, wanted = race(num_runs=10, least=3, target=target), {}
    for step in sorted({step for each in free for step in each.curve.steps}):
        values = {
            each.member: each.curve.train_loss[each.curve.steps.index(step)]
            for each in free
            if step in each.curve.steps and each.member not in wanted
        }
        wanted |= dict.fromkeys(going.fallen_behind(values), step)
    assert 4 <= len(wanted) <= 7
    for each, alone in zip(raced, free, strict=True):
        last = wanted.get(each.member, alone.curve.steps[-1])
        kept = alone.curve.steps.index(last) + 1
        assert each.curve.steps == alone.curve.steps[:kept]
        assert each.curve.train_loss == alone.curve.train_loss[:kept]
        assert each.status == ("not_reached" if each.member in wanted else alone.status)
    assert min(e.curve.steps[-1] for e in raced if e.status == "reached") == min(
        e.curve.steps[-1] for e in free if e.status == "reached"
    )


def active(workload, tmp_path, **more):
    return active_plan(SweepSettings(workload=workload, out=tmp_path, **more).plan)


def test_the_simulators_trials_are_raced_too_and_the_fastest_stays(tmp_path):
    plan = active("noisy_quadratic_modes20", tmp_path, trials=32)
    free = dataclasses.replace(plan, protocol=dataclasses.replace(plan.protocol, race_least=0))
    wide = next_stage(plan, 64, [])
    assert plan.races(wide.name)
    assert not plan.races("repeat")
    raced, whole = ([t for each in run_stage(p, 64, wide) for t in each] for p in (plan, free))
    assert sum(t.examples for t in raced) < 0.8 * sum(t.examples for t in whole)
    fewest = [min(t.steps for t in of if t.status == "reached") for of in (raced, whole)]
    assert fewest[0] == fewest[1]
    by_hand = as_raced(whole, plan.target, least=plan.protocol.race_least)
    assert [(t.status, t.steps) for t in raced] == [(t.status, t.steps) for t in by_hand]


def test_a_race_that_is_broken_off_leaves_none_of_its_trials(tmp_path):
    plan = active("digits", tmp_path, trials=32)
    stage = next_stage(plan, 1024, [])
    running = run_stage(plan, 1024, stage)
    assert [next(running) for _ in range(20)] == [[]] * 20
    assert len([t for finished in run_stage(plan, 1024, stage) for t in finished]) == 16


def test_a_searched_length_or_a_full_sweep_is_no_race(tmp_path):
    full = SweepSettings(workload="digits", out=tmp_path).plan
    plan = active_plan(full)
    linear = dataclasses.replace(plan, schedule=RunSchedule(name="linear"))
    assert [each.races("wide") for each in (full, plan, linear)] == [False, True, False]
    # A protocol without a race names studies as before there were races.
    assert full.study == "digits-momentum-e30df2ce"


def test_a_race_changes_what_the_search_finds_by_little_on_the_simulator(tmp_path):
    plan = active("noisy_quadratic_modes20", tmp_path)
    free = dataclasses.replace(plan, protocol=dataclasses.replace(plan.protocol, race_least=0))
    for size in (16, 256, 4096):
        steps = [
            next(t.steps for t in compute_trials(p, size, []) if t.phase == "repeat")
            for p in (plan, free)
        ]
        # A tenth more, or one step where ten are not taken: at the largest 8 for 7.
        assert steps[0] <= max(1.1 * steps[1], steps[1] + 1)

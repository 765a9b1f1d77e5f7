"""The protocol, on invented runs: equal effort, honest values, resumable anywhere."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from fullscale.optimizers.registry import BATCH_RULES, UPDATE_RULES, get_update_rule
from models_of_scaling.errors import InputError
from surrogate.optimizer_spaces import NETWORK_SPACES
from surrogate.protocol import Protocol
from surrogate.ranking import ranked_trials
from surrogate.search import next_stage
from surrogate.search_space import Dimension
from surrogate.simulator.methods import METHODS
from surrogate.workloads import WORKLOADS
from tests.surrogate.invented_runs import SPACE, plan, sweep, trial, true_steps


def test_every_batch_size_gets_the_same_number_of_search_and_repeat_trials():
    study = plan()
    counts = set()
    for batch_size in (1, 8, 64, 1024):
        done, names = sweep(study, batch_size)
        assert names == ["wide", "zoom-1", "shortlist", "repeat"]
        counts.add(tuple(sorted(Counter(each.phase for each in done).items())))
        assert len({each.trial_id for each in done}) == len(done) == study.protocol.planned_trials
    assert counts == {(("repeat", 5), ("search", 32), ("shortlist", 12))}


def test_batch_sizes_are_searched_at_different_points_and_seeds_of_the_sweep_too():
    def first_points(study, batch_size):
        stage = next_stage(study, batch_size, [])
        return {tuple(c.hyper_parameters.items()) for c in stage.candidates}

    one, other, reseeded = (
        first_points(plan(), 8),
        first_points(plan(), 16),
        first_points(plan(seed=1), 8),
    )
    assert not one & other
    assert not one & reseeded
    assert one == first_points(plan(), 8)


def test_all_search_trials_share_a_seed_and_the_phases_share_none():
    done, _ = sweep(plan(seed=3), 8)
    seeds = defaultdict(set)
    for each in done:
        seeds[each.phase].add(each.seed)
    assert seeds == {
        "search": {3000},
        "shortlist": {3001, 3002, 3003},
        "repeat": set(range(3004, 3009)),
    }


def outcome(trials):
    return {each.trial_id: (each.status, each.steps) for each in trials}


@pytest.mark.parametrize("finished", [0, 1, 10, 31, 32, 40, 70])
def test_a_sweep_that_was_stopped_anywhere_ends_with_the_table_of_an_undisturbed_one(finished):
    study = plan()
    whole, _ = sweep(study, 16, noise=0.2)
    # A population's members leave in the order of their steps, stage after stage.
    stages = defaultdict(list)
    for each in whole:
        stages[each.phase if each.phase != "search" else each.settings["stage"]].append(each)
    left = [each for stage in stages.values() for each in sorted(stage, key=lambda t: t.steps)]
    again, _ = sweep(study, 16, done=left[:finished], noise=0.2)
    assert outcome(again) == outcome(whole)


def test_interrupted_trials_are_run_again():
    study = plan()
    stage = next_stage(study, 16, [])
    done = [trial(study, 16, stage.candidates[0], steps=5, status="interrupted")]
    assert stage.candidates[0] in next_stage(study, 16, done).candidates


def test_an_optimum_outside_the_space_widens_it_and_the_trials_say_where():
    study = plan()
    best_rate = 40.0  # the space ends at 10
    done, names = sweep(study, 64, best_rate=best_rate)
    assert names[:3] == ["wide", "zoom-1", "widen-1"]
    widened = [each for each in done if each.settings["stage"] == "widen-1"]
    assert len(widened) >= study.protocol.widening_trials
    best = ranked_trials(done, study.target)[0].hyper_parameters
    assert best["learning_rate"] / (1 - best["momentum"]) > 10
    assert all(
        each.settings["space_learning_rate / (1 - momentum)"].startswith("10 to")
        for each in widened
    )


def test_widening_is_bounded_and_stops_at_what_nature_sets():
    study = plan(max_widenings=2)
    _, names = sweep(study, 64, best_rate=1e4)
    assert [name for name in names if name.startswith("widen")] == ["widen-1", "widen-2"]
    point = {"learning_rate": 0.5, "momentum": 0.0}
    assert SPACE.border(point, margin=0.05) is None
    assert SPACE.border({"learning_rate": 0.03, "momentum": 0.945}, margin=0.05) == (
        "momentum",
        "low",
    )


def test_a_batch_size_where_nothing_reaches_is_complete_after_its_search():
    study = plan()
    done = []
    while stage := next_stage(study, 8, done):
        done += [
            trial(study, 8, candidate, steps=9, status="not_reached")
            for candidate in stage.candidates
        ]
    assert Counter(each.phase for each in done) == {"search": 32}


def test_repeats_are_free_of_the_winners_curse():
    """The search's fewest steps are too few on average; the repeats of the winner are not."""
    study = plan(repeats=10)
    bias = {"search": [], "repeat": []}
    for batch_size in range(100, 140):
        done, _ = sweep(study, batch_size, noise=0.25)
        repeats = [each for each in done if each.phase == "repeat"]
        winner = repeats[0].hyper_parameters
        truth = math.log(true_steps(batch_size, winner))
        fewest = min(t.steps for t in done if t.phase == "search" and t.status == "reached")
        bias["search"].append(math.log(fewest) - truth)
        bias["repeat"].append(np.mean([math.log(each.steps) for each in repeats]) - truth)
    # 40 batch sizes of 10 repeats with a spread of 0.25: standard error 0.013.
    assert abs(np.mean(bias["repeat"])) < 4 * 0.013
    assert np.mean(bias["search"]) < -0.25


def test_the_study_is_named_for_all_that_changes_its_trials():
    base = plan()
    assert base.study == plan(repeats=9).study
    others = [plan(trials=16), plan(seed=1), plan(slowest_factor=4.0)]
    assert len({each.study for each in [base, *others]}) == 4
    assert base.study.startswith("digits-momentum-")


def test_sobol_points_fill_the_space_and_a_shorter_sequence_is_a_prefix():
    points = SPACE.points(64, seed=(1, 2))
    assert SPACE.points(20, seed=(1, 2)) == points[:20]
    effective = [p["learning_rate"] / (1 - p["momentum"]) for p in points]
    assert all(0.00999 < value < 10.001 for value in effective)
    octile = np.histogram(np.log(effective), bins=8, range=(math.log(0.01), math.log(10)))[0]
    assert set(octile) == {8}


def test_every_optimizer_with_a_search_space_exists_and_its_space_sets_all_its_numbers():
    for workload in WORKLOADS.values():
        for name, space in workload.spaces.items():
            if workload.engine != "population":
                assert name in METHODS
                continue
            defaults = get_update_rule(name).defaults
            searched = {each.name for each in space.dimensions} | set(space.fixed)
            assert searched == {"learning_rate", *defaults}
            # Stated there: ImageNet's trust coefficient does not fit, nor K-FAC's economies.
            others = {"trust_coefficient", "kl_clip", "inverse_every"}
            own = {key: x for key, x in space.fixed.items() if key not in others}
            assert own == {key: defaults[key] for key in own}, name


def test_every_update_rule_can_be_searched_but_those_that_say_why_not():
    # Akiba's transition is planned in steps of a run whose length a search does not know; the
    # authors' AdaBound differs from the paper's by its numbers' scale only.
    everyone = {*UPDATE_RULES, *BATCH_RULES}
    assert everyone - set(NETWORK_SPACES) == {"rmsprop_to_sgd", "adabound_authors"}


@pytest.mark.parametrize(
    ("field", "value"),
    [("trials", 1), ("repeats", 0), ("seed", -1), ("slowest_factor", 1.0), ("shortlist", 0)],
)
def test_a_protocol_names_the_field_that_breaks_its_rule(field, value):
    with pytest.raises(InputError, match=field):
        Protocol(**{field: value})


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (2.0, 1.0), (1.0, math.inf)])
def test_a_dimension_refuses_a_range_that_is_none(low, high):
    with pytest.raises(InputError, match="0 < low < high"):
        Dimension(name="learning_rate", low=low, high=high)

"""Screened evaluations: few images say that a target is far, and the steps to it stay."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from fullscale.data.digits import digits_arrays
from fullscale.data.image_arrays import ImageArrays
from fullscale.optimizers.registry import get_update_rule
from fullscale.schedules import WarmupPolynomial
from models_of_scaling.errors import InputError
from models_of_scaling.targets import Target
from surrogate.active.plan import active_plan
from surrogate.engines import run_stage
from surrogate.evaluation_grid import first_full_evaluation, next_evaluation
from surrogate.run_sweep import SweepSettings
from surrogate.search import next_stage
from surrogate.study_record import read_study_records, write_study_record
from surrogate.training.evaluation import mean_loss_and_accuracy
from surrogate.training.members import Member, StopRule
from surrogate.training.memory_limit import bytes_per_member
from surrogate.training.screen import Screen
from surrogate.training.task import Task
from surrogate.training.train_population import train_population
from surrogate.trial_parts import cut_alike, split

LOSS = Target.parse("train_loss<=0.3")


def task(**more):
    given = {"data": digits_arrays(), "model": "mlp", "batch_size": 32} | more
    return Task(rule=get_update_rule("momentum"), **given)


def results(shared, members, stop_rule):
    found = {}
    for left in train_population(shared, members, stop_rule):
        found |= {result.member: result for result in left}
    return [found[k] for k in range(len(members))]


def evaluations(result):
    curve = result.curve
    columns = (curve.train_loss, curve.validation_loss, curve.validation_accuracy)
    return dict(zip(curve.steps, zip(*columns, strict=True), strict=True))


def searched(count=8, seeds=1):
    """Members from too slow to divergent."""
    return [
        Member(seed=k % seeds, numbers={"learning_rate": 0.004 * 3.0**k, "momentum": 0.5})
        for k in range(count)
    ]


@pytest.mark.parametrize(
    ("model", "target"),
    [
        ("mlp", "train_loss<=0.3"),
        ("mlp", "validation_loss<=0.4"),
        ("mlp", "validation_accuracy>=0.9"),
        pytest.param("small_cnn", "train_loss<=0.3", marks=pytest.mark.slow),
    ],
)
def test_screened_runs_end_alike_at_the_same_steps_with_fewer_evaluations(model, target):
    shared = task(model=model)
    rule = StopRule(target=Target.parse(target), max_steps=150, divergence_factor=30.0)
    members = searched()
    all_, screened = (
        results(shared, members, replace(rule, screened=which)) for which in (False, True)
    )
    assert len({each.status for each in all_}) >= 2
    for each, full in zip(screened, all_, strict=True):
        assert (each.status, each.steps_to_target) == (full.status, full.steps_to_target)
        assert each.curve.steps[-1] == full.curve.steps[-1]
        # What is recorded is the same quantity, and there wherever every run is evaluated.
        assert evaluations(each).items() <= evaluations(full).items()
        everywhere = [s for s in full.curve.steps if s == first_full_evaluation(s)]
        assert set(everywhere) <= set(each.curve.steps)
    counts = [sum(len(each.curve.steps) for each in some) for some in (screened, all_)]
    assert counts[0] < 0.75 * counts[1]


def test_the_poll_is_far_only_beyond_five_standard_errors_in_a_set_sorted_by_class():
    data = digits_arrays()
    order = np.argsort(data.train_labels, kind="stable")
    ordered = replace(
        data, train_images=data.train_images[order], train_labels=data.train_labels[order]
    )
    shared = task(data=ordered)
    for seed in range(8):
        network = shared.network(seed)
        # Sure of one class and wrong of the others: the first images are no sample of all.
        with torch.no_grad():
            network[-1].bias[seed % 10] += 3.0
        parameters = {name: value.detach() for name, value in network.named_parameters()}
        with torch.no_grad():
            [[loss, _]] = mean_loss_and_accuracy(
                shared, parameters, {}, shared.train_loss_set
            ).tolist()

            def far(value, parameters=parameters, most_loss=100.0):
                screen = Screen(shared, Target.parse(f"train_loss<={value}"))
                return screen.is_far(parameters, {}, most_loss=most_loss)

            # The losses spread by at most 1.5: five standard errors are 0.5.
            assert not far(loss)
            assert far(loss - 1.0)
            assert not far(loss - 1.0, most_loss=loss / 2)
            broken = {name: value * torch.nan for name, value in parameters.items()}
            assert not far(loss - 1.0, parameters=broken)


def test_an_accuracy_of_none_of_the_polled_is_not_far_from_a_small_target():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(512, 1, 2, 2)).astype(np.float32)
    labels = np.ones(512, dtype=np.int64)
    data = ImageArrays(
        name="ones",
        train_images=images,
        train_labels=labels,
        validation_images=images,
        validation_labels=labels,
        num_classes=3,
    )
    shared = task(data=data)
    network = shared.network(0)
    with torch.no_grad():
        network[-1].bias[0] += 1e3  # always wrong
    parameters = {name: value.detach() for name, value in network.named_parameters()}
    # Of 256 polled none: five standard errors at 5 % are 6.8 %, at 20 % 12.5 %.
    for value, far in ((0.05, False), (0.2, True)):
        screen = Screen(shared, Target.parse(f"validation_accuracy>={value}"))
        with torch.no_grad():
            assert screen.is_far(parameters, {}, most_loss=1e9) == far


@pytest.mark.slow
def test_whether_a_member_is_evaluated_depends_on_no_other_member_or_part():
    whole = task()
    short = WarmupPolynomial(warmup_steps=2, num_train_steps=43)
    # One seed's schedule ends between two evaluations of the others.
    members = [*searched(6, seeds=2), replace(searched(3)[2], schedule=short)]
    rule = StopRule(target=LOSS, max_steps=90, screened=True)
    together = [evaluations(each) for each in results(whole, members, rule)]
    assert [evaluations(results(whole, [each], rule)[0]) for each in members] == together
    parts = task(memory_limit_bytes=4 * bytes_per_member(whole) + 100)
    assert [evaluations(each) for each in results(parts, members, rule)] == together


def test_the_slow_go_on_to_the_full_evaluation_after_their_limit():
    members = [Member(seed=0, numbers={"learning_rate": lr, "momentum": 0.8}) for lr in (0.3, 1e-4)]
    rule = StopRule(target=LOSS, max_steps=10_000, slowest_factor=3.0, screened=True)
    fast, slow = results(task(), members, rule)
    assert slow.status == "not_reached"
    assert slow.curve.steps[-1] == first_full_evaluation(3 * fast.steps_to_target)


def test_runs_of_a_fixed_length_are_no_longer_screened_once_they_met_the_target():
    rule = StopRule(target=LOSS, max_steps=101, stop_at_target=False, screened=True)
    members = searched(5)
    all_ = results(task(), members, replace(rule, screened=False))
    for each, full in zip(results(task(), members, rule), all_, strict=True):
        assert (each.status, each.steps_to_target) == (full.status, full.steps_to_target)
        assert each.curve.steps[-1] == 101
        after = [s for s in each.curve.steps[:-1] if s > (each.steps_to_target or 101)]
        assert all(s == first_full_evaluation(s) for s in after)


@pytest.mark.slow
def test_a_race_among_screened_runs_is_decided_where_all_are_evaluated():
    rule = StopRule(target=LOSS, max_steps=150, divergence_factor=30.0, screened=True)
    members = [
        Member(seed=0, numbers={"learning_rate": 0.002 * 2.0**power, "momentum": 0.5})
        for power in range(10)
    ]
    free, raced = (
        results(task(batch_size=64), members, each) for each in (rule, replace(rule, race_least=3))
    )
    stopped = [k for k in range(10) if raced[k].curve.steps[-1] < free[k].curve.steps[-1]]
    assert 3 <= len(stopped) <= 7
    for k in stopped:
        last = raced[k].curve.steps[-1]
        assert raced[k].status == "not_reached" and last == first_full_evaluation(last)
    for each, alone in zip(raced, free, strict=True):
        assert evaluations(each).items() <= evaluations(alone).items()
    fewest = [min(e.steps_to_target or 999 for e in some) for some in (raced, free)]
    assert fewest[0] == fewest[1]


def settings(tmp_path, **more):
    given = {"workload": "digits", "batch_sizes": (64,), "trials": 8, "out": tmp_path} | more
    return SweepSettings(**given)


def findings(trials):
    return {
        each.trial_id: (
            each.status,
            each.steps,
            list(each.curve_steps),
            list(each.curve_train_loss),
        )
        for each in trials
    }


def test_a_stage_in_shares_is_cut_to_the_trials_of_the_whole(tmp_path):
    plan = settings(tmp_path, evaluations="screened", batch_sizes=(256,), trials=16).plan
    stage = next_stage(plan, 256, [])
    whole = [t for left in run_stage(plan, 256, stage) for t in left]
    assert {t.status for t in whole} >= {"reached", "not_reached"}
    apart = [t for share in split(stage, 3) for left in run_stage(plan, 256, share) for t in left]
    assert findings(cut_alike(apart, plan, stage)) == findings(whole)


def test_what_is_measured_is_evaluated_at_every_step_of_the_grid(tmp_path):
    plan = settings(tmp_path, evaluations="screened").plan
    assert [plan.screens(stage) for stage in ("wide", "zoom-1", "shortlist", "repeat")] == [
        *[True] * 3,
        False,
    ]
    assert active_plan(plan).screens("wide")
    candidates = next_stage(plan, 64, []).candidates[:2]
    repeats = replace(next_stage(plan, 64, []), name="repeat", candidates=candidates)
    for trial in (t for left in run_stage(plan, 64, repeats) for t in left):
        steps = list(trial.curve_steps)
        assert all(
            b == next_evaluation(a) for a, b in zip([0, *steps[:-2]], steps[:-1], strict=True)
        )


def test_a_study_that_is_screened_has_a_name_and_a_record_of_its_own(tmp_path):
    plain, screened = settings(tmp_path), settings(tmp_path, evaluations="screened")
    assert plain.plan.study != screened.plan.study
    for each in (plain, screened):
        write_study_record(each)
    records = read_study_records(tmp_path)
    assert {name: record.plan(tmp_path).study for name, record in records.items()} == {
        each.plan.study: each.plan.study for each in (plain, screened)
    }
    # A record of an older release says nothing of evaluations: all.
    path = tmp_path / "studies" / f"{plain.plan.study}.json"
    content = json.loads(path.read_text())
    del content["settings"]["evaluations"]
    path.write_text(json.dumps(content))
    assert read_study_records(tmp_path)[plain.plan.study].plan(tmp_path) == plain.plan


@pytest.mark.parametrize(
    ("more", "refusal"),
    [
        ({"evaluations": "some"}, "--evaluations 'some' is not one of all, screened"),
        (
            {"evaluations": "screened", "workload": "noisy_quadratic"},
            "--evaluations screened: noisy_quadratic has no images",
        ),
    ],
)
def test_evaluations_that_a_sweep_can_not_make_are_refused(tmp_path, more, refusal):
    with pytest.raises(InputError, match=refusal):
        _ = settings(tmp_path, **more).plan

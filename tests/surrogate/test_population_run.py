"""A population's run: who is evaluated when, fixed lengths, parts by memory, bytes as images."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fullscale.data.digits import digits_arrays
from fullscale.data.image_arrays import ImageArrays
from fullscale.optimizers.registry import get_update_rule
from fullscale.schedules import WarmupPolynomial
from models_of_scaling.targets import Target
from surrogate.population import Population
from surrogate.training.members import Member, StopRule
from surrogate.training.memory_limit import (
    bytes_per_member,
    free_bytes,
    members_at_once,
    waiting_device,
)
from surrogate.training.task import Task
from surrogate.training.train_population import train_population

FAST = {"learning_rate": 0.3, "momentum": 0.8}
SLOW = {"learning_rate": 1e-3, "momentum": 0.0}


def task(**more):
    given = {"data": digits_arrays(), "model": "mlp", "batch_size": 32} | more
    return Task(rule=get_update_rule("momentum"), **given)


def results(shared, members, stop_rule, **more):
    found = {}
    for left in train_population(shared, members, stop_rule, **more):
        found |= {result.member: result for result in left}
    return [found[k] for k in range(len(members))]


def columns(result):
    """All of a result but the time it took."""
    curve = result.curve
    return (
        result.status,
        result.steps_to_target,
        curve.steps,
        curve.train_loss,
        curve.validation_loss,
        curve.validation_accuracy,
    )


def test_a_run_ends_with_its_schedule_and_the_others_curves_do_not_show_it():
    shared, stop_rule = task(), StopRule(target=Target.parse("train_loss<=0.001"), max_steps=47)
    short = WarmupPolynomial(warmup_steps=2, num_train_steps=43)
    members = [
        Member(seed=1, numbers=FAST),
        Member(seed=2, numbers=FAST, schedule=short),
        Member(seed=3, numbers=FAST, schedule=replace(short, num_train_steps=90)),
    ]
    together = results(shared, members, stop_rule)
    assert [each.status for each in together] == ["not_reached"] * 3
    assert [each.curve.steps[-1] for each in together] == [47, 43, 47]
    assert 43 not in together[0].curve.steps
    alone = [results(shared, [member], stop_rule)[0] for member in members]
    assert [columns(each) for each in together] == [columns(each) for each in alone]


def test_a_run_of_fixed_length_goes_on_after_its_target_and_says_when_it_met_it():
    shared, target = task(), Target.parse("train_loss<=0.5")
    members = [
        Member(seed=0, numbers=FAST),
        Member(seed=0, numbers=SLOW),
        Member(seed=0, numbers={"learning_rate": 1e6}),
    ]
    stopping = StopRule(target=target, max_steps=40, divergence_factor=30.0)
    going_on = replace(stopping, stop_at_target=False)
    stopped, whole = results(shared, members, stopping), results(shared, members, going_on)
    assert [each.status for each in whole] == ["reached", "not_reached", "diverged"]
    assert whole[0].steps_to_target == stopped[0].curve.steps[-1] == stopped[0].steps_to_target < 40
    assert whole[0].curve.steps[-1] == whole[1].curve.steps[-1] == 40
    assert whole[1].steps_to_target is None
    without = results(shared, members[:1], replace(going_on, target=None))
    assert without[0].status == "not_reached"
    assert without[0].curve.train_loss == whole[0].curve.train_loss


def test_a_stage_larger_than_memory_runs_in_parts_with_the_same_results():
    rng = np.random.default_rng(5)
    members = [
        Member(seed=k % 2, numbers={"learning_rate": float(rate), "momentum": 0.5})
        for k, rate in enumerate(np.exp(rng.uniform(-5, 0, 9)))
    ]
    whole = task()
    parts = task(memory_limit_bytes=4 * bytes_per_member(whole) + 100)
    assert members_at_once(whole) > 9 and members_at_once(parts) == 4
    # The slow are stopped at a multiple of the fewest steps of all, also of other parts.
    stop_rule = StopRule(target=Target.parse("train_loss<=0.7"), max_steps=400, slowest_factor=2.0)
    together, apart = results(whole, members, stop_rule), results(parts, members, stop_rule)
    assert {"reached", "not_reached"} <= {each.status for each in together}
    assert [columns(each) for each in apart] == [columns(each) for each in together]


def test_the_estimate_of_a_members_memory_grows_with_the_batch_and_the_network():
    small, large = bytes_per_member(task(batch_size=8)), bytes_per_member(task(batch_size=800))
    assert small < large < 100 * small
    # Weights, velocities, each old and new, and gradients, of 2,410 parameters in float32.
    assert small > 5 * 2_410 * 4
    cnn = task(model="small_cnn", batch_size=64)
    # 8x8x8 and 8x4x4, 16x4x4 and 16x2x2 numbers after the layers, 4 bytes, for 64 examples.
    assert bytes_per_member(cnn) > 64 * 4 * (512 + 128 + 256 + 64)
    assert 0 < free_bytes(torch.device("cpu")) < 2**50
    crowded = task(memory_limit_bytes=1)
    assert members_at_once(crowded) == 2
    assert waiting_device(crowded, 10).type == "cpu"


def test_images_in_bytes_train_like_the_same_images_standardised_before():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (96, 2, 4, 4), dtype=np.uint8)
    labels = rng.integers(0, 3, 96)
    data = ImageArrays(
        name="noise",
        train_images=pixels[:64],
        train_labels=labels[:64],
        validation_images=pixels[64:],
        validation_labels=labels[64:],
        num_classes=3,
    )
    train = pixels[:64].astype(float)
    mean, std = (getattr(train, of)(axis=(0, 2, 3), keepdims=True) for of in ("mean", "std"))
    standardised = (pixels - mean) / std
    numbers = replace(data, train_images=standardised[:64], validation_images=standardised[64:])
    members = [Member(seed=0, numbers=FAST), Member(seed=1, numbers=SLOW)]
    found = []
    for each in (data, numbers):
        population = Population(task(data=each, batch_size=8, dtype=torch.float64), members)
        population.advance(10)
        found.append([population.evaluate(place) for place in range(2)])
    # Rounding of float64 in the standardisation.
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9)


def test_validation_takes_the_first_images_it_is_allowed_and_a_fixed_length_ends_on_all():
    members = [Member(seed=0, numbers=FAST)]
    data = digits_arrays()
    few = task(max_validation_examples=100)
    first = task(
        data=replace(
            data,
            validation_images=data.validation_images[:100],
            validation_labels=data.validation_labels[:100],
        )
    )
    stop_rule = StopRule(target=None, max_steps=8, stop_at_target=False)
    every_4 = {"grid": lambda step: step + 4}
    (limited,) = results(few, members, stop_rule, **every_4)
    (cut,) = results(first, members, stop_rule, **every_4)
    (whole,) = results(task(), members, stop_rule, **every_4)
    assert limited.curve.steps == [4, 8]
    assert limited.curve.validation_loss[0] == cut.curve.validation_loss[0]
    assert limited.curve.validation_loss[0] != whole.curve.validation_loss[0]
    assert limited.curve.validation_loss[1] == whole.curve.validation_loss[1]
    assert limited.curve.train_loss == whole.curve.train_loss


@pytest.mark.parametrize("at_once", [2, 3])
def test_parts_leave_batch_norms_averages_with_their_member(at_once):
    data = digits_arrays()
    small = replace(data, train_images=data.train_images[:32], train_labels=data.train_labels[:32])

    def make_network(seed):
        torch.manual_seed(seed)
        return torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.BatchNorm1d(64), torch.nn.Linear(64, 10)
        )

    members = [Member(seed=k, numbers=FAST) for k in range(5)]
    given = {"data": small, "make_network": make_network, "model": "normed", "batch_size": 8}
    whole = task(**given)
    parts = task(**given, memory_limit_bytes=at_once * bytes_per_member(whole) + 1)
    found = []
    for each in (whole, parts):
        population = Population(each, members)
        population.advance(5)
        population.release({1, 2})
        population.advance(9)
        found.append({member: population.at(place)[1] for place, member in population.active()})
    for member, buffers in found[0].items():
        for name, value in buffers.items():
            assert torch.equal(value, found[1][member][name])
    assert found[0][0]["1.num_batches_tracked"] == 9

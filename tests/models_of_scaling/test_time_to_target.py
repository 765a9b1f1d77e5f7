"""Time and cost of every batch size and machine, and what limits: against brute force."""

import dataclasses
import math

import numpy as np
import pytest

from models_of_scaling.errors import InputError
from models_of_scaling.intervals import Interval
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.laws import Hyperbola
from models_of_scaling.machine.all_reduce import Link, Network
from models_of_scaling.machine.answer import answer_machine
from models_of_scaling.machine.cluster import Placement, Roofline, StepTime
from models_of_scaling.machine.guidance import (
    elasticities,
    limiting,
    log_slope_of_steps,
    useful_machine,
)
from models_of_scaling.machine.machines import Machines, candidate_batch_sizes, check_batch_sizes
from models_of_scaling.machine.step_time_belief import belief_from_roofline
from models_of_scaling.machine.time_to_target import (
    OBJECTIVES,
    Option,
    choose,
    mark_pareto,
    time_options,
    twice_as_fast,
)
from models_of_scaling.prediction import estimated_steps, predict

LAW = Hyperbola(min_steps=1000, critical_batch_size=4096)
SIZES = 2 ** np.arange(6, 16)
NODES = (1, 2, 4, 8, 16, 32, 64, 128)
ROOFLINE = Roofline(
    flops_per_example=1e10,
    peak_flops_per_s=1e13,
    attainable_fraction=0.5,
    seconds_per_forward=1e-3,
)
NETWORK = Network(
    within=Link(latency_s=5e-6, bandwidth=1e11), between=Link(latency_s=2e-5, bandwidth=1e10)
)


def point(**changes):
    fields = {"network": NETWORK, "parameter_bytes": 1e8, "overlap": 0.5, "algorithm": "tree"}
    return ROOFLINE.step_time(**{**fields, **changes})


def belief(model=None, *, error_factor=1.0):
    return belief_from_roofline(ROOFLINE, model or point(), error_factor=error_factor, seed=0)


@pytest.fixture(scope="module")
def fit(simulated):
    rng = np.random.default_rng(0)
    steps = LAW.steps_to_target(SIZES) * np.exp(0.03 * rng.standard_normal(len(SIZES)))
    return fit_laws(simulated.measurements(SIZES, steps), FitChoice())


@pytest.fixture(scope="module")
def exact_fit(fit):
    """A fit that knows the planted hyperbola, whatever a prior or a noise estimate would do."""
    law = next(each for each in fit.laws if each.name == "hyperbola")
    truth = {"min_steps": 1000.0, "critical_batch_size": 4096.0}
    draws = len(law.replicates["noise"])
    known = dataclasses.replace(
        law,
        weight=1.0,
        point=law.point | truth,
        replicates=law.replicates | {name: (value,) * draws for name, value in truth.items()},
    )
    return dataclasses.replace(fit, law="hyperbola", laws=(known,))


MACHINES = Machines(nodes=NODES, devices_per_node=8)
BATCH_SIZES = [2**power for power in range(6, 17)]


@pytest.fixture(scope="module")
def options(fit):
    return time_options(fit, belief(error_factor=1.3), MACHINES, BATCH_SIZES, level=0.9)


def test_the_time_is_steps_times_seconds_per_step_and_the_cost_devices_times_hours(fit, options):
    for each in options:
        steps = estimated_steps(fit, each.placement.batch_size)
        seconds = float(point().parts(each.placement).total_s)
        assert each.time_s.estimate == pytest.approx(steps * seconds, rel=1e-12)
        devices = each.placement.nodes * 8
        assert each.device_hours == pytest.approx(devices * steps * seconds / 3600, rel=1e-12)


def test_every_batch_size_with_an_example_for_each_device_is_an_option(options):
    found = {(each.placement.nodes, each.placement.batch_size) for each in options}
    assert found == {(m, b) for m in NODES for b in BATCH_SIZES if b >= 8 * m}


def test_the_interval_of_the_steps_is_that_of_predict(fit, options):
    for each in options[:3]:
        (prediction,) = predict(fit, [each.placement.batch_size], level=0.9)
        assert (each.steps.low, each.steps.high) == (prediction.steps.low, prediction.steps.high)


def test_the_variance_of_the_log_time_is_the_sum_of_those_of_steps_and_step_time(fit):
    """Independent errors add in logs; 8 %: quantiles of 400 draws of the step's time."""

    def width(interval):
        return math.log(interval.high / interval.low)

    for factor in (1.02, 1.3, 2.0):
        (each,) = time_options(
            fit,
            belief(error_factor=factor),
            Machines(nodes=(4,), devices_per_node=8),
            [2048],
            level=0.9,
        )
        alone = math.hypot(width(each.steps), width(each.seconds_per_step))
        assert width(each.time_s) == pytest.approx(alone, rel=0.08)
        # 400 draws place a 5 % quantile to within 0.1 standard deviations: 8 % of the width.
        assert width(each.seconds_per_step) == pytest.approx(2 * math.log(factor), rel=0.12)


def test_an_option_is_on_the_pareto_front_where_none_is_faster_and_cheaper(options):
    for each in options:
        beaten = any(
            other.time_s.estimate <= each.time_s.estimate
            and other.device_hours < each.device_hours
            or other.time_s.estimate < each.time_s.estimate
            and other.device_hours <= each.device_hours
            for other in options
        )
        assert each.is_pareto == (not beaten)
    assert 3 <= sum(each.is_pareto for each in options) < len(options) / 2


def test_each_objective_is_within_a_per_cent_of_the_best_of_all_options(options):
    for objective in OBJECTIVES:
        best = min(each.value(objective) for each in options)
        assert choose(options, objective).value(objective) <= 1.01 * best
    fastest, cheapest, balanced = (choose(options, objective) for objective in OBJECTIVES)
    assert fastest.time_s.estimate < balanced.time_s.estimate < cheapest.time_s.estimate
    assert fastest.device_hours > balanced.device_hours > cheapest.device_hours


def option_of(seconds, nodes, batch_size=64):
    exact = Interval(estimate=seconds, low=seconds, high=seconds, level=0.9, method="")
    return Option(
        placement=Placement(batch_size=batch_size, nodes=nodes, devices_per_node=1),
        steps=exact,
        seconds_per_step=exact,
        time_s=exact,
        extrapolation=1.0,
        notes=(),
    )


def test_options_within_a_per_cent_are_told_apart_by_the_other_axis():
    near = [option_of(100.0, 10), option_of(100.9, 5), option_of(102.0, 1)]
    assert choose(near, "fastest") == near[1]
    dear = [option_of(100.0, 10), option_of(1005.0, 1)]  # 1,000 and 1,005 device seconds
    assert choose(dear, "cheapest") == dear[0]
    even = [option_of(100.0, 1, 64), option_of(100.0, 1, 32)]
    assert choose(even, "balanced").placement.batch_size == 32


def test_equal_options_count_once_on_the_front():
    assert [each.is_pareto for each in mark_pareto([option_of(1.0, 1), option_of(1.0, 1)])] == [
        True,
        False,
    ]


def test_twice_as_fast_is_the_cheapest_of_those_that_take_half_the_time(options):
    cheapest = choose(options, "cheapest")
    twice = twice_as_fast(options, cheapest)
    fast = [each for each in options if each.time_s.estimate <= cheapest.time_s.estimate / 2]
    assert twice is not None and twice.device_hours == min(each.device_hours for each in fast)
    assert twice.device_hours > cheapest.device_hours
    assert twice_as_fast(options, choose(options, "fastest")) is None


def test_candidates_are_doublings_up_to_four_times_the_fitted_or_the_training_set(fit):
    assert candidate_batch_sizes(fit) == [2**power for power in range(6, 18)]
    known = dataclasses.replace(fit, num_train_examples=50_000)
    assert candidate_batch_sizes(known) == [*(2**power for power in range(6, 16)), 50_000]
    with pytest.raises(InputError, match="65536 must not exceed the training set of 50000"):
        check_batch_sizes(known, [65536])
    with pytest.raises(InputError, match="0 must be at least 1"):
        check_batch_sizes(known, [0])


def test_more_devices_than_examples_of_any_batch_size_are_refused(fit):
    with pytest.raises(InputError, match="1024 devices need a batch size of at least 1024"):
        time_options(fit, belief(), Machines(nodes=(128,), devices_per_node=8), [512], level=0.9)


def time_of(fit, model, place):
    return estimated_steps(fit, place.batch_size) * float(model.parts(place).total_s)


def test_elasticities_are_the_derivatives_of_the_log_time_by_finite_differences(fit, options):
    model = point()

    def with_network(**changes):
        parts = {
            "latency_within": 5e-6, "bandwidth_within": 1e11,
            "latency_between": 2e-5, "bandwidth_between": 1e10,
        } | changes  # fmt: skip
        return point(
            network=Network(
                within=Link(latency_s=parts["latency_within"], bandwidth=parts["bandwidth_within"]),
                between=Link(
                    latency_s=parts["latency_between"], bandwidth=parts["bandwidth_between"]
                ),
            )
        )

    values = {
        "latency_within": 5e-6, "bandwidth_within": 1e11,
        "latency_between": 2e-5, "bandwidth_between": 1e10,
    }  # fmt: skip
    h = 1e-6
    for each in options[::7]:
        found = elasticities(fit, belief(), each)
        for name, value in values.items():
            up, down = (with_network(**{name: value * math.exp(s * h)}) for s in (1, -1))
            slope = math.log(
                time_of(fit, up, each.placement) / time_of(fit, down, each.placement)
            ) / (2 * h)
            assert found[name] == pytest.approx(slope, abs=1e-8)
        for name, field, sign in (
            ("device_speed", "seconds_per_example", -1),
            ("seconds_per_forward", "seconds_per_forward", 1),
        ):
            up, down = (
                dataclasses.replace(model, **{field: getattr(model, field) * math.exp(s * h)})
                for s in (1, -1)
            )
            slope = math.log(
                time_of(fit, up, each.placement) / time_of(fit, down, each.placement)
            ) / (2 * h)
            assert found[name] == pytest.approx(sign * slope, abs=1e-8)


def test_the_critical_batch_size_limits_by_b_over_b_plus_b_crit(exact_fit):
    """Hyperbola: d log S / d log B = -B_crit / (B + B_crit); 1e-8: the difference quotient."""
    for each in time_options(exact_fit, belief(), MACHINES, BATCH_SIZES, level=0.9)[::9]:
        size = each.placement.batch_size
        found = elasticities(exact_fit, belief(), each)["critical_batch_size"]
        assert found == pytest.approx(-size / (size + 4096), abs=1e-8)
        assert log_slope_of_steps(exact_fit, size) == pytest.approx(-4096 / (size + 4096), abs=1e-8)


def test_raising_b_crit_at_fixed_fewest_examples_changes_the_time_by_its_elasticity():
    """The definition itself: E_min = S_min B_crit is kept while B_crit grows."""
    h = 1e-5
    for size in (256, 4096, 32768):
        logs = [
            math.log(
                Hyperbola(
                    min_steps=1000 / math.exp(s * h), critical_batch_size=4096 * math.exp(s * h)
                ).steps_to_target(size)
            )
            for s in (1, -1)
        ]
        assert (logs[0] - logs[1]) / (2 * h) == pytest.approx(-size / (size + 4096), rel=1e-6)


def test_what_limits_follows_the_machine(fit):
    (few,) = time_options(fit, belief(), Machines(nodes=(1,), devices_per_node=8), [256], level=0.9)
    assert limiting(elasticities(fit, belief(), few)) == "device_speed"
    slow = point(
        network=Network(within=NETWORK.within, between=Link(latency_s=2e-5, bandwidth=1e8))
    )
    (many,) = time_options(
        fit, belief(slow), Machines(nodes=(64,), devices_per_node=8), [512], level=0.9
    )
    assert limiting(elasticities(fit, belief(slow), many)) == "bandwidth_between"
    (huge,) = time_options(
        fit, belief(), Machines(nodes=(64,), devices_per_node=8), [65536], level=0.9
    )
    found = elasticities(fit, belief(), huge)
    assert found["critical_batch_size"] < -0.9


def brute_force(model, saving):
    """The last number of nodes whose doubling still saves, by the planted law."""
    best = []
    for nodes in NODES:
        times = [
            float(LAW.steps_to_target(size))
            * float(
                model.parts(Placement(batch_size=size, nodes=nodes, devices_per_node=8)).total_s
            )
            for size in BATCH_SIZES
            if size >= 8 * nodes
        ]
        best.append(min(times))
    for place in range(1, len(best)):
        if best[place] > (1 - saving) * best[place - 1]:
            return NODES[place - 1]
    return NODES[-1]


@pytest.mark.parametrize("saving", [0.05, 0.1, 0.3, 0.45])
@pytest.mark.parametrize("bandwidth", [1e9, 1e10, 1e12])
def test_the_largest_useful_machine_is_that_of_brute_force(exact_fit, saving, bandwidth):
    model = point(
        network=Network(within=NETWORK.within, between=Link(latency_s=2e-5, bandwidth=bandwidth))
    )
    certain = belief(model)
    found = useful_machine(
        exact_fit,
        certain,
        MACHINES,
        time_options(exact_fit, certain, MACHINES, BATCH_SIZES, level=0.9),
        saving=saving,
        level=0.9,
    )
    assert found.nodes.estimate == brute_force(model, saving)
    assert found.nodes.low <= found.nodes.estimate <= found.nodes.high
    assert found.is_open == (found.nodes.high == math.inf)


def test_a_machine_whose_end_is_not_in_sight_has_an_open_interval(fit):
    small = Machines(nodes=(1, 2, 4), devices_per_node=1)
    certain = belief(point(network=NETWORK, parameter_bytes=1.0))
    found = useful_machine(
        fit,
        certain,
        small,
        time_options(fit, certain, small, BATCH_SIZES, level=0.9),
        saving=0.1,
        level=0.9,
    )
    assert found.is_open and found.nodes.high == math.inf
    with pytest.raises(ValueError, match="saving 1 must be"):
        useful_machine(fit, certain, small, [], saving=1, level=0.9)


def test_a_belief_refuses_an_error_factor_below_one():
    with pytest.raises(ValueError, match="error_factor 0.9 must be at least 1"):
        belief(error_factor=0.9)


def test_a_data_sheet_s_belief_has_no_notes_and_a_single_model():
    known = belief()
    assert isinstance(known.draws, StepTime)
    assert known.notes(Placement(batch_size=8, nodes=1, devices_per_node=8)) == ()


def test_the_whole_answer_is_put_together_from_its_parts(fit, options):
    answer = answer_machine(fit, belief(error_factor=1.3), MACHINES, BATCH_SIZES, saving=0.3)
    assert answer.options == options
    for objective in OBJECTIVES:
        best = min(each.value(objective) for each in options)
        assert answer.chosen[objective].value(objective) <= 1.01 * best
    assert answer.twice.time_s.estimate <= answer.chosen["cheapest"].time_s.estimate / 2
    assert answer.elasticities == elasticities(fit, answer.belief, answer.chosen["balanced"])
    # Where a doubling must cut less to help, a larger machine still does.
    easier = answer_machine(fit, belief(error_factor=1.3), MACHINES, BATCH_SIZES, saving=0.1)
    assert answer.useful.nodes.estimate < easier.useful.nodes.estimate

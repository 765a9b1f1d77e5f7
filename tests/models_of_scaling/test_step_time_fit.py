"""The step-time model fitted to throughput: exact rows, planted truths, what rows do not tell."""

import numpy as np
import pytest

from models_of_scaling.errors import InputError
from models_of_scaling.machine.all_reduce import Link, Network
from models_of_scaling.machine.cluster import Placement, StepTime
from models_of_scaling.machine.ensemble_sampler import sample_by_stretch_moves
from models_of_scaling.machine.step_time_fit import PARAMETERS, fit_step_time
from models_of_scaling.machine.throughput import average_repeats, read_throughput

TRUTH = {
    "seconds_per_example": 2e-3,
    "seconds_per_forward": 8e-3,
    "latency_within_s": 4e-6,
    "bandwidth_within": 1e11,
    "latency_between_s": 3e-5,
    "bandwidth_between": 5e9,
    "overlap": 0.6,
}
MODEL = StepTime(
    seconds_per_example=TRUTH["seconds_per_example"],
    seconds_per_forward=TRUTH["seconds_per_forward"],
    overlap=TRUTH["overlap"],
    network=Network(
        within=Link(latency_s=TRUTH["latency_within_s"], bandwidth=TRUTH["bandwidth_within"]),
        between=Link(latency_s=TRUTH["latency_between_s"], bandwidth=TRUTH["bandwidth_between"]),
    ),
    parameter_bytes=1e8,
    algorithm="ring",
)
SHAPES = ((1, 1), (1, 2), (1, 8), (2, 8), (4, 8), (8, 8))
FAR = Placement(batch_size=64 * 8 * 16, nodes=64, devices_per_node=8)


def rows(shapes=SHAPES, per_device=(4, 16, 64), noise=0.0, seed=0):
    """Configurations and their times."""
    found = [(m, k, b, 1) for m, k in shapes for b in per_device]
    seconds = [
        float(MODEL.parts(Placement(batch_size=m * k * b, nodes=m, devices_per_node=k)).total_s)
        for m, k, b, _ in found
    ]
    rng = np.random.default_rng(seed)
    return found, np.array(seconds) * np.exp(noise * rng.standard_normal(len(found)))


def fitted(seed=0, **changes):
    return fit_step_time(
        average_repeats(*rows(seed=seed, **changes)),
        parameter_bytes=1e8,
        algorithm="ring",
        level=0.9,
        seed=seed,
    )


def test_exact_rows_give_the_planted_step_times_back_also_eight_times_farther_out():
    fit = fitted()
    assert fit.rms_misfit < 1e-3  # what the priors pull
    for place in (FAR, Placement(batch_size=64, nodes=1, devices_per_node=8)):
        predicted = float(fit.point.parts(place).total_s)
        # 1 %: the links within a node are the priors', for nothing of them shows in the rows.
        assert predicted == pytest.approx(float(MODEL.parts(place).total_s), rel=0.01)
    for name in ("seconds_per_example", "seconds_per_forward", "bandwidth_between", "overlap"):
        assert fit.intervals[name].estimate == pytest.approx(TRUTH[name], rel=0.01)


def test_links_inside_a_node_are_not_told_where_overlap_hides_them():
    fit = fitted()
    assert fit.told == {
        name: name not in {"latency_within_s", "bandwidth_within"} for name in PARAMETERS
    }
    (advice,) = fit.advice()
    assert "do not tell latency_within_s, bandwidth_within" in advice
    assert "measure one node with 1, 2 and all of its devices" in advice


def test_rows_of_one_node_leave_the_network_between_nodes_to_the_prior():
    fit = fitted(shapes=((1, 1), (1, 8)), noise=0.01)
    assert fit.told["seconds_per_example"]
    for name in ("latency_between_s", "bandwidth_between"):
        assert not fit.told[name]
        # The priors' 90 % intervals, 3.3 standard deviations of 1.5 and 1.8 long.
        assert fit.intervals[name].high > 50 * fit.intervals[name].low
    assert any("several numbers of nodes" in line for line in fit.advice())
    seconds = fit.draws.parts(FAR).total_s
    known = fitted(noise=0.01).draws.parts(FAR).total_s
    assert np.log(seconds).std() > 5 * np.log(known).std()
    assert fit.extrapolation(FAR) == ("64 nodes, at most 1 measured",)


def test_one_per_device_batch_size_does_not_tell_the_fixed_time_of_a_forward():
    fit = fitted(per_device=(16,), noise=0.01)
    assert not fit.told["seconds_per_forward"]
    assert any("two or more values of per_device_batch_size" in line for line in fit.advice())


def test_accumulated_forwards_are_told_from_one_large_one():
    configurations, seconds = rows(shapes=((1, 1),))
    configurations += [(1, 1, 16, 4)]
    seconds = np.append(seconds, 4 * (8e-3 + 16 * 2e-3))
    fit = fit_step_time(
        average_repeats(configurations, seconds),
        parameter_bytes=1e8, algorithm="ring", level=0.9, seed=0,
    )  # fmt: skip
    assert fit.rms_misfit < 1e-3


def test_a_straggler_does_not_bend_the_model():
    configurations, seconds = rows(noise=0.005)
    seconds[7] *= 3
    fit = fit_step_time(
        average_repeats(configurations, seconds),
        parameter_bytes=1e8, algorithm="ring", level=0.9, seed=0,
    )  # fmt: skip
    interval = fit.intervals["seconds_per_example"]
    assert interval.low < TRUTH["seconds_per_example"] < interval.high
    assert interval.high < 1.6 * interval.low


def test_the_same_seed_gives_the_same_draws():
    first, second = (fitted(noise=0.02, shapes=SHAPES[:2]) for _ in range(2))
    np.testing.assert_array_equal(first.noise, second.noise)


def test_measured_steps_of_two_processes_on_one_cpu_are_fitted_though_their_latency_is_in_ms():
    """Digits, the MLP, 400 steps each by this trainer (gloo) on one 2-core machine under load.

    The gradients are 10 kB: the all-reduce is nothing but latency, 2 messages as a tree.
    """
    seconds = np.array([1.915, 1.698, 1.666, 1.581, 6.286, 7.337, 6.300, 7.229]) * 1e-3
    found = [(1, k, size, 1) for k in (1, 2) for size in (4, 16, 64, 256)]
    fit = fit_step_time(
        average_repeats(found, seconds), parameter_bytes=9640, algorithm="tree", level=0.9, seed=0
    )
    assert fit.rms_misfit < 0.1  # the rows of one kind differ by 16 % without any order
    assert fit.told["latency_within_s"] and fit.told["seconds_per_forward"]
    extra = (seconds[4:].mean() - seconds[:4].mean()) / 2
    interval = fit.intervals["latency_within_s"]
    # Overlap, which these rows do not tell, could hide up to two thirds of a step of 1.7 ms.
    assert interval.low < extra + 0.5 * 1.7e-3 * 2 / 3 and interval.high > extra


def test_a_large_misfit_is_said():
    found, seconds = rows()
    seconds = seconds * np.where(np.arange(len(seconds)) % 2, 3.0, 1.0)
    fit = fit_step_time(
        average_repeats(found, seconds), parameter_bytes=1e8, algorithm="ring", level=0.9, seed=0
    )
    assert "The model misses the measured step times" in fit.advice()[0]


@pytest.mark.slow
def test_planted_parameters_and_far_step_times_lie_inside_their_intervals():
    """24 simulated tables with 2 % noise; 90 % intervals: 4 standard errors below is 0.66."""
    inside = dict.fromkeys((*PARAMETERS, "64 nodes"), 0)
    for seed in range(24):
        fit = fitted(noise=0.02, seed=100 + seed)
        for name in PARAMETERS:
            inside[name] += fit.intervals[name].holds(TRUTH[name])
        low, high = np.quantile(fit.draws.parts(FAR).total_s, [0.05, 0.95])
        inside["64 nodes"] += low <= float(MODEL.parts(FAR).total_s) <= high
    shares = {name: count / 24 for name, count in inside.items()}
    print("share inside 90 % intervals:", {name: round(x, 2) for name, x in shares.items()})
    assert min(shares.values()) >= 0.66


def test_repeats_of_a_configuration_are_averaged_in_logs_and_count_once():
    table = average_repeats([(1, 1, 8, 1), (2, 8, 4, 1), (1, 1, 8, 1)], np.array([1.0, 5.0, 4.0]))
    assert len(table) == 2 and table.num_rows == 3
    np.testing.assert_allclose(table.seconds_per_step, [2.0, 5.0], rtol=1e-12)
    assert table.nodes.tolist() == [1, 2]


HEADER = "nodes,devices,per_device_batch_size,seconds_per_step"


def test_a_table_is_read_with_and_without_accumulation(tmp_path):
    path = tmp_path / "throughput.csv"
    path.write_text(f"{HEADER},accumulate_grad_batches\n2,8,32,0.25,4\n1,8,32,0.2,1\n")
    table = read_throughput(path)
    assert table.accumulate_grad_batches.tolist() == [1, 4]
    assert table.devices_per_node.tolist() == [8, 8]
    path.write_text(f"{HEADER}\n2,8,32,0.25\n")
    assert read_throughput(path).accumulate_grad_batches.tolist() == [1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nodes,devices,seconds_per_step\n1,1,1\n", "column per_device_batch_size is missing"),
        (f"{HEADER}\n1,8,4,0.1\n0,8,4,0.1\n", r"row 2 \(line 3\), column nodes: 0 must be"),
        (f"{HEADER}\n1,8.5,4,0.1\n", r"row 1 \(line 2\), column devices: 8.5 must be a whole"),
        (f"{HEADER}\n1,8,four,0.1\n", "column per_device_batch_size: four must be"),
        (f"{HEADER}\n1,8,4,\n", r"column seconds_per_step: \(empty\) must be"),
        (f"{HEADER}\n1,8,4,-0.1\n", "column seconds_per_step: -0.1 must be a finite"),
        (f"{HEADER}\n1,8,4,nan\n", "column seconds_per_step: nan must be"),
        (f"{HEADER}\n1,8,4,inf\n", "column seconds_per_step: inf must be"),
        (f"{HEADER}\n1,8,4\n", "3 fields, but the header has 4"),
        (f"{HEADER}\n", "the table has no rows"),
    ],
)
def test_a_bad_row_is_refused_by_its_place(tmp_path, text, message):
    path = tmp_path / "throughput.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_throughput(path)


def test_stretch_moves_recover_the_mean_and_covariance_of_a_tilted_gaussian():
    mean = np.array([1.0, -2.0, 0.5])
    root = np.array([[2.0, 0.0, 0.0], [1.5, 0.5, 0.0], [-1.0, 0.2, 0.1]])
    inverse = np.linalg.inv(root @ root.T)

    def log_density(points):
        away = points - mean
        return -0.5 * np.einsum("wi,ij,wj->w", away, inverse, away)

    rng = np.random.default_rng(0)
    start = rng.standard_normal((40, 3))
    draws = sample_by_stretch_moves(
        log_density, start, moves=6000, burn_in=1000, keep=50_000, rng=rng
    )
    # Standard errors over 12 seeds: 0.034 standard deviations of the means, 1.6 % of the standard
    # deviations; 4 of them. A stretch of the wrong law (no z to the power D - 1) is 20 % off.
    deviation = np.sqrt(np.diag(root @ root.T))
    assert (np.abs(draws.mean(axis=0) - mean) < 0.14 * deviation).all()
    np.testing.assert_allclose(draws.std(axis=0), deviation, rtol=0.065)
    wanted = (root @ root.T) / np.outer(deviation, deviation)
    np.testing.assert_allclose(np.corrcoef(draws.T), wanted, atol=0.02)


def test_a_sampler_refuses_too_few_walkers_and_impossible_starts():
    rng = np.random.default_rng(0)
    words = {"moves": 2, "burn_in": 1, "keep": 1, "rng": rng}
    with pytest.raises(ValueError, match="5 walkers must be an even number above 4"):
        sample_by_stretch_moves(lambda x: x[:, 0], np.zeros((5, 2)), **words)
    with pytest.raises(ValueError, match="density is 0"):
        sample_by_stretch_moves(lambda x: np.full(len(x), -np.inf), np.zeros((6, 2)), **words)

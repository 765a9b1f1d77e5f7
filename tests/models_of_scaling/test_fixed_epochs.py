"""Laws of accuracy at fixed epochs: exact algebra, a slow twin, recovery, coverage, open ends."""

import numpy as np
import pytest
from scipy.integrate import dblquad

from models_of_scaling.errors import InputError
from models_of_scaling.fixed_epochs.accuracy_laws import (
    ACCURACY_LAWS,
    Hinge,
    LearningCurve,
    PowerRise,
)
from models_of_scaling.fixed_epochs.accuracy_posterior import _integrated
from models_of_scaling.fixed_epochs.accuracy_table import accuracy_rows, cells_of
from models_of_scaling.fixed_epochs.averaged import fit_fixed_epochs
from models_of_scaling.fixed_epochs.backtest import (
    accuracy_scores,
    back_test_accuracy,
    published_rows,
)

SIZES = 2 ** np.arange(7, 14)  # 128 .. 8,192
# Law, amplitude in points and shape of each planted truth: a fall of 2 to 4 points at 8,192.
PLANTED = {
    "hinge": (Hinge(), 1.5, np.array([-1.0])),
    "power_rise": (PowerRise(), 2.0, np.array([0.0])),
    "learning_curve": (LearningCurve(), 4.0, np.array([0.0, np.log(0.6)])),
}
LEVEL = 7.0


def shapes_of(law, rng, count=50):
    return np.stack([rng.normal(p.mean, p.sd, count) for p in law.shape_priors], axis=1)


def planted_error(name, batch_size):
    law, amplitude, shape = PLANTED[name]
    return LEVEL + amplitude * law.rise(np.log(np.asarray(batch_size) / SIZES[-1]), shape)


def planted_drop(name, points):
    law, amplitude, shape = PLANTED[name]
    first = law.rise(np.log(SIZES[0] / SIZES[-1]), shape)
    return float(SIZES[-1] * np.exp(law.log_batch_size_at(first + points / amplitude, shape)))


def table(error_points, sizes=SIZES, **columns):
    return accuracy_rows(sizes, 1 - np.asarray(error_points) / 100, path="simulated", **columns)


@pytest.mark.parametrize("law", ACCURACY_LAWS, ids=lambda law: law.name)
def test_the_batch_size_of_a_rise_has_that_rise(law):
    shape = shapes_of(law, np.random.default_rng(0))
    rises = np.array([1e-3, 0.1, 1.0, 5.0])[:, None]
    x = law.log_batch_size_at(rises, shape)
    # 1e-9: a rise of 1e-3 is the small difference of numbers near 1.
    np.testing.assert_allclose(law.rise(x, shape), np.broadcast_to(rises, x.shape), rtol=1e-9)


@pytest.mark.parametrize("law", ACCURACY_LAWS, ids=lambda law: law.name)
def test_a_rise_grows_with_the_batch_size_from_nothing(law):
    shape = shapes_of(law, np.random.default_rng(1))
    x = np.linspace(-3, 3, 40)[:, None]
    assert (np.diff(law.rise(x, shape), axis=0) > 0).all()
    assert (law.rise(-200.0, shape) < 1e-9).all()


def test_the_hinge_costs_its_slope_per_doubling_far_beyond_its_onset():
    shape = np.array([-2.0])
    steps = Hinge().rise(np.log([64.0, 128.0, 256.0]), shape)
    np.testing.assert_allclose(np.diff(steps), 1.0, rtol=1e-6)  # e^-8 of the bend is left there


def test_the_learning_curve_is_the_hyperbola_put_into_a_power_law_of_steps():
    """Error floor + r S_eff^-a with S_eff = (E / B) / (1 + B_crit / B), McCandlish and Kaplan."""
    examples, critical, exponent, floor = 1e8, 3000.0, 0.7, 5.0
    sizes = np.array([64.0, 512.0, 4096.0, 32768.0])
    effective = (examples / sizes) / (1 + critical / sizes)
    direct = floor + 1e3 * effective**-exponent
    reducible = 1e3 * (examples / critical) ** -exponent
    shape = np.array([np.log(critical / 4096.0), np.log(exponent)])
    rise = LearningCurve().rise(np.log(sizes / 4096.0), shape)
    np.testing.assert_allclose(floor + reducible + reducible * rise, direct, rtol=1e-12)


def test_level_and_amplitude_are_integrated_as_a_slow_quadrature_does():
    rng = np.random.default_rng(2)
    error, rise = 7 + rng.standard_normal(5), np.sort(rng.random(5))[:, None]
    noise, scale = 0.4 + rng.random(5), 0.9

    def density(amplitude, level):
        squares = ((error - level - amplitude * rise[:, 0]) / noise) ** 2
        prior = 2 / scale / np.sqrt(2 * np.pi) * np.exp(-0.5 * (amplitude / scale) ** 2)
        return prior * np.exp(-0.5 * squares.sum())

    slow, _ = dblquad(density, -20, 30, 0, 12, epsabs=0, epsrel=1e-9)
    got, _, _ = _integrated(error, rise, np.diag(noise**-2)[None], scale)
    # The closed form leaves out the constant of the flat level, sqrt(2 pi).
    np.testing.assert_allclose(got[0, 0] + 0.5 * np.log(2 * np.pi), np.log(slow), rtol=1e-7)


@pytest.mark.parametrize("name", PLANTED)
def test_rows_without_noise_give_the_planted_batch_sizes_back(name):
    law, _, _ = PLANTED[name]
    rows = table(planted_error(name, SIZES))
    fit = fit_fixed_epochs(rows, np.random.default_rng(0), laws=[law])
    for points in (0.2, 1.0):
        found = fit.drop_batch_size(points)
        # The prior of the noise is next to nothing below 0.01 points: 5 % of the smaller drop.
        assert found.estimate == pytest.approx(planted_drop(name, points), rel=0.05)
        assert found.high / found.low < 1.25
    twice = fit.forecast(2 * int(SIZES[-1]), np.random.default_rng(0)).accuracy
    assert 100 - 100 * twice.estimate == pytest.approx(planted_error(name, 2 * SIZES[-1]), abs=0.05)


def test_a_table_without_a_fall_gives_no_upper_bound():
    rows = table(LEVEL + 0.1 * np.random.default_rng(3).standard_normal(len(SIZES)))
    fit = fit_fixed_epochs(rows, np.random.default_rng(0))
    for points in (0.2, 1.0):
        found = fit.drop_batch_size(points)
        assert np.isinf(found.high)
        assert found.low > SIZES[0]


def test_a_fall_seen_before_the_last_row_is_bounded_on_both_sides():
    fit = fit_fixed_epochs(table(planted_error("hinge", SIZES)), np.random.default_rng(0))
    assert fit.drop_batch_size(1.0).is_bounded


def test_a_shift_between_groups_is_not_taken_for_a_fall():
    """Two teams, 3 points apart, of which the worse one ran the large batches too."""
    sizes = np.concatenate([SIZES[:4], SIZES])
    group = ["a"] * 4 + ["b"] * len(SIZES)
    shift = np.where(np.array(group) == "b", 3.0, 0.0)
    noise = 0.1 * np.random.default_rng(4).standard_normal(len(sizes))
    errors = LEVEL + shift + noise
    grouped = fit_fixed_epochs(table(errors, sizes, group=group), np.random.default_rng(0))
    assert np.isinf(grouped.drop_batch_size(1.0).high)
    assert grouped.drop_batch_size(1.0).low > SIZES[3]


def test_binomial_noise_widens_the_forecast():
    errors = planted_error("hinge", SIZES)
    widths = [
        (lambda run: run.high - run.low)(
            fit_fixed_epochs(table(errors, **columns), np.random.default_rng(0))
            .forecast(int(SIZES[-1]), np.random.default_rng(0))
            .accuracy_of_run
        )
        for columns in ({}, {"num_test_examples": np.full(len(SIZES), 500)})
    ]
    # 8 % error on 500 examples: a binomial sd of 1.2 points, 90 % of it is 4 points wide.
    assert widths[0] < 0.006 < 0.035 < widths[1]


def test_cells_keep_mean_scatter_and_count_of_repeats():
    rows = table([7.0, 8.0, 9.0, 5.0], [64, 64, 128, 128], group=["a", "a", "a", "b"])
    cells = cells_of(rows)
    assert cells.batch_size.tolist() == [64, 128, 128]
    np.testing.assert_allclose(cells.error, [7.5, 9.0, 5.0], rtol=1e-12)
    np.testing.assert_allclose(cells.squares, [0.5, 0.0, 0.0], atol=1e-12)
    assert cells.count.tolist() == [2, 1, 1]


def test_two_batch_sizes_are_refused():
    with pytest.raises(InputError, match="2 different batch sizes"):
        fit_fixed_epochs(table([7.0, 8.0], [64, 128]), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("law", "amplitude", "shape"),
    [
        (Hinge(), 1.5, [-1.0]),
        # p = 1 would be the learning curve of a = 1 too.
        (PowerRise(), 0.5, [np.log(1.7)]),
        (LearningCurve(), 4.0, [0.0, np.log(0.6)]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_weights_prefer_the_law_that_made_the_rows(law, amplitude, shape):
    # A factor of 64 within the fall tells the shapes apart.
    sizes = np.concatenate([SIZES, SIZES[-1] * np.array([2, 4])])
    errors = LEVEL + amplitude * law.rise(np.log(sizes / SIZES[-1]), np.array(shape))
    fit = fit_fixed_epochs(table(errors, sizes), np.random.default_rng(0))
    best = max(fit.laws, key=lambda each: each.weight)
    assert best.law.name == law.name
    assert best.weight > 0.9
    assert sum(each.weight for each in fit.laws) == pytest.approx(1, rel=1e-12)


def test_the_back_test_never_sees_what_it_predicts():
    rows = published_rows()["cifar10_resnet20_200_epochs"]
    changed = accuracy_rows(
        rows.batch_size,
        np.where(rows.batch_size == rows.batch_size.max(), 0.5, rows.accuracy),
        path=rows.path,
    )
    for one, other in zip(back_test_accuracy([rows]), back_test_accuracy([changed]), strict=True):
        assert (one.predicted, one.low, one.high) == (other.predicted, other.low, other.high)


def test_the_back_test_covers_what_its_page_says():
    """Counts of docs/targets.md; the exact errors depend on the seed of the draws by 0.02."""
    last, near, middle, far = accuracy_scores(back_test_accuracy(list(published_rows().values())))
    assert (last.num_cases, near.num_cases, middle.num_cases, far.num_cases) == (8, 16, 14, 13)
    assert last.num_covered == 8
    assert last.median_error < last.median_error_no_change


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTED)
def test_intervals_hold_the_planted_truth_as_often_as_they_say(name, capsys):
    """500 tables, one run at each of 7 batch sizes, noise 0.15 points; all laws averaged."""
    rng = np.random.default_rng(5)
    truth, held = planted_drop(name, 1.0), []
    for _ in range(500):
        rows = table(planted_error(name, SIZES) + 0.15 * rng.standard_normal(len(SIZES)))
        fit = fit_fixed_epochs(rows, rng, draws=800)
        found = [fit.drop_batch_size(1.0).holds(truth)]
        for factor in (1, 2, 4):
            size = factor * int(SIZES[-1])
            measured = planted_error(name, size) + 0.15 * rng.standard_normal()
            found.append(fit.forecast(size, rng).accuracy_of_run.holds(1 - measured / 100))
        held.append(found)
    shares = np.mean(held, axis=0)
    with capsys.disabled():
        print(
            f"\n{name}: 90 % intervals held the batch of 1.0 point in {shares[0]:.3f}, "
            f"a new run at 1x, 2x, 4x in {shares[1]:.3f}, {shares[2]:.3f}, {shares[3]:.3f}"
        )
    # Standard error 0.013. The hinge is the weak spot: its fall is slower than what the power
    # rise would do from the same rows, and the average leans to the latter (docs/targets.md).
    least = {"hinge": (0.87, 0.87, 0.78, 0.70)}.get(name, (0.87, 0.87, 0.87, 0.87))
    assert (shares >= least).all(), shares

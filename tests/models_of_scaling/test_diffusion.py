import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from statsmodels.tsa.arima.model import ARIMA

from models_of_scaling.__main__ import main
from models_of_scaling.diffusion.block_bootstrap import exponent_interval
from models_of_scaling.diffusion.comparison import choose, compare
from models_of_scaling.diffusion.law_fit import Points, fit_law, whiten
from models_of_scaling.diffusion.laws import LAWS, applicable
from models_of_scaling.diffusion.rough_errors import RoughErrors, drawn_errors
from models_of_scaling.diffusion.trends import exponent_trends
from models_of_scaling.diffusion.walk import Walk, learning_rate_drops
from models_of_scaling.diffusion.walk_table import Setting
from models_of_scaling.intervals import Interval

# pytest's importlib mode has no path to the file beside this one.
_SPEC = importlib.util.spec_from_file_location(
    "simulated_walks", Path(__file__).with_name("simulated_walks.py")
)
assert _SPEC
assert _SPEC.loader
walks = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(walks)
STEPS = walks.log_spaced(4096)


def exact_walk(law: str) -> tuple[Walk, float]:
    """A law's own curve, and its exponent."""
    x = np.log(STEPS)
    curves = {
        "log": (3.0 * (x + 0.7), 1.0),
        "power": (0.2 * STEPS**0.37, 0.37),
        "log_power": (0.5 * (x + 0.9) ** 1.8, 1.8),
        "saturating": (4.0 * (1 - np.exp(-STEPS / 300)) ** 0.6, 0.6),
        "regime_switching": (
            np.sqrt(np.minimum(STEPS, 256) ** 0.9 + 0.1 * np.maximum(STEPS - 256, 0.0) ** 0.9),
            0.45,
        ),
    }
    distance, exponent = curves[law]
    drops = (256.0,) if law == "regime_switching" else ()
    return Walk(steps=STEPS, distance=distance, drops=drops), exponent


@pytest.mark.parametrize("law", LAWS)
def test_a_laws_own_curve_gives_its_exponent_back(law):
    walk, exponent = exact_walk(law)
    fit = fit_law(LAWS[law], [walk])
    # The search for the shape ends at 1e-3 of its scale.
    assert abs(fit.time_exponent - exponent) < 3e-3
    np.testing.assert_allclose(fit.log_distance(np.log(STEPS)), np.log(walk.distance), atol=1e-3)


def test_errors_are_whitened_as_the_markov_process_they_are_taken_for():
    gap = np.array([np.inf, 0.3, 1.1, 0.2, np.inf, 0.5])
    x = np.array([0.0, 0.3, 1.4, 1.6, 50.0, 50.5])
    covariance = np.exp(-np.abs(x[:, None] - x[None, :]) / 0.7)
    covariance[:4, 4:] = covariance[4:, :4] = 0.0
    # W covariance W^T = 1 for the matrix W that whitens.
    whitening = whiten(np.eye(6), gap, 0.7).T
    np.testing.assert_allclose(whitening @ covariance @ whitening.T, np.eye(6), atol=1e-12)


def test_on_equal_spacing_the_likelihood_is_statsmodels_ar1_regression():
    rng = np.random.default_rng(3)
    steps = np.exp(0.25 * np.arange(40))
    markov = RoughErrors.of(
        Points.of([Walk(steps=steps, distance=steps)]), kappa=0.6, roughness=1.0
    )
    errors = markov.colour(rng.standard_normal(40))
    walk = Walk(steps=steps, distance=np.exp(0.4 * np.log(steps) + 0.05 * errors))
    fit = fit_law(LAWS["power"], [walk])
    reference = ARIMA(np.log(walk.distance), exog=np.log(steps)[:, None], order=(1, 0, 0)).fit()
    # Both search for the best correlation: the likelihood is flat there.
    np.testing.assert_allclose(fit.log_likelihood, reference.llf, rtol=1e-4)
    np.testing.assert_allclose(fit.exponent, reference.params[1], rtol=1e-3)
    np.testing.assert_allclose(np.exp(-0.25 / fit.kappa), reference.params[2], rtol=0.02)


def test_the_best_correlation_is_the_best_of_all():
    walk = walks.walk_of("power", np.random.default_rng(8))
    fit = fit_law(LAWS["power"], [walk])
    points = Points.of([walk])

    def loss(log_kappa: float) -> float:
        kappa = np.exp(log_kappa)
        design = whiten(np.stack([np.ones_like(points.gap), points.log_steps]), points.gap, kappa)
        y = whiten(points.log_distance, points.gap, kappa)
        rest = y - np.linalg.lstsq(design.T, y, rcond=None)[0] @ design
        spread = np.log(-np.expm1(-2 * points.gap / kappa)).sum() / 2
        n = len(y)
        return 0.5 * n * (np.log(2 * np.pi * rest @ rest / n) + 1) + spread

    found = minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-6})
    np.testing.assert_allclose(-fit.log_likelihood, found.fun, rtol=1e-6)


@pytest.mark.slow
def test_of_200_simulated_walks_at_least_95_in_100_are_given_their_own_law():
    rng = np.random.default_rng(2006)
    right = dict.fromkeys(LAWS, 0)
    for law in LAWS:
        for _ in range(40):
            walk = walks.walk_of(law, rng)
            fits = [fit_law(each, [walk]) for each in applicable(walk.drops)]
            right[law] += choose(fits).name == law
    assert sum(right.values()) >= 190, right


def test_the_interval_of_the_exponent_holds_a_random_walks_half_as_often_as_it_says():
    rng = np.random.default_rng(17)
    held = 0
    for _ in range(100):
        walk = walks.on_clock(STEPS, STEPS, dimensions=400, rng=rng)
        fit = fit_law(LAWS["power"], [walk])
        held += exponent_interval(fit, [walk], rng=rng).holds(0.5)
    # 90 % intervals: binomial standard error 3 in 100; 80 and below would be a fault.
    assert 84 <= held <= 99


@pytest.mark.slow
@pytest.mark.parametrize("exponent", [0.15, 0.25])
def test_it_holds_the_exponent_of_a_sub_diffusive_walk_too(exponent):
    """Errors rougher than a Markov process: taken for one, intervals held 63 and 73 %."""
    rng = np.random.default_rng(11)
    held = 0
    for _ in range(200):
        walk = walks.fractional(STEPS, exponent, dimensions=400, rng=rng)
        fit = fit_law(LAWS["power"], [walk])
        held += exponent_interval(fit, [walk], rng=rng).holds(exponent)
    # Measured 86 %; its binomial standard error is 2.5 %.
    assert 0.80 <= held / 200 <= 0.98


def test_rough_errors_of_roughness_1_are_the_markov_process_walk_by_walk():
    gap = np.array([np.inf, 0.3, 1.1, 0.2, np.inf, 0.5])
    x = np.array([0.0, 0.3, 1.4, 1.6, 0.2, 0.7])
    points = Points(log_steps=x, log_distance=x, gap=gap, drops=())
    errors = RoughErrors.of(points, kappa=0.7, roughness=1.0)
    # The factor has a jitter of 1e-10 on its diagonal.
    np.testing.assert_allclose(errors.whiten(np.eye(6)), whiten(np.eye(6), gap, 0.7), atol=1e-8)
    rough = RoughErrors.of(points, kappa=0.7, roughness=0.4)
    np.testing.assert_allclose(rough.colour(rough.whiten(np.eye(6))), np.eye(6), atol=1e-12)
    covariance = rough.colour(np.eye(6)).T @ rough.colour(np.eye(6))
    np.testing.assert_allclose(covariance[0, 2], np.exp(-((1.4 / 0.7) ** 0.4)), rtol=1e-9)
    np.testing.assert_allclose(covariance[3, 4:], 0, atol=1e-12)


def test_the_restricted_likelihood_is_that_of_contrasts_and_finds_rough_errors_rough():
    rng = np.random.default_rng(2)
    walk = walks.fractional(STEPS, 0.2, dimensions=400, rng=rng)
    points = Points.of([walk])
    design = np.stack([np.ones_like(points.gap), points.log_steps])
    contrasts = np.linalg.svd(design)[2][2:]  # orthonormal, and blind to the law
    rest = points.log_distance

    def of_contrasts(errors):
        e = contrasts @ rest
        covariance = (
            contrasts
            @ errors.colour(np.eye(len(rest))).T
            @ errors.colour(np.eye(len(rest)))
            @ contrasts.T
        )
        square = e @ np.linalg.solve(covariance, e)
        return -0.5 * len(e) * np.log(square / len(e)) - 0.5 * np.linalg.slogdet(covariance)[1]

    pair = [RoughErrors.of(points, kappa=k, roughness=p) for k, p in ((0.5, 0.4), (2.0, 1.0))]
    ours, theirs = (
        [of(each) for each in pair]
        for of in (lambda each: each.log_likelihood(rest, design), of_contrasts)
    )
    # Equal but for a constant.
    np.testing.assert_allclose(ours[0] - ours[1], theirs[0] - theirs[1], rtol=1e-6)
    drawn = drawn_errors(rest, design, points, draws=400, rng=rng)
    assert sum(count for _, count in drawn) == 400
    # The correlation of its log distance falls as 1 - h^0.4 at first.
    assert sum(each.roughness * count for each, count in drawn) / 400 < 0.75


def test_a_table_of_every_step_is_thinned_evenly_over_log_steps():
    steps = np.arange(1.0, 5001.0)
    walk = Walk(steps=steps, distance=steps**0.4)
    thin = walk.thinned(256)
    assert (thin.steps[0], thin.steps[-1]) == (1, 5000)
    assert 150 < len(thin.steps) <= 256
    assert np.diff(np.log(thin.steps))[-50:].max() < 0.05
    assert walk.thinned(5000) is walk


def test_a_walk_that_saturates_follows_a_power_law_before_that_only():
    walk = walks.walk_of("saturating", np.random.default_rng(4))
    comparison = compare([walk])
    assert comparison.chosen == "saturating"
    assert comparison.is_log == "no"
    assert comparison.competitors["saturating"].holds == (1.0, 8192.0)
    ends = comparison.competitors["power"].holds
    assert ends is None or ends != (1.0, 8192.0)


def test_the_forecast_knows_nothing_of_the_last_quarter_of_log_t():
    """The walk leaves its power law there by a factor: that is the law's forecast error."""
    x = np.log(STEPS)
    in_tail = x > 0.75 * x[-1]
    distance = 0.3 * STEPS**0.4 * np.where(in_tail, 1.3, 1.0)
    comparison = compare([Walk(steps=STEPS, distance=distance)], with_ranges=False)
    power = comparison.competitors["power"]
    np.testing.assert_allclose(power.tail_error, np.log(1.3), rtol=1e-3)
    # A fit that saw the tail would share the step out over the walk.
    assert power.misfit < 0.8 * power.tail_error
    whole = compare([Walk(steps=STEPS, distance=0.3 * STEPS**0.4)], with_ranges=False)
    assert whole.competitors["power"].tail_error < 1e-6
    assert whole.best_tail == "power"
    assert whole.competitors["log"].tail_error > 0.05


def test_two_seeds_tell_more_than_one():
    rng = np.random.default_rng(6)
    four = [walks.fractional(STEPS, 0.3, dimensions=200, rng=rng) for _ in range(4)]
    widths = []
    for chosen in (four[:1], four):
        fit = fit_law(LAWS["power"], chosen)
        interval = exponent_interval(fit, chosen, rng=np.random.default_rng(0))
        widths.append(interval.high - interval.low)
    assert widths[1] < 0.8 * widths[0]


def test_a_learning_rate_that_falls_smoothly_has_no_regimes():
    for rates in ((1 - STEPS / (STEPS[-1] + 1)) ** 2, 0.5 ** np.arange(len(STEPS))):
        assert learning_rate_drops(STEPS, rates) == ()
    stepped = np.where(STEPS > 500, 0.01, np.where(STEPS > 100, 0.1, 1.0))
    assert learning_rate_drops(STEPS, stepped) == (
        STEPS[STEPS <= 100].max(),
        STEPS[STEPS <= 500].max(),
    )


def test_on_the_clock_of_the_learning_rate_a_decaying_walk_is_a_random_walk_again(tmp_path, capsys):
    rates = 1 / (1 + STEPS / 50)  # the walk's squared steps shrink with the rate
    sums = np.cumsum(1 / (1 + np.arange(1, 4097) / 50))[STEPS.astype(int) - 1]
    walk = walks.on_clock(STEPS, sums, dimensions=1000, rng=np.random.default_rng(2))
    rows = zip(STEPS, rates.tolist(), sums.tolist(), walk.distance.tolist(), strict=True)
    path = tmp_path / "walk.csv"
    path.write_text(
        "steps,learning_rate,learning_rate_sum,distance\n"
        + "\n".join(f"{step:.0f},{rate!r},{total!r},{d!r}" for step, rate, total, d in rows)
    )
    chosen = {}
    for clock in ("steps", "learning_rate"):
        assert main(["diffusion", str(path), "--clock", clock, "--json"]) == 0
        (setting,) = json.loads(capsys.readouterr().out)["settings"]
        chosen[clock] = setting["chosen"], setting["exponent"]
    assert chosen["steps"][0] != "power"
    law, exponent = chosen["learning_rate"]
    assert law == "power"
    assert exponent["low"] <= 0.5 <= exponent["high"]


def setting(batch_size: int, rate: float, optimizer: str = "momentum") -> Setting:
    return Setting(optimizer=optimizer, batch_size=batch_size, learning_rate=rate, drops=())


def planted(nu: float) -> Interval:
    return Interval(estimate=nu, low=nu - 0.01, high=nu + 0.01, level=0.9, method="")


def test_trends_of_the_exponent_are_told_apart():
    exponents = {
        setting(2**b, 0.1 * 2.0**c, optimizer): planted(
            0.4 - 0.02 * b + 0.03 * c + (0.1 if optimizer == "momentum" else 0.0)
        )
        for b in (5, 7, 9)
        for c in (0, 1)
        for optimizer in ("adam", "momentum")
    }
    trends = {each.of: each.change for each in exponent_trends(exponents, level=0.9)}
    assert trends.keys() == {"batch_size", "learning_rate", "momentum"}
    np.testing.assert_allclose(
        [trends[name].estimate for name in ("batch_size", "learning_rate", "momentum")],
        [-0.02, 0.03, 0.1],
        atol=1e-9,
    )


def test_where_the_learning_rate_follows_the_batch_they_have_one_trend():
    exponents = {setting(2**b, 0.01 * 2**b): planted(0.5 - 0.03 * b) for b in (4, 5, 6, 7)}
    (trend,) = exponent_trends(exponents, level=0.9)
    assert "moving with it" in trend.of
    np.testing.assert_allclose(trend.change.estimate, -0.03, atol=1e-9)
    assert exponent_trends(dict(list(exponents.items())[:2]), level=0.9) == []


@pytest.fixture
def table(tmp_path):
    """Three batch sizes of known laws, two seeds each, as the callback writes them."""
    rng = np.random.default_rng(1)
    lines = ["steps,batch_size,optimizer,seed,learning_rate,distance,distance/0.weight"]
    for batch_size, law in ((32, "log"), (64, "power"), (128, "saturating")):
        for seed in range(2):
            clock = {
                "log": (np.log(STEPS) + 1.0) ** 2,
                "power": STEPS**0.6,
                "saturating": -np.expm1(-STEPS / 100) + 1e-9 * STEPS,
            }[law]
            walk = walks.on_clock(STEPS, clock, dimensions=1000, rng=rng)
            lines += [
                f"{step:.0f},{batch_size},momentum,{seed},0.1,{distance!r},{distance / 2!r}"
                for step, distance in zip(walk.steps, walk.distance.tolist(), strict=True)
            ]
    path = tmp_path / "walks.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_command_says_for_each_batch_size_whether_it_is_log_t(table, capsys):
    assert main(["diffusion", str(table), "--json", "--replicates", "40"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [(e["batch_size"], e["is_log"], e["chosen"]) for e in answer["settings"]] == [
        (32, "yes", "log"),
        (64, "no", "power"),
        (128, "no", "saturating"),
    ]
    assert answer["settings"][0]["num_runs"] == 2
    assert [trend["of"] for trend in answer["trends"]] == ["batch_size"]


def test_the_command_speaks_in_words_and_draws(table, tmp_path, capsys):
    picture = tmp_path / "walks.svg"
    words = ["diffusion", str(table), "--replicates", "40", "--layer", "0.weight"]
    assert main([*words, "--plot", str(picture)]) == 0
    said = capsys.readouterr().out
    assert "batch size 32, momentum, peak learning rate 0.1 (2 runs" in said
    assert "The distance grows as log t" in said
    assert "The distance does not grow as log t but by the law a power of t" in said
    assert "nu per doubling of the batch size" in said
    assert "optimizer steps" in picture.read_text()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.replace("distance,", "length,", 1), "column distance is missing"),
        (lambda t: t.replace("\n4,32", "\n3,32", 1), "column steps: 3 must be more than the 3"),
        (lambda t: t.replace("\n4,32", "\n4.5,32", 1), "column steps: 4.5 must be a whole number"),
        (lambda t: "\n".join(t.split("\n")[:9]), "12 are needed"),
        (lambda t: t.replace(",0.1,", ",x,", 1), "column learning_rate: x must be a finite number"),
    ],
)
def test_a_wrong_table_is_refused_in_one_line(table, capsys, change, said):
    table.write_text(change(table.read_text()))
    with pytest.raises(SystemExit) as left:
        main(["diffusion", str(table)])
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_an_unknown_layer_is_refused_by_naming_those_there_are(table, capsys):
    with pytest.raises(SystemExit):
        main(["diffusion", str(table), "--layer", "conv1"])
    assert "it has the layers 0.weight" in capsys.readouterr().err

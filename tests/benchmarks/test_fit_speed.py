"""1,000 refits of a law to 24 points: the batched solver against loops over scipy's, in one run.

All start from the point fit, estimate the law's log parameters from log steps (ours the noise
too), stop where steps are 1e-6 of a standard error or 1e-8 of a parameter, and use one thread. The
loops are what a user would write: no derivatives (`curve_fit` is slower with them), the law as one
expression. A censored row enters them as the signed root of its deviance, which is the same
likelihood, with the point fit's noise; ours estimates the noise of each replicate.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.optimize import curve_fit, least_squares
from scipy.special import log_ndtr

from models_of_scaling.families import FAMILIES
from models_of_scaling.fitting import Problem, fit_batched
from models_of_scaling.likelihood import Observations

ROUNDS, REFITS, LOOPED = 7, 1000, 100
NOISE = 0.05


def _p_norm(x, level, fall, log_sharpness):
    sharpness = np.exp(log_sharpness)
    return np.logaddexp(sharpness * level, sharpness * (fall - x)) / sharpness


def _broken(x, level, fall, log_alpha, log_beta, log_sharpness):
    q = np.exp(log_sharpness)
    return np.logaddexp(q * (level - np.exp(log_beta) * x), q * (fall - np.exp(log_alpha) * x)) / q


# As short as a formula can be, so that the loops are not slowed by ours. A law that is not here is
# held against the loop over the hyperbola, the quickest there is.
PLAIN: dict[str, Callable] = {
    "hyperbola": lambda x, level, fall: np.logaddexp(level, fall - x),
    "power_with_floor": lambda x, level, fall, log_alpha: np.logaddexp(
        level, fall - np.exp(log_alpha) * x
    ),
    "p_norm_knee": _p_norm,
    "smoothly_broken_power": _broken,
    "knee_with_upturn": lambda x, level, fall, log_turn: (
        np.logaddexp(level, fall - x) + np.exp(np.minimum(x - log_turn, 4.0))
    ),
}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where 24 points lie, how many of the smallest batch sizes are censored, and what is asked."""

    batch_sizes: np.ndarray
    num_censored: int
    to_least_squares: float
    to_curve_fit: float


# 50 and 10 are what is promised. Where batch sizes repeat, as in most studies, a law is evaluated
# once for each and more is reached. Where none does, medians over laws are 86 to 125 and 15 to 20
# on one machine and 58 to 84 and 11 to 17 on a newer one, which runs the loops twice as fast; with
# censored rows 62 to 102 and 12 to 22, and 34 to 65 and 9 to 19. The bounds are what the slower of
# both has to spare: 40 and 8, and for censored rows, where 50 is missed there, half of it.
LAYOUTS = {
    "8 batch sizes, 3 repeats": Layout(
        batch_sizes=np.repeat(2.0 ** np.arange(3, 11), 3),
        num_censored=0,
        to_least_squares=50,
        to_curve_fit=10,
    ),
    "24 batch sizes": Layout(
        batch_sizes=np.geomspace(8, 4096, 24),
        num_censored=0,
        to_least_squares=40,
        to_curve_fit=8,
    ),
    "24 batch sizes, 4 censored": Layout(
        batch_sizes=np.geomspace(8, 4096, 24),
        num_censored=4,
        to_least_squares=25,
        to_curve_fit=6,
    ),
}


def replicates(name, layout):
    """Log steps of 1,000 resampled studies of the law itself: the ends of their rows.

    The knee, and where steps rise again, lie inside the data; the rest is the priors' centre.
    """
    rng, family = np.random.default_rng(0), FAMILIES[name]
    logs = np.log(layout.batch_sizes)
    x = logs - logs.mean()
    shapes = family.prior_mean_K.copy()
    shapes[0] = -2.0
    if "turning_batch_size" in family.parameter_names:
        shapes[family.parameter_names.index("turning_batch_size") - 1] = 0.0
    theta = family.theta_of_shape(shapes[None], x.max())
    theta[:, :2] += np.log(100)
    truth = family.log_steps(theta, x)[0][0]
    low = truth + NOISE * rng.standard_normal((REFITS, len(truth)))
    high = low.copy()
    if layout.num_censored:  # the budget ended before the smallest batch sizes were done
        cap = truth[layout.num_censored - 1] - 0.1
        over = low > cap
        low[over], high[over] = cap, np.inf
    return low, high


def problem_of(family, layout, low, high):
    logs = np.log(layout.batch_sizes)
    return Problem(
        family=family,
        rows=Observations(log_low_RN=low, log_high_RN=high, weight_RN=np.ones_like(low)),
        x_N=logs - logs.mean(),
        smallest_sigma_R=np.full(len(low), 1e-7),
    )


def looped_solvers(formula, start, sigma):
    """Functions of (x, log steps, whether reached) that refit one replicate."""

    def roots(x, log_steps, over, theta):
        """Residuals of measured rows and roots of the deviance of censored ones."""
        off = formula(x, *theta) - log_steps
        off[over] = sigma * np.sqrt(-2 * log_ndtr(off[over] / sigma))
        return off

    def by_curve_fit(x, log_steps, over):
        if over.any():
            nothing = np.zeros_like(x)
            curve_fit(lambda x, *theta: roots(x, log_steps, over, theta), x, nothing, start)
        else:
            curve_fit(formula, x, log_steps, start)

    def by_least_squares(x, log_steps, over):
        if over.any():
            least_squares(lambda theta: roots(x, log_steps, over, theta), start)
        else:
            least_squares(lambda theta: formula(x, *theta) - log_steps, start)

    return by_least_squares, by_curve_fit


def seconds(work, *arguments):
    """Processor seconds, so that other processes do not count."""
    started = time.process_time()
    work(*arguments)
    return time.process_time() - started


def measured(name, layout):
    """Seconds for 1,000 refits of ours and of both loops, in turn; (rounds, 3)."""
    low, high = replicates(name, layout)
    problem = problem_of(FAMILIES[name], layout, low, high)
    first = problem_of(FAMILIES[name], layout, low[:1], high[:1])
    point_fit = fit_batched(first).theta_RP[0]
    plain = name if name in PLAIN else "hyperbola"
    alike = fit_batched(problem_of(FAMILIES[plain], layout, low[:1], high[:1]))
    solvers = looped_solvers(PLAIN[plain], alike.theta_RP[0], np.exp(alike.log_sigma_R[0]))

    def loop(solve, begin):
        for k in range(begin, begin + LOOPED):
            try:
                solve(problem.x_N, low[k], np.isinf(high[k]))
            except RuntimeError:  # curve_fit gave up: its time counts all the same
                continue

    fits = fit_batched(problem, point_fit)  # warm
    assert fits.converged_R.mean() > 0.99
    times = []
    for number in range(ROUNDS):
        ours = seconds(fit_batched, problem, point_fit)
        looped = [seconds(loop, each, number * LOOPED) * REFITS / LOOPED for each in solvers]
        times.append([ours, *looped])
    return np.array(times)


def in_words(name, ratios):
    low, middle, high = np.quantile(ratios, [0, 0.5, 1])
    return f"{name} {middle:.0f}x ({low:.0f} to {high:.0f})"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Covariance of the parameters could not be estimated")
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("name", FAMILIES)
def test_refits_are_so_many_times_quicker_than_loops(name, layout, request, capsys):
    times = measured(name, layout)
    ratios = times[:, 1:] / times[:, :1]
    with capsys.disabled():
        print(
            f"\n{request.node.callspec.id}: 1,000 refits {1e3 * np.median(times[:, 0]):.0f} ms; "
            f"{in_words('least_squares', ratios[:, 0])}, {in_words('curve_fit', ratios[:, 1])}"
        )
    to_least_squares, to_curve_fit = np.median(ratios, axis=0)
    assert to_least_squares > layout.to_least_squares
    assert to_curve_fit > layout.to_curve_fit


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_refits_of_all_laws_together_take_less_than_a_second(layout, benchmark):
    problems = []
    for name, family in FAMILIES.items():
        low, high = replicates(name, layout)
        point_fit = fit_batched(problem_of(family, layout, low[:1], high[:1])).theta_RP[0]
        problems.append((problem_of(family, layout, low, high), point_fit))

    def refit_all():
        return [fit_batched(*each) for each in problems]

    benchmark.pedantic(refit_all, rounds=ROUNDS, warmup_rounds=1)
    assert benchmark.stats.stats.median < 1.0

"""Intervals of a law's exponent by a block bootstrap of its errors.

What correlates neighbours is taken out of the residuals; what is left is drawn again in blocks of
neighbours (Kuensch 1989), so that what the correlation missed stays, put back, and the law is
fitted to each such walk. Maximum likelihood finds the errors too small and their memory too short,
since the law has bent to them, and a walk of eight octaves says little about a memory of one: size,
memory and roughness are taken from the restricted likelihood, the last two as draws
(`rough_errors`).
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import least_squares

from models_of_scaling.diffusion.law_fit import LawFit, Points, whiten
from models_of_scaling.diffusion.laws import LARGEST_EXPONENT
from models_of_scaling.diffusion.rough_errors import RoughErrors, drawn_errors
from models_of_scaling.diffusion.walk import Walk
from models_of_scaling.intervals import Interval
from models_of_scaling.quantities import Floats

_SHAPES, _DRAWS = 400, 40
# Of a walk: 8 to an octave are 160 over a million steps; more would only cost time.
_MOST_POINTS = 256
_DIFFERENCE = 1e-4


def exponent_interval(
    fit: LawFit,
    walks: Sequence[Walk],
    *,
    replicates: int = 200,
    level: float = 0.9,
    rng: np.random.Generator,
) -> Interval:
    """Return a law's exponent with an interval.

    Args:
        fit: of `walks`.
        walks: what was fitted.
        replicates: walks that are drawn.
        level: of the interval.
        rng: of the draws.

    Returns:
        Of nu, or for a logarithmic law of 2 / alpha: percentiles of the refitted exponents. The law
        `log` has none: its interval is 1 to 1.
    """
    points = Points.of([walk.thinned(_MOST_POINTS) for walk in walks])
    if fit.name == "log":
        values = np.ones(1)
    else:
        rest = points.log_distance - fit.log_distance(points.log_steps)
        errors = drawn_errors(rest, _directions(fit, points), points, draws=_DRAWS, rng=rng)
        each_draw = -(-replicates // _DRAWS)
        values = np.concatenate([
            _refitted(fit, points, drawn_walks(fit, points, each, count * each_draw, rng))
            for each, count in errors
        ])
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(
        estimate=fit.time_exponent,
        low=float(min(low, fit.time_exponent)),
        high=float(max(high, fit.time_exponent)),
        level=level,
        method="block bootstrap",
    )


def drawn_walks(
    fit: LawFit, points: Points, errors: RoughErrors, replicates: int, rng: np.random.Generator
) -> Floats:
    """Draw walks from a fit and blocks of its errors.

    Args:
        fit: of the points.
        points: N of them.
        errors: what correlates them.
        replicates: R.
        rng: of the draws.

    Returns:
        Log distances of shape (R, N).
    """
    fitted = fit.log_distance(points.log_steps)
    left = errors.whiten(points.log_distance - fitted)
    n, free = len(left), fit.num_parameters - 2
    # Blocks of N^(1/3) neighbours, the rate of Hall, Horowitz & Jing 1995.
    length = max(2, round(n ** (1 / 3)))
    first = rng.integers(0, n - length + 1, size=(replicates, -(-n // length)))
    places = (first[:, :, None] + np.arange(length)).reshape(replicates, -1)[:, :n]
    drawn = (left - left.mean())[places] * np.sqrt(n / max(n - free, 1))
    return fitted + errors.colour(drawn)


def _directions(fit: LawFit, points: Points) -> Floats:
    """Return d log d / d parameter at the fit, a row each: scale, exponent if free, shape."""
    phi = _basis(fit, points, np.array(fit.shape))
    rows = [np.ones_like(phi)]
    if fit.law.exponent is None:
        rows.append(phi)
    for place in range(len(fit.shape)):
        moved = np.array(fit.shape)
        moved[place] += _DIFFERENCE
        rows.append(fit.exponent * (_basis(fit, points, moved) - phi) / _DIFFERENCE)
    return np.stack(rows)


def _basis(fit: LawFit, points: Points, shape: Floats) -> Floats:
    return np.asarray(fit.law.basis(points.log_steps, shape[None], points.drops)[0])


def _refitted(fit: LawFit, points: Points, drawn: Floats) -> Floats:
    """Return the exponent of each drawn walk, fitted as the walks were, of shape (R,)."""
    law, kappa = fit.law, fit.kappa
    if len(fit.shape) > 1:
        return np.array([_descended(fit, points, each) for each in drawn])
    bounds = law.bounds(float(points.log_steps.min()), float(points.log_steps.max()), points.drops)
    shapes = np.linspace(*bounds[0], _SHAPES)[:, None] if bounds else np.zeros((1, 0))
    phi = whiten(law.basis(points.log_steps, shapes, points.drops), points.gap, kappa)
    one = whiten(np.ones_like(points.gap), points.gap, kappa)
    one /= np.linalg.norm(one)
    y = whiten(drawn, points.gap, kappa)
    phi, y = (each - (each @ one)[:, None] * one for each in (phi, y))
    by, bb = phi @ y.T, np.maximum(np.square(phi).sum(axis=1), 1e-300)[:, None]  # (S, R), (S, 1)
    exponent = np.clip(by / bb, 1e-6, LARGEST_EXPONENT)
    loss = exponent**2 * bb - 2 * exponent * by
    best = np.argmin(loss, axis=0)
    return np.asarray(exponent[best, np.arange(len(drawn))])


def _descended(fit: LawFit, points: Points, drawn: Floats) -> float:
    """Refit a law of several shape parameters: regimes."""
    kappa = fit.kappa
    one = whiten(np.ones_like(points.gap), points.gap, kappa)
    one /= np.linalg.norm(one)

    def rest(shape: Floats) -> Floats:
        left = whiten(drawn - _basis(fit, points, shape), points.gap, kappa)
        return np.asarray(left - (left @ one) * one)

    return float(least_squares(rest, np.array(fit.shape), x_scale="jac", max_nfev=20).x[0])

"""Fits one law to walks, with errors that are correlated along each walk.

A distance is one random walk's, so neighbouring points err alike. In log d the errors are taken as
a stationary Gauss-Markov process in log t: correlation exp(-|log t - log t'| / kappa), which is
AR(1) where points are log-spaced. That clock is not arbitrary: for every self-similar walk,
d(t) / t^nu is stationary in log t (Lamperti 1962). Walks that differ in their seed alone share a
law and are independent of each other.

The likelihood is exact and Gaussian: scale, exponent and variance in closed form (generalized
least squares), the law's shape and kappa by a grid and then by descent.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from models_of_scaling.diffusion.laws import LARGEST_EXPONENT, Law, LawName
from models_of_scaling.diffusion.walk import Walk, common_drops
from models_of_scaling.quantities import Floats

_KAPPAS = 9
_ZOOMS, _AROUND = 8, np.linspace(-1, 1, 7)  # each zoom's mesh is a third of the one before
_SHAPES = {0: 1, 1: 24, 2: 144, 3: 343, 4: 625}  # points of the grid, by number of parameters
# Below this share of the distance deviations are rounding: float32 weights give 1e-7.
_SMALLEST_VARIANCE = 1e-16


@dataclass(frozen=True, kw_only=True, eq=False)
class Points:
    """Walks end to end.

    Attributes:
        log_steps: shape (N,).
        log_distance: shape (N,).
        gap: to the point before in log steps, inf where a walk begins; shape (N,).
        drops: of the learning rate.
    """

    log_steps: Floats
    log_distance: Floats
    gap: Floats
    drops: tuple[float, ...]

    @classmethod
    def of(cls, walks: Sequence[Walk]) -> "Points":
        """Join walks.

        Args:
            walks: of one schedule.

        Returns:
            All their points.
        """
        x = [np.log(walk.steps) for walk in walks]
        return cls(
            log_steps=np.concatenate(x),
            log_distance=np.log(np.concatenate([walk.distance for walk in walks])),
            gap=np.concatenate([np.diff(each, prepend=-np.inf) for each in x]),
            drops=common_drops(walks),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class LawFit:
    """A fitted law.

    Attributes:
        law: which.
        log_scale: log A.
        exponent: nu, 2 / alpha, or 1 for `log`.
        shape: the other parameters, as `laws` has them.
        kappa: correlation length of the errors, in log steps.
        sigma: their standard deviation in log d, a share of the distance.
        log_likelihood: of all points.
        num_points: N.
        num_parameters: of the law, plus two for the errors.
        first_log_step: of the points fitted; the logarithmic laws count from it.
        drops: of the learning rate.
    """

    law: Law
    log_scale: float
    exponent: float
    shape: tuple[float, ...]
    kappa: float
    sigma: float
    log_likelihood: float
    num_points: int
    num_parameters: int
    first_log_step: float
    drops: tuple[float, ...]

    @property
    def name(self) -> LawName:
        """The law's name."""
        return self.law.name

    @property
    def aicc(self) -> float:
        """Akaike's criterion with the correction of Hurvich & Tsai 1989; inf for few points."""
        n, k = self.num_points, self.num_parameters
        if n - k - 1 <= 0:
            return math.inf
        return -2 * self.log_likelihood + 2 * k + 2 * k * (k + 1) / (n - k - 1)

    def log_distance(self, log_steps: Floats) -> Floats:
        """Return log d at some steps.

        Args:
            log_steps: at or beyond the first that was fitted; shape (N,).

        Returns:
            Shape (N,).
        """
        # The logarithmic laws' shape counts from the first point fitted: give it back to them.
        x = np.concatenate([[self.first_log_step], log_steps])
        phi = self.law.basis(x, np.array([self.shape]).reshape(1, -1), self.drops)[0, 1:]
        return np.asarray(self.log_scale + self.exponent * phi)

    @property
    def time_exponent(self) -> float:
        """Nu, the power of t; of a logarithmic law its exponent 2 / alpha."""
        return self.shape[0] if self.name == "regime_switching" else self.exponent

    @property
    def zero_step(self) -> float:
        """t0 of the logarithmic laws, in steps."""
        return math.exp(self.first_log_step - math.exp(self.shape[0]))


def whiten(values: Floats, gap: Floats, kappa: float | Floats) -> Floats:
    """Turn errors of the process into independent ones of its variance.

    Args:
        values: shape (..., N).
        gap: to the point before in log steps, inf where a walk begins; shape (N,).
        kappa: correlation length, or several of a shape that broadcasts with `values`.

    Returns:
        Shape (..., N).
    """
    return _whitened(values, np.exp(-gap / kappa), _spread(gap, kappa))


def _whitened(values: Floats, correlation: Floats, spread: Floats) -> Floats:
    out = np.broadcast_to(values, np.broadcast_shapes(values.shape, spread.shape)).copy()
    out[..., 1:] -= correlation[..., 1:] * values[..., :-1]
    out /= spread
    return out


def _spread(gap: Floats, kappa: float | Floats) -> Floats:
    """Standard deviation of a point given the one before, over that of the process."""
    return np.asarray(np.sqrt(-np.expm1(-2 * gap / kappa)))


def _profile(
    law: Law, points: Points, shapes: Floats, kappas: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return log likelihood, log scale, exponent and variance, each of shape (K, S).

    Args:
        law: which.
        points: N of them.
        shapes: (S, M).
        kappas: (K,).
    """
    gap, n = points.gap, len(points.gap)
    correlation, spread = np.exp(-gap / kappas[:, None]), _spread(gap, kappas[:, None])  # (K, N)
    both = np.stack([np.ones(n), points.log_distance])[None]
    both = _whitened(both, correlation[:, None], spread[:, None])  # (K, 2, N)
    phi = law.basis(points.log_steps, shapes, points.drops)[None]
    phi = _whitened(phi, correlation[:, None], spread[:, None])  # (K, S, N)
    squares = np.matmul(both, both.transpose(0, 2, 1))
    aa, ay, yy = squares[:, :1, 0], squares[:, :1, 1], squares[:, 1:, 1]  # (K, 1)
    ab, by = np.matmul(both, phi.transpose(0, 2, 1)).transpose(1, 0, 2)  # (K, S)
    bb = np.einsum("ksn,ksn->ks", phi, phi)
    if law.exponent is None:
        # What is left of basis and distance without their means, in the metric of the errors.
        exponent = np.clip(
            (by - ab * ay / aa) / np.maximum(bb - ab * ab / aa, 1e-300), 1e-6, LARGEST_EXPONENT
        )
    else:
        exponent = np.full(bb.shape, law.exponent)
    log_scale = (ay - exponent * ab) / aa
    rest = yy - ay * ay / aa - 2 * exponent * (by - ab * ay / aa)
    rest = rest + exponent**2 * (bb - ab * ab / aa)
    variance = np.maximum(rest / n, _SMALLEST_VARIANCE)
    log_spread = np.log(spread).sum(axis=1)[:, None]
    log_likelihood = -0.5 * n * (np.log(2 * np.pi * variance) + 1) - log_spread
    return log_likelihood, log_scale, exponent, variance


def _grid(bounds: Sequence[tuple[float, float]]) -> Floats:
    if not bounds:
        return np.zeros((1, 0))
    each = round(_SHAPES[len(bounds)] ** (1 / len(bounds)))
    axes = [np.linspace(low, high, each) for low, high in bounds]
    return np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)


def kappa_bounds(points: Points) -> tuple[float, float]:
    """Return the correlation lengths that points can tell apart.

    Args:
        points: of walks.

    Returns:
        From a fifth of the median gap to five times the walks' length, in log steps.
    """
    gaps = points.gap[np.isfinite(points.gap)]
    return 0.2 * float(np.median(gaps)), 5.0 * float(np.ptp(points.log_steps))


def fit_law(law: Law, walks: Sequence[Walk]) -> LawFit:
    """Fit one law by maximum likelihood.

    Args:
        law: one of `laws.applicable`.
        walks: runs of one schedule, that differ in their seed alone.

    Returns:
        The fit.
    """
    points = Points.of(walks)
    bounds = law.bounds(float(points.log_steps.min()), float(points.log_steps.max()), points.drops)
    low, high = np.log(kappa_bounds(points))
    limits = np.array([*bounds, (low, high)])
    best = _best_of(law, points, _grid(bounds), np.linspace(low, high, _KAPPAS))
    at = (
        _zoomed(law, points, best, limits)
        if len(bounds) < 2
        else _descended(law, points, best, limits)
    )
    shape = at[None, :-1]
    log_likelihood, log_scale, exponent, variance = (
        float(value[0, 0]) for value in _profile(law, points, shape, np.exp(at[-1:]))
    )
    return LawFit(
        law=law,
        log_scale=log_scale,
        exponent=exponent,
        shape=tuple(float(value) for value in at[:-1]),
        kappa=math.exp(at[-1]),
        sigma=math.sqrt(variance),
        log_likelihood=log_likelihood,
        num_points=len(points.gap),
        num_parameters=law.num_parameters(points.drops) + 2,
        first_log_step=float(points.log_steps.min()),
        drops=points.drops,
    )


def _best_of(law: Law, points: Points, shapes: Floats, log_kappas: Floats) -> Floats:
    values = _profile(law, points, shapes, np.exp(log_kappas))[0]
    kappa, shape = np.unravel_index(int(np.argmax(values)), values.shape)
    return np.array([*shapes[shape], log_kappas[kappa]])


def _zoomed(law: Law, points: Points, best: Floats, limits: Floats) -> Floats:
    """Search ever finer grids around the best point: down to 1e-4 of the first grid's mesh."""
    mesh = (limits[:, 1] - limits[:, 0]) / 8
    for _ in range(_ZOOMS):
        around = [
            np.clip(at + width * _AROUND, *limit)
            for at, width, limit in zip(best, mesh, limits, strict=True)
        ]
        shapes = around[0][:, None] if len(best) > 1 else np.zeros((1, 0))
        best = _best_of(law, points, shapes, around[-1])
        mesh = mesh / 3
    return best


def _descended(law: Law, points: Points, best: Floats, limits: Floats) -> Floats:
    def loss(at: Floats) -> float:
        return -float(_profile(law, points, at[None, :-1], np.exp(at[-1:]))[0][0, 0])

    found = minimize(
        loss, best, method="Nelder-Mead", bounds=limits.tolist(),
        options={"xatol": 1e-3, "fatol": 1e-4},
    )  # fmt: skip
    return np.asarray(np.clip(found.x, limits[:, 0], limits[:, 1]))

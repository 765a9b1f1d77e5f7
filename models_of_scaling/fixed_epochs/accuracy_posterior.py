"""Posterior of one law of accuracy at fixed epochs, by a grid over what does not enter linearly.

The model of a cell's mean error (points) is normal,

    y = level + amplitude * g(shape) + noise,    noise ~ N(0, V),
    V = diag((sigma^2 + binomial) / n + tuning^2) + shift^2 (same group),

with a flat prior on level and a half-normal one on the amplitude. Given shape and V both are
integrated in closed form; shapes and noise sizes are summed over a grid, which is laid twice more
inside the part that matters. Draws are from that sum.

Shapes: C = cells, J = shapes, H = noise sizes, R = draws, D = parameters of a shape.
"""

from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
from scipy.special import log_ndtr, ndtri_exp

from models_of_scaling.fixed_epochs.accuracy_laws import AccuracyLaw
from models_of_scaling.fixed_epochs.accuracy_table import AccuracyCells
from models_of_scaling.quantities import Floats

# Runs of one image classifier that differ by their seeds scatter by 0.1 to 0.3 points; at 5 %
# error on 10,000 test examples the binomial alone would be 0.22. 90 % of the prior: 0.04 .. 0.56.
_LOG_NOISE_MEAN, _LOG_NOISE_SD = float(np.log(0.15)), 0.8
# Tuning over sigma, and a group's shift over sigma, are told by repeats and by groups only.
_TUNING_RATIOS: Final = (0.0, 0.5, 1.0, 2.0)
_GROUP_RATIOS: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
_GRID_SDS: Final = 3.5
_NOISES, _SHAPES_1D, _SHAPES_2D = 13, (101,), (31, 15)
# A grid cell whose log weight is so far below the best one's adds less than 1e-5 to anything.
_NEGLIGIBLE: Final = -14.0
_ZOOMS: Final = 2


@dataclass(frozen=True, kw_only=True)
class AccuracyDraws:
    """Posterior draws of one law; each field (R,), shapes (R, D).

    Attributes:
        level: error as B -> 0, points.
        amplitude: of the rise, points.
        shape: of the rise.
        noise: of one run at a batch size that nobody measured, points.
    """

    level: Floats
    amplitude: Floats
    shape: Floats
    noise: Floats


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """One axis of the grid: the middles of equal cells, and the normal prior on it."""

    middles: Floats
    mean: float
    sd: float

    @property
    def width(self) -> float:
        return float(self.middles[1] - self.middles[0])

    @property
    def log_prior(self) -> Floats:
        """Log of the prior's mass in each cell, by its density in the middle."""
        z = (self.middles - self.mean) / self.sd
        return np.asarray(-0.5 * z**2 + np.log(self.width / (self.sd * np.sqrt(2 * np.pi))))

    def inside(self, log_weight: Floats) -> "_Axis":
        """Return as many middles, over the cells that are not negligible and one more each side."""
        kept = np.flatnonzero(log_weight - log_weight.max() > _NEGLIGIBLE)
        low = self.middles[max(kept[0] - 1, 0)] - self.width / 2
        high = self.middles[min(kept[-1] + 1, len(self.middles) - 1)] + self.width / 2
        return _Axis(middles=_middles(low, high, len(self.middles)), mean=self.mean, sd=self.sd)


def _middles(low: float, high: float, count: int) -> Floats:
    return np.asarray(low + (high - low) * (np.arange(count) + 0.5) / count)


def _prior_axis(mean: float, sd: float, count: int) -> _Axis:
    reach = _GRID_SDS * sd
    return _Axis(middles=_middles(mean - reach, mean + reach, count), mean=mean, sd=sd)


@dataclass(frozen=True, kw_only=True)
class _Grid:
    """The posterior over the grid.

    Attributes:
        log_weight: (H, J), the log of the integrand; H runs over sigma and the ratios.
        sigma: (H,), points.
        new_run: (H,), noise of one run at a new batch size, points.
        shape: (J, D).
        precision: (H, C, C), inverse of V.
        middle: (H, J), amplitude's mean without its bound at 0.
        amplitude_precision: (H, J).
    """

    log_weight: Floats
    sigma: Floats
    new_run: Floats
    shape: Floats
    precision: Floats
    middle: Floats
    amplitude_precision: Floats


def fit_accuracy_law(
    law: AccuracyLaw, cells: AccuracyCells, rng: np.random.Generator, draws: int
) -> tuple[float, AccuracyDraws]:
    """Fit one law.

    Args:
        law: its formula and priors.
        cells: the data.
        rng: source of the draws.
        draws: R.

    Returns:
        Log evidence up to a constant that all laws share, and the draws.
    """
    counts = _SHAPES_1D if len(law.shape_priors) == 1 else _SHAPES_2D
    noise = _prior_axis(_LOG_NOISE_MEAN, _LOG_NOISE_SD, _NOISES)
    shapes = [
        _prior_axis(prior.mean, prior.sd, count)
        for prior, count in zip(law.shape_priors, counts, strict=True)
    ]
    grid, ratios = _lay_grid(law, cells, noise, shapes)
    for _ in range(_ZOOMS):
        table = grid.log_weight.reshape(ratios, _NOISES, *counts)
        axes = range(table.ndim)
        noise = noise.inside(table.max(axis=tuple(a for a in axes if a != 1)))
        shapes = [
            axis.inside(table.max(axis=tuple(a for a in axes if a != place + 2)))
            for place, axis in enumerate(shapes)
        ]
        grid, ratios = _lay_grid(law, cells, noise, shapes)
    best = float(grid.log_weight.max())
    evidence = best + float(np.log(np.exp(grid.log_weight - best).sum()))
    return evidence, _draw(law, cells, grid, rng, draws)


def _lay_grid(
    law: AccuracyLaw, cells: AccuracyCells, noise: _Axis, shapes: list[_Axis]
) -> tuple[_Grid, int]:
    """Return the posterior on a grid, and how many pairs of ratios it runs over."""
    repeated, grouped = bool((cells.count > 1).any()), bool(cells.group.max() > 0)
    ratios = list(
        product(_TUNING_RATIOS if repeated else (0.0,), _GROUP_RATIOS if grouped else (0.0,))
    )
    tuning, shift = (np.repeat([pair[place] for pair in ratios], _NOISES) for place in (0, 1))
    sigma = np.tile(np.exp(noise.middles), len(ratios))
    log_prior = np.tile(noise.log_prior, len(ratios)) - np.log(len(ratios))
    row_variance = sigma[:, None] ** 2 + cells.binomial
    same_group = (cells.group[:, None] == cells.group).astype(float)
    variance = (shift * sigma)[:, None, None] ** 2 * same_group + np.einsum(
        "hc,cd->hcd",
        row_variance / cells.count + (tuning * sigma)[:, None] ** 2,
        np.eye(len(cells.count)),
    )
    within = -0.5 * ((cells.count - 1) * np.log(row_variance) + cells.squares / row_variance).sum(
        axis=1
    )
    shape = np.stack(np.meshgrid(*[axis.middles for axis in shapes], indexing="ij"), axis=-1)
    shape = shape.reshape(-1, len(shapes))
    shape_prior = sum(
        np.meshgrid(*[axis.log_prior for axis in shapes], indexing="ij"),
        start=np.zeros(1),
    ).ravel()
    rise = law.rise(cells.x[:, None], shape)  # (C, J)
    scale = law.amplitude_scale * cells.level_scale
    precision = np.linalg.inv(variance)
    _, log_det = np.linalg.slogdet(variance)
    log_given, middle, amplitude_precision = _integrated(cells.error, rise, precision, scale)
    log_weight = log_given + (log_prior + within - 0.5 * log_det)[:, None] + shape_prior
    return (
        _Grid(
            log_weight=log_weight,
            sigma=sigma,
            new_run=np.sqrt(sigma**2 * (1 + tuning**2 + shift**2) + float(cells.binomial.mean())),
            shape=shape,
            precision=precision,
            middle=middle,
            amplitude_precision=amplitude_precision,
        ),
        len(ratios),
    )


def _integrated(
    error: Floats, rise: Floats, precision: Floats, scale: float
) -> tuple[Floats, Floats, Floats]:
    """Integrate level and amplitude.

    Args:
        error: (C,).
        rise: (C, J).
        precision: (H, C, C).
        scale: of the amplitude's half-normal prior.

    Returns:
        Log of the integral without the determinant of V (H, J), and the amplitude's mean and
        precision as if it had no bound at 0, (H, J) each.
    """
    y = error - error.mean()
    ones = precision.sum(axis=2)  # (H, C): V^-1 1
    total = ones.sum(axis=1)[:, None]
    on_y = precision @ y
    weighted = precision @ rise  # (H, C, J)
    ug, uy = ones @ rise, (ones @ y)[:, None]
    gg = np.maximum((weighted * rise).sum(axis=1) - ug**2 / total, 0.0)
    gy = on_y @ rise - ug * uy / total
    yy = (on_y @ y)[:, None] - uy**2 / total
    amplitude_precision = gg + scale**-2
    middle = gy / amplitude_precision
    log_given = (
        -0.5 * (yy - gy * middle)
        - 0.5 * np.log(total)
        - 0.5 * np.log(amplitude_precision)
        + np.log(2 / scale)
        + log_ndtr(middle * np.sqrt(amplitude_precision))
    )
    return log_given, middle, amplitude_precision


def _draw(
    law: AccuracyLaw, cells: AccuracyCells, grid: _Grid, rng: np.random.Generator, draws: int
) -> AccuracyDraws:
    """Draw grid cells by their weights, then amplitude and level given each."""
    running = np.cumsum(np.exp(grid.log_weight - grid.log_weight.max()).ravel())
    chosen = np.searchsorted(running, rng.random(draws) * running[-1])
    h, j = np.unravel_index(np.minimum(chosen, len(running) - 1), grid.log_weight.shape)
    root = np.sqrt(grid.amplitude_precision[h, j])
    # A normal above 0, from its upper tail's share: exact also where its mean is far below 0.
    tail = np.log1p(-rng.random(draws)) + log_ndtr(grid.middle[h, j] * root)
    amplitude = np.maximum(grid.middle[h, j] - ndtri_exp(tail) / root, 0.0)
    shape = grid.shape[j]
    rest = cells.error - amplitude[:, None] * law.rise(cells.x, shape[:, None, :])
    ones = grid.precision[h].sum(axis=2)
    total = ones.sum(axis=1)
    level = (ones * rest).sum(axis=1) / total + rng.standard_normal(draws) / np.sqrt(total)
    return AccuracyDraws(level=level, amplitude=amplitude, shape=shape, noise=grid.new_run[h])

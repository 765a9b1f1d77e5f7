"""B_crit against target: how the critical batch size grows as the loss falls.

The law is that of Kaplan et al. 2020 (arXiv:2001.08361, eq. 5.3),

    B_crit(L) = B_* / L^(1 / alpha),

which McCandlish et al. 2018 (arXiv:1812.06162) expect because the gradient shrinks faster than its
noise as the loss falls. L is the target itself for a loss and 1 - accuracy for an accuracy.

Each target is fitted on its own (`law_fit`); its B_crit is a distribution of draws. Targets asked
of the same trials are wrong together, so their draws are joined by a Gaussian copula: each target
keeps its own distribution, and the correlation between two targets is that of their noise,

    corr(k, l) = noise_corr(k, l) * cos(w_k, w_l).

noise_corr is estimated from what batch sizes scatter about their laws and what repeats scatter
about their mean, both along the training; w_k says how much each batch size's log steps move
log B_crit in the hyperbola, which differs between targets as the knee moves. A line is then fitted
to every joint draw by least squares weighted with the variances alone: with an estimated
correlation full generalised least squares would lean on differences of nearly equal targets.

Not counted: that another search would tune for another target. The trials' hyper-parameters were
chosen for the target they carry, so easier targets could be met sooner with their own.

Shapes: K = targets, R = draws, C = batch sizes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import ndtr

from models_of_scaling.fit_record import FitRecord
from models_of_scaling.fitted_law import FittedLaw
from models_of_scaling.intervals import Interval, weighted_quantile
from models_of_scaling.measurements import Measurements
from models_of_scaling.mixture import mixed
from models_of_scaling.quantities import Floats
from models_of_scaling.targets import Target

FEWEST_TARGETS: Final = 3
_METHOD: Final = "posterior draws, joined over targets"


def loss_of(target: Target) -> float:
    """Return L: the loss, or the error 1 - accuracy.

    >>> round(loss_of(Target.parse("validation_accuracy>=0.95")), 9)
    0.05
    """
    return 1.0 - target.value if target.direction == ">=" else target.value


@dataclass(frozen=True, kw_only=True)
class TargetPoint:
    """One target's fit.

    Attributes:
        target: what was asked.
        loss: L, the loss or the error.
        num_batch_sizes: that were fitted.
        num_reached: of them, where some row reached the target.
        critical_batch_size: B_crit, examples.
        min_steps: S_min, steps.
        min_examples: S_min * B_crit, examples: E_min where the hyperbola holds.
    """

    target: Target
    loss: float
    num_batch_sizes: int
    num_reached: int
    critical_batch_size: Interval
    min_steps: Interval
    min_examples: Interval

    @property
    def is_used(self) -> bool:
        """Whether the rows bound B_crit from both sides, so that a law over targets may use it."""
        return self.critical_batch_size.is_bounded


@dataclass(frozen=True, kw_only=True)
class TargetLaw:
    """B_crit(L) = B_* / L^(1 / alpha), as draws of the line in logs.

    Attributes:
        log_reference_loss: log of the geometric mean L of the targets used.
        intercept: log B_crit there, from the medians of the draws.
        slope: 1 / alpha, from the same.
        bend: second-order coefficient in log L, zero for a power law; None with 3 targets.
        intercepts: of each draw, (R,).
        slopes: of each draw, (R,).
        bends: of each draw, (R,), or None.
        losses: L of the targets used, easiest first.
        correlation: median correlation between neighbours.
    """

    log_reference_loss: float
    intercept: float
    slope: float
    bend: float | None
    intercepts: Floats
    slopes: Floats
    bends: Floats | None
    losses: tuple[float, ...]
    correlation: float

    def critical_batch_size(self, loss: float, *, level: float = 0.9) -> Interval:
        """Return B_crit at a loss, by the law: examples.

        Args:
            loss: L, more than 0.
            level: of the interval.
        """
        away = math.log(loss) - self.log_reference_loss
        return _interval(
            math.exp(self.intercept - self.slope * away),
            np.exp(self.intercepts - self.slopes * away),
            level,
        )

    def exponent(self, *, level: float = 0.9) -> Interval:
        """Return 1 / alpha: B_crit grows by 1 / alpha percent where the loss falls by one."""
        return _interval(self.slope, self.slopes, level)

    def bending(self, *, level: float = 0.9) -> Interval | None:
        """Return the bend with its interval; one without 0 says that the law is no power law."""
        if self.bend is None or self.bends is None:
            return None
        return _interval(self.bend, self.bends, level)


def _interval(estimate: float, draws: Floats, level: float) -> Interval:
    tail = (1 - level) / 2
    low, high = weighted_quantile(draws, np.ones_like(draws), [tail, 1 - tail])
    return Interval(
        estimate=estimate,
        low=min(float(low), estimate),
        high=max(float(high), estimate),
        level=level,
        method=_METHOD,
    )


def target_point(target: Target, fit: FitRecord, measured: Measurements) -> TargetPoint:
    """Return what one target's fit says.

    Args:
        target: what was asked.
        fit: of the rows below.
        measured: the rows.

    Returns:
        The point; where an end of B_crit or S_min is open, so is that of their product.
    """
    critical, least = fit.critical_batch_size, fit.min_steps
    return TargetPoint(
        target=target,
        loss=loss_of(target),
        num_batch_sizes=len(np.unique(measured.batch_size)),
        num_reached=len(np.unique(measured.batch_size[measured.reached])),
        critical_batch_size=critical,
        min_steps=least,
        min_examples=_min_examples(fit),
    )


def _min_examples(fit: FitRecord) -> Interval:
    """Return S_min * B_crit; better known than either, because they trade off."""
    products, weights = mixed(
        fit.laws,
        lambda law: np.asarray(law.replicates["min_steps"]) * _critical_batch_sizes(law),
    )
    tail = (1 - fit.level) / 2
    low, middle, high = weighted_quantile(products, weights, [tail, 0.5, 1 - tail])
    critical = fit.critical_batch_size
    product = critical.estimate * fit.min_steps.estimate
    known = critical.is_bounded and fit.min_steps.is_bounded
    estimate = float(product if known else middle)
    # Only where the knee lies below every batch size fitted (low end 0) is the product not told.
    return Interval(
        estimate=estimate,
        low=0.0 if critical.low == 0 else min(float(low), estimate),
        high=max(float(high), estimate),
        level=fit.level,
        method=_METHOD,
    )


def _critical_batch_sizes(law: FittedLaw) -> Floats:
    return np.asarray(law.replicates["critical_batch_size"])


def joint_draws(
    fits: Sequence[FitRecord], correlation: Floats, rng: np.random.Generator, draws: int = 4000
) -> Floats:
    """Draw log B_crit of all targets together.

    Args:
        fits: one per target.
        correlation: (K, K).
        rng: source of randomness.
        draws: R.

    Returns:
        (R, K); each column is distributed as its fit's own draws.
    """
    values, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    shares = ndtr(rng.standard_normal((draws, len(fits))) @ root.T)
    columns = []
    for fit, share in zip(fits, shares.T, strict=True):
        drawn, weights = mixed(fit.laws, _critical_batch_sizes)
        columns.append(np.log(weighted_quantile(drawn, weights, share.tolist())))
    return np.stack(columns, axis=1)


def fit_target_law(losses: Sequence[float], log_draws: Floats, *, correlation: float) -> TargetLaw:
    """Fit the line log B_crit = intercept - slope (log L - mean) to every joint draw.

    Args:
        losses: L of each target, (K,), all different, K at least 3.
        log_draws: joint draws of log B_crit, (R, K). Their medians are the estimate: a target's
            point fit jumps where another law becomes the best one.
        correlation: between neighbours, for the record.

    Returns:
        The law.

    Raises:
        ValueError: for fewer than 3 targets.
    """
    if len(losses) < FEWEST_TARGETS:
        raise ValueError(f"{len(losses)} targets; a law over targets needs {FEWEST_TARGETS}")
    log_loss = np.log(np.asarray(losses))
    away = log_loss - log_loss.mean()
    spread = log_draws.std(axis=0)
    weight = 1.0 / np.maximum(spread, 1e-12 + 0.1 * np.median(spread))
    columns = np.stack([np.ones_like(away), -away, away**2], axis=1) * weight[:, None]
    line = np.linalg.pinv(columns[:, :2])
    both = np.concatenate([np.median(log_draws, axis=0)[None], log_draws]) * weight
    intercepts, slopes = line @ both.T
    bends = (np.linalg.pinv(columns) @ both.T)[2] if len(losses) > FEWEST_TARGETS else None
    return TargetLaw(
        log_reference_loss=float(log_loss.mean()),
        intercept=float(intercepts[0]),
        slope=float(slopes[0]),
        bend=None if bends is None else float(bends[0]),
        intercepts=intercepts[1:],
        slopes=slopes[1:],
        bends=None if bends is None else bends[1:],
        losses=tuple(losses),
        correlation=correlation,
    )

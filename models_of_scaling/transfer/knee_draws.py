"""From surrogates and a few small-batch anchors to the curve at full scale.

    log S(B) = log S_min + h(log B - log B_crit),

with the shape h from the surrogates' fits (`curve_shapes`) and B_crit from one of two sources:

- a ladder: `meta_regression` or `ladder_process` predicts (log B_crit, log S_min) at the full
  scale's covariates. Its S_min is believed only where the full scale belongs to a family of the
  ladder; for a new one the level comes from the anchors alone;
- one surrogate: log B_crit is that of the surrogate plus a normal number whose size is stated
  (`knee_factor`), the level is unknown.

The anchors then update both (Bayes): draws of shape and B_crit are weighted by the likelihood of
the anchors' mean log steps, the level integrated out in closed form and drawn given them. Anchors
far below B_crit fix S_min B_crit, the level of the falling part, to their noise, and say little of
the knee: `knee_share` says how much of what is known of it was known before them.

Shapes: D = draws.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import log_ndtr, logsumexp, ndtri

from models_of_scaling.errors import InputError
from models_of_scaling.fitting import Integers
from models_of_scaling.intervals import Interval, check_level, interval_of, weighted_quantile
from models_of_scaling.quantities import Floats
from models_of_scaling.transfer.anchors import Anchors
from models_of_scaling.transfer.curve_shapes import CurveShapes
from models_of_scaling.transfer.meta_regression import Gaussians

METHOD: Final = "draws of a surrogate's shape and knee, weighted by the anchors"
DRAWS: Final = 20_000
# MLPerf's ResNet-50 reference points (see `noise`): 1.5 % from seed to seed, evaluations every
# epoch of 40 add 1 to 2 %; the rest is for a learning rate tuned with a few runs.
ANCHOR_NOISE: Final = 0.04
_FEWEST_EFFECTIVE: Final = 50.0


@dataclass(frozen=True, kw_only=True, eq=False)
class KneeDraws:
    """What is known of full scale before the anchors, one entry per draw, (D,) each.

    Attributes:
        shape: number of the shape.
        log_critical: log B_crit.
        log_min_steps: expected log S_min, given B_crit.
        level_precision: one over its variance; 0 where the level is unknown.
    """

    shape: Integers
    log_critical: Floats
    log_min_steps: Floats
    level_precision: Floats


def knee_of_ladder(
    predicted: Gaussians, shapes: CurveShapes, *, with_level: bool, rng: np.random.Generator
) -> KneeDraws:
    """Draw from what a ladder predicts.

    Args:
        predicted: of (log B_crit, log S_min).
        shapes: any of them goes with any B_crit.
        with_level: whether its S_min is believed; else only B_crit is taken.
        rng: source of randomness.

    Returns:
        The draws.
    """
    chosen = predicted.choose(DRAWS, rng)
    mean, covariance = predicted.means[chosen], predicted.covariances[chosen]
    critical_variance = covariance[:, 0, 0]
    log_critical = mean[:, 0] + np.sqrt(critical_variance) * rng.standard_normal(DRAWS)
    slope = covariance[:, 0, 1] / np.maximum(critical_variance, 1e-300)
    left = np.maximum(covariance[:, 1, 1] - slope * covariance[:, 0, 1], 1e-8)
    return KneeDraws(
        shape=rng.permutation(np.arange(DRAWS) % len(shapes)),
        log_critical=log_critical,
        log_min_steps=mean[:, 1] + slope * (log_critical - mean[:, 0]),
        level_precision=1 / left if with_level else np.zeros(DRAWS),
    )


def knee_of_surrogate(
    shapes: CurveShapes, *, knee_factor: float, rng: np.random.Generator
) -> KneeDraws:
    """Draw around one surrogate's B_crit.

    Args:
        shapes: of the surrogate; each brings its B_crit.
        knee_factor: 90 % of the draws lie within this factor of the surrogate's B_crit.
        rng: source of randomness.

    Returns:
        The draws; nothing is said of the level.
    """
    shape = rng.permutation(np.arange(DRAWS) % len(shapes))
    size = math.log(knee_factor) / float(ndtri(0.95))
    nothing = np.zeros(DRAWS)
    return KneeDraws(
        shape=shape,
        log_critical=shapes.log_critical[shape] + size * rng.standard_normal(DRAWS),
        log_min_steps=nothing,
        level_precision=nothing,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class FullScale:
    """The curve at full scale as weighted draws, (D,) each.

    Attributes:
        shapes: that `knee.shape` numbers.
        knee: the draws before the anchors.
        anchors: that weighted them.
        log_min_steps: log S_min, drawn given the anchors.
        noise: of a new study at one batch size, in logs.
        weights: sum to 1.
        deviates: standard normal, for the noise of a new study.
    """

    shapes: CurveShapes
    knee: KneeDraws
    anchors: Anchors
    log_min_steps: Floats
    noise: Floats
    weights: Floats
    deviates: Floats

    @property
    def effective(self) -> float:
        """How many independent draws the weighted ones are worth."""
        return float(1 / (self.weights**2).sum())

    @property
    def knee_share(self) -> float:
        """Share of what is known of log B_crit (its precision) that was known before the anchors.

        1: the anchors say nothing of the knee; 0: they say all.
        """
        logs = self.knee.log_critical
        mean = float(self.weights @ logs)
        after = float(self.weights @ (logs - mean) ** 2)
        return min(after / float(logs.var()), 1.0)

    def log_steps(self, batch_size: float) -> Floats:
        """Return log S(B) of each draw, (D,), without the noise of a measurement."""
        return self.log_min_steps + self.shapes.at(
            math.log(batch_size) - self.knee.log_critical, self.knee.shape
        )

    def steps(self, batch_size: float, *, level: float) -> Interval:
        """Return what a new study, tuned as the anchors were, would measure.

        Args:
            batch_size: examples per step.
            level: of the interval.

        Returns:
            Steps.
        """
        check_level(level)
        logs = self.log_steps(batch_size)
        middle = weighted_quantile(logs, self.weights, [0.5])[0]
        with np.errstate(over="ignore"):  # inf: by a draw that rises the target is out of reach
            measured = np.exp(logs + self.noise * self.deviates)
        return interval_of(
            float(np.exp(middle)), measured, self.weights, level=level, method=METHOD
        )

    def critical_batch_size(self, *, level: float) -> Interval:
        """Return B_crit, examples.

        Args:
            level: of the interval.
        """
        values = np.exp(self.knee.log_critical)
        middle = float(weighted_quantile(values, self.weights, [0.5])[0])
        return interval_of(middle, values, self.weights, level=level, method=METHOD)


def update(
    knee: KneeDraws,
    shapes: CurveShapes,
    anchors: Anchors,
    *,
    anchor_noise: float = ANCHOR_NOISE,
    rng: np.random.Generator,
) -> FullScale:
    """Weigh the draws by the anchors and fix their level.

    Args:
        knee: draws before the anchors.
        shapes: that they number.
        anchors: at least one batch size that reached the target.
        anchor_noise: of tuning, in logs, beside the noise of the surrogate's studies.
        rng: source of randomness.

    Returns:
        The curve at full scale.

    Raises:
        InputError: where the anchors contradict what was known before them, so that next to no
            draw is left.
    """
    noise = np.hypot(shapes.noise[knee.shape], anchor_noise)
    height = np.stack([
        shapes.at(log - knee.log_critical, knee.shape) for log in anchors.log_batch_size
    ])
    at = anchors.reached
    precision = 1 / (noise**2 + anchors.variance[at, None])
    level = anchors.log_steps[at, None] - height[at]  # log S_min by each anchor
    prior = knee.level_precision
    total = precision.sum(axis=0) + prior
    # Squares about a middle of each draw: no digits are lost in a far level.
    middle = level.mean(axis=0)
    off, prior_off = level - middle, np.where(prior > 0, knee.log_min_steps - middle, 0.0)
    mean = ((precision * off).sum(axis=0) + prior * prior_off) / total
    squares = (precision * off**2).sum(axis=0) + prior * prior_off**2 - total * mean**2
    log_weights = 0.5 * (np.log(precision).sum(axis=0) - np.log(total) - squares)
    log_weights += 0.5 * np.log(np.where(prior > 0, prior, 1.0))
    log_min_steps = middle + mean + rng.standard_normal(len(noise)) / np.sqrt(total)
    for cell in np.flatnonzero(~at):
        # Nothing reached here: its mean lies above the steps that were done.
        above = (log_min_steps + height[cell] - anchors.log_steps[cell]) / noise
        log_weights += log_ndtr(above)
    full_scale = FullScale(
        shapes=shapes,
        knee=knee,
        anchors=anchors,
        log_min_steps=log_min_steps,
        noise=noise,
        weights=np.exp(log_weights - logsumexp(log_weights)),
        deviates=rng.permutation(ndtri((np.arange(len(noise)) + 0.5) / len(noise))),
    )
    if full_scale.effective < _FEWEST_EFFECTIVE:
        raise InputError(
            f"--anchor: its rows contradict the surrogate: {full_scale.effective:.0f} of "
            f"{len(noise):,} draws of the knee agree with them; widen --knee-factor, or fit the "
            "anchors alone"
        )
    return full_scale

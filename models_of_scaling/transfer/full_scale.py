"""Full-scale predictions put together: a ladder or one surrogate, and anchors."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np

from models_of_scaling.errors import InputError
from models_of_scaling.fit_record import FitRecord
from models_of_scaling.prediction import Prediction
from models_of_scaling.transfer.anchors import Anchors
from models_of_scaling.transfer.curve_shapes import CurveShapes, draw_shapes
from models_of_scaling.transfer.knee_draws import (
    ANCHOR_NOISE,
    FullScale,
    KneeDraws,
    knee_of_ladder,
    knee_of_surrogate,
    update,
)
from models_of_scaling.transfer.ladder import Ladder
from models_of_scaling.transfer.ladder_process import predict_by_process
from models_of_scaling.transfer.meta_regression import Gaussians, regress

Method = Literal["regression", "process", "process_constant_mean"]
METHODS: Final[tuple[Method, ...]] = get_args(Method)
# 90 % of how far B_crit moves from a surrogate to what it stands for, by two sources of which 8 is
# the geometric middle. From a rung to the next of our two ladders (paper/results; 1.1 to 6 times
# the curvature, parameters or training set, 28 pairs) it moves by 3.7; from an image task to the
# next larger one by 17 (McCandlish et al. 2018, arXiv:1812.06162, as second-hand notes have it:
# MNIST 200, SVHN 500, CIFAR-10 900, ImageNet 15,000). Each is exp(1.645 x rms log ratio).
KNEE_FACTOR: Final = 8.0
_SHAPES: Final = 1500
# From a thousand examples to the largest corpora is a million times; no ladder was checked beyond.
_FARTHEST_PLACE: Final = 1e6
# What "nothing known of the knee" means where the anchors are asked alone: nobody's B_crit is off
# by more than this.
_ANYWHERE: Final = 1000.0


@dataclass(frozen=True, kw_only=True)
class Noise:
    """What moves a draw from one call to another, and how far anchors are trusted.

    Attributes:
        anchor: noise of a full-scale measurement's tuning, in logs.
        seed: of all draws.
    """

    anchor: float = ANCHOR_NOISE
    seed: int = 0

    def __post_init__(self) -> None:
        """Check both.

        Raises:
            InputError: naming the flag, the value and the rule.
        """
        if not 0 < self.anchor <= 1:
            raise InputError(f"--anchor-noise {self.anchor:g} must be more than 0 and at most 1")
        if self.seed < 0:
            raise InputError(f"--seed {self.seed} must be at least 0")


def check_place(ladder: Ladder, at: Mapping[str, float]) -> None:
    """Check that a place has the ladder's covariates, and no other.

    Args:
        ladder: the rungs.
        at: values by covariate.

    Raises:
        InputError: naming the covariate and the rule.
    """
    for name in at:
        if name not in ladder.covariates:
            known = ", ".join(ladder.covariates) or "none"
            raise InputError(f"--at {name}: is no covariate of {ladder.source}, which has: {known}")
    for name in ladder.covariates:
        if name not in at:
            raise InputError(f"--at: {name} is missing; it is a covariate of {ladder.source}")
        if not 0 < at[name] < float("inf"):
            raise InputError(f"--at {name}={at[name]:g}: must be finite and more than 0")
        ends = ladder.covariates[name].min(), ladder.covariates[name].max()
        if not ends[0] / _FARTHEST_PLACE <= at[name] <= ends[1] * _FARTHEST_PLACE:
            raise InputError(
                f"--at {name}={at[name]:g}: is more than {_FARTHEST_PLACE:g}x outside the ladder's "
                f"{ends[0]:g} .. {ends[1]:g}; no honest answer exists that far"
            )


def predict_knee(
    ladder: Ladder,
    at: Mapping[str, float],
    *,
    workload: str | None = None,
    method: Method = "regression",
    seed: int = 0,
) -> Gaussians:
    """Predict (log B_crit, log S_min) at a place outside the ladder.

    Args:
        ladder: the rungs.
        at: values by covariate.
        workload: a family of the ladder, or None for a new one.
        method: how.
        seed: of the draws.

    Returns:
        Their distribution.
    """
    check_place(ladder, at)
    place = np.log([at[name] for name in ladder.covariates])
    if method == "regression":
        return regress(ladder, seed=seed).predict(place, workload)
    return predict_by_process(
        ladder,
        place,
        workload,
        mean="linear" if method == "process" else "constant",
        rng=np.random.default_rng(seed),
    )


def shapes_of(fits: Sequence[FitRecord], *, seed: int = 0) -> CurveShapes:
    """Return shapes drawn from fits of surrogates.

    Args:
        fits: at least one.
        seed: of the draws.
    """
    return draw_shapes(fits, _SHAPES, np.random.default_rng([seed, 3]))


def from_ladder(
    predicted: Gaussians,
    shapes: CurveShapes,
    anchors: Anchors,
    *,
    with_level: bool,
    noise: Noise | None = None,
) -> FullScale:
    """Return the curve at full scale from what a ladder predicts and anchors.

    Args:
        predicted: of `predict_knee`.
        shapes: of the surrogates, from `shapes_of`.
        anchors: at full scale.
        with_level: whether the ladder's S_min is believed: where the full scale belongs to one of
            its families.
        noise: None for the default.
    """
    chosen = noise or Noise()
    rng = np.random.default_rng([chosen.seed, 1])
    knee = knee_of_ladder(predicted, shapes, with_level=with_level, rng=rng)
    return update(knee, shapes, anchors, anchor_noise=chosen.anchor, rng=rng)


def from_surrogate(
    shapes: CurveShapes,
    anchors: Anchors,
    *,
    knee_factor: float = KNEE_FACTOR,
    noise: Noise | None = None,
) -> FullScale:
    """Return the curve at full scale from one surrogate and anchors.

    Args:
        shapes: of the surrogate, from `shapes_of`.
        anchors: at full scale.
        knee_factor: how far B_crit may be from the surrogate's, see `knee_draws.knee_of_surrogate`.
        noise: None for the default.

    Returns:
        The curve.

    Raises:
        InputError: for a factor that is none.
    """
    if not 1 < knee_factor <= _ANYWHERE:
        raise InputError(
            f"--knee-factor {knee_factor:g} must be more than 1 and at most {_ANYWHERE:g}"
        )
    chosen = noise or Noise()
    rng = np.random.default_rng([chosen.seed, 1])
    knee = knee_of_surrogate(shapes, knee_factor=knee_factor, rng=rng)
    return update(knee, shapes, anchors, anchor_noise=chosen.anchor, rng=rng)


def from_anchors_alone(full_scale: FullScale, *, noise: Noise | None = None) -> FullScale:
    """Return the same with next to nothing known of the knee, to see what the anchors say.

    Args:
        full_scale: whose shapes and anchors are kept.
        noise: None for the default; that of `full_scale`.
    """
    chosen = noise or Noise()
    rng = np.random.default_rng([chosen.seed, 2])
    shapes: CurveShapes = full_scale.shapes
    centre = float(np.median(full_scale.knee.log_critical))
    around = dataclasses.replace(shapes, log_critical=np.full(len(shapes), centre))
    knee: KneeDraws = knee_of_surrogate(around, knee_factor=_ANYWHERE, rng=rng)
    return update(knee, shapes, full_scale.anchors, anchor_noise=chosen.anchor, rng=rng)


def farthest_measured(full_scale: FullScale, fits: Sequence[FitRecord]) -> float:
    """Return the batch size up to which somebody measured: an anchor, or a surrogate by its knee.

    Args:
        full_scale: the curve.
        fits: of the surrogates. One measured up to three times its B_crit shows the curve's shape
            up to three times the full scale's.

    Returns:
        Examples per step.
    """
    knee = full_scale.critical_batch_size(level=0.9).estimate
    known = [fit for fit in fits if 0 < fit.critical_batch_size.estimate < float("inf")]
    moved = [knee * fit.largest_batch_size / fit.critical_batch_size.estimate for fit in known]
    return max([full_scale.anchors.largest_batch_size, *moved])


def predict_full_scale(
    full_scale: FullScale, batch_sizes: Sequence[int], *, level: float
) -> list[Prediction]:
    """Predict steps to target at full scale.

    Args:
        full_scale: the curve.
        batch_sizes: examples per step, each at least 1.
        level: of the intervals.

    Returns:
        One prediction per batch size, in the order asked; efficiency and extrapolation are
        relative to the anchors' smallest and largest batch size.

    Raises:
        InputError: for a batch size below 1.
    """
    for batch_size in batch_sizes:
        if batch_size < 1:
            raise InputError(f"--batch-size {batch_size} must be at least 1")
    anchors = full_scale.anchors
    reference = anchors.smallest_batch_size
    reference_examples = reference * full_scale.steps(reference, level=level).estimate
    answers = []
    for batch_size in batch_sizes:
        steps = full_scale.steps(batch_size, level=level)
        examples = batch_size * steps.estimate
        answers.append(
            Prediction(
                batch_size=batch_size,
                steps=steps,
                examples=examples,
                efficiency=reference_examples / examples,
                extrapolation=batch_size / anchors.largest_batch_size,
            )
        )
    return answers

"""Gradient noise scale from squared gradient norms at two batch sizes, with an interval.

Source: McCandlish et al. 2018, arXiv:1812.06162, Appendix A.1. With G the true gradient, Sigma the
covariance of one example's gradient and g_B the mean gradient of B examples,
E|g_B|^2 = |G|^2 + tr(Sigma) / B, so two batch sizes give both numbers without bias. The quotient
tr(Sigma) / |G|^2 is B_simple, in examples: a measurement on gradients, not the critical batch size.

Differs from the source: microbatches may differ in size and weight (`unbiased_moments`), both
averages run over blocks of steps, and the quotient gets an interval (`quotient_of_means`).

Shapes: J blocks.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from models_of_scaling.quotient_of_means import Floats, effective_blocks, quotient_of_means

# Fewer blocks have no variance worth the name: the t quantile at 7 degrees of freedom is 2.4.
MIN_BLOCKS = 8


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Why an estimate should not be taken at its face.

    Attributes:
        code: `too_few_steps`, `gradient_not_seen`, `noise_not_seen`, `heavy_tails`, `batch_norm`,
            `one_microbatch`, `communication_hook`, `gradient_in_parts` or `skipped_steps`.
        words: one sentence with its figures.
    """

    code: str
    words: str


@dataclass(frozen=True, kw_only=True)
class NoiseScale:
    """A noise scale with its interval.

    Attributes:
        estimate: tr(Sigma) / |G|^2 in examples; NaN where either is not positive.
        low: end of the interval.
        high: the other end; infinite where |G|^2 can't be told from 0.
        level: of the interval.
        trace: mean estimate of tr(Sigma).
        sq_norm: mean estimate of |G|^2.
        steps: optimizer steps behind it.
        blocks: that they were cut into; of unequal weights, as many equal ones say as much.
        problems: none where the estimate may be used as it stands.
    """

    estimate: float
    low: float
    high: float
    level: float
    trace: float
    sq_norm: float
    steps: int
    blocks: float
    problems: tuple[Problem, ...] = ()

    @property
    def valid(self) -> bool:
        """Whether nothing speaks against the estimate and its interval."""
        return not self.problems

    @property
    def reason(self) -> str:
        """What speaks against it, in words; empty where nothing does."""
        return "; ".join(problem.words for problem in self.problems)


def unbiased_moments(
    sq_norm_small: ArrayLike,
    sq_norm_big: ArrayLike,
    *,
    inverse_small: ArrayLike,
    inverse_big: ArrayLike,
) -> tuple[Floats, Floats]:
    """Return unbiased estimates of tr(Sigma) and |G|^2.

    Microbatch i has b_i examples, the mean gradient g_i and the weight w_i in the global gradient
    g = sum w_i g_i, with sum w_i = 1. Then

        E[sum w_i |g_i|^2] = |G|^2 + tr(Sigma) sum w_i / b_i
        E[|g|^2]           = |G|^2 + tr(Sigma) sum w_i^2 / b_i

    For w_i = b_i / B the first estimate is the pooled sample variance over the n microbatches,
    sum b_i |g_i - g|^2 / (n - 1); for equal b_i it is the source's pair (A.2).

    Args:
        sq_norm_small: sum w_i |g_i|^2.
        sq_norm_big: |g|^2.
        inverse_small: sum w_i / b_i, one over the small batch size.
        inverse_big: sum w_i^2 / b_i, one over the big batch size; smaller.

    Returns:
        tr(Sigma) and |G|^2, in the shape that the arguments have together. Single estimates may be
        negative: averages are to be taken before any quotient.

    Raises:
        ValueError: where the big batch is not the bigger one.

    >>> trace, sq_norm = unbiased_moments(3 + 8 / 4, 3 + 8 / 32, inverse_small=1 / 4,
    ...                                   inverse_big=1 / 32)
    >>> float(trace), float(sq_norm)
    (8.0, 3.0)
    """
    small, big = np.asarray(sq_norm_small, float), np.asarray(sq_norm_big, float)
    gap = np.asarray(inverse_small, float) - np.asarray(inverse_big, float)
    if not np.all(gap > 0):
        raise ValueError(f"{inverse_big=} must be below {inverse_small=}")
    trace = (small - big) / gap
    return trace, big - np.asarray(inverse_big, float) * trace


def noise_scale_of_blocks(
    trace_J: Floats,
    sq_norm_J: Floats,
    *,
    weights_J: Floats,
    steps: int,
    level: float = 0.9,
    problems: Iterable[Problem] = (),
) -> NoiseScale:
    """Return the noise scale of blocks of steps.

    Args:
        trace_J: a block's mean estimate of tr(Sigma).
        sq_norm_J: of |G|^2.
        weights_J: equal for a block average, falling with age for an exponential one.
        steps: behind all of them.
        level: of the interval.
        problems: that are known already.

    Returns:
        The estimate; its problems are those given and what its own numbers say.
    """
    found = list(problems)
    blocks = effective_blocks(weights_J) if len(weights_J) else 0.0
    if len(weights_J) < MIN_BLOCKS:
        words = f"too few steps: {steps} in {len(weights_J)} blocks, {MIN_BLOCKS} are needed"
        found.append(Problem(code="too_few_steps", words=words))
        total = float(np.sum(weights_J)) or 1.0
        trace, sq_norm = (float(weights_J @ v) / total for v in (trace_J, sq_norm_J))
        ratio = trace / sq_norm if trace > 0 and sq_norm > 0 else math.nan
        return NoiseScale(
            estimate=ratio,
            low=0.0,
            high=math.inf,
            level=level,
            trace=trace if len(weights_J) else math.nan,
            sq_norm=sq_norm if len(weights_J) else math.nan,
            steps=steps,
            blocks=blocks,
            problems=tuple(found),
        )
    quotient = quotient_of_means(trace_J, sq_norm_J, weights_J=weights_J, level=level)
    for code, what, t in (
        ("gradient_not_seen", "|G|^2", quotient.t_denominator),
        ("noise_not_seen", "tr(Sigma)", quotient.t_numerator),
    ):
        if t <= quotient.t_quantile:
            words = f"{what} can't be told from 0: {t:.1f} standard errors over {steps} steps"
            found.append(Problem(code=code, words=words))
    share_J = weights_J / weights_J.sum()
    return NoiseScale(
        estimate=quotient.estimate,
        low=quotient.low,
        high=quotient.high,
        level=level,
        trace=float(share_J @ trace_J),
        sq_norm=float(share_J @ sq_norm_J),
        steps=steps,
        blocks=blocks,
        problems=tuple(found),
    )

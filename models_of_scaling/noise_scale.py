"""Gradient noise scale from squared gradient norms at two batch sizes, with an interval.

Source: McCandlish et al. 2018, arXiv:1812.06162, Appendix A.1. With G the true gradient, Sigma the
covariance of one example's gradient and g_B the mean gradient of B examples,
E|g_B|^2 = |G|^2 + tr(Sigma) / B, so two batch sizes give both numbers without bias. The quotient
tr(Sigma) / |G|^2 is B_simple, in examples: a measurement on gradients, not the critical batch size.

Differs from the source: microbatches may differ in size and weight (`unbiased_moments`), both
averages run over blocks of steps, and the quotient gets an interval: variances by a delete-a-group
jackknife over the blocks (their weights need not be equal), ends by Fieller 1954, the r for which
tr(Sigma) - r |G|^2 can't be told from 0. Such an interval holds the truth as often as it says also
where |G|^2 is lost in noise: its upper end is then infinite. (A normal interval for the logarithm,
given where |G|^2 seems clear of 0, held it in 81 % instead of 90 % of streams there: being clear of
0 is then an accident.)

Shapes: N steps, J blocks.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

Floats = NDArray[np.float64]
# Fewer blocks have no variance worth the name: the t quantile at 7 degrees of freedom is 2.4.
MIN_BLOCKS = 8
# Below tail index 2 a variance is not finite, so no error bar on a mean can be trusted.
_FINITE_VARIANCE = 2.0
_MIN_TAIL_STEPS = 64
# Of a step among 64 or more; where it carries more, the interval is a statement about that step.
_LARGEST_SHARE = 0.25


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


@dataclass(frozen=True, kw_only=True)
class Quotient:
    """A quotient of two means over blocks.

    Attributes:
        estimate: with the jackknife's correction for bias where both means can be told from 0; NaN
            where one is not positive.
        low: of the interval.
        high: of the interval; infinite where the denominator can't be told from 0.
        t_numerator: the numerator's mean over its standard error.
        t_denominator: likewise.
        t_quantile: that both must exceed to be told from 0, by the interval's level.
    """

    estimate: float
    low: float
    high: float
    t_numerator: float
    t_denominator: float
    t_quantile: float


def effective_blocks(weights_J: Floats) -> float:
    """Return how many blocks of equal weight say as much: 1 / sum W^2 for weights of sum 1."""
    return float(np.sum(weights_J) ** 2 / np.sum(weights_J**2))


def quotient_of_means(
    numerator_J: Floats, denominator_J: Floats, *, weights_J: Floats, level: float
) -> Quotient:
    """Return a quotient of weighted means over blocks with an interval.

    With W the weights, sum 1, and m_j a mean without block j, the jackknife's covariance of both
    means is sum ((1 - W_j) (m_j - m))^2 / (1 - sum W^2): for equal weights the usual one (Shao & Tu
    1995, section 1.3). The estimate's bias, to first order proportional to sum W^2, is found from
    how much the log quotient changes when a block is left out. Student's t has
    1 / sum W^2 - 1 degrees of freedom.

    Args:
        numerator_J: one mean a block.
        denominator_J: likewise.
        weights_J: positive; of any sum.
        level: of the interval, for example 0.9.

    Returns:
        The quotient.
    """
    weights_J = weights_J / weights_J.sum()
    squares = float(np.sum(weights_J**2))
    quantile = float(stdtrit(1 / squares - 1, (1 + level) / 2))
    x, y = float(weights_J @ numerator_J), float(weights_J @ denominator_J)
    without_x, without_y = (
        (mean - weights_J * values) / (1 - weights_J)
        for mean, values in ((x, numerator_J), (y, denominator_J))
    )
    changes = np.stack([without_x - x, without_y - y]) * (1 - weights_J)
    covariance = changes @ changes.T / (1 - squares)
    t_x, t_y = (
        mean / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, mean)
        for mean, variance in zip((x, y), np.diag(covariance), strict=True)
    )
    estimate = x / y if x > 0 and y > 0 else math.nan
    if min(t_x, t_y) > quantile and min(without_x.min(), without_y.min()) > 0:
        change_J = np.log(without_x / without_y) - math.log(estimate)
        growth_J = (squares - weights_J**2) / (1 - weights_J) ** 2 - squares
        slope = float((1 - weights_J) @ change_J) / float((1 - weights_J) @ growth_J)
        estimate *= math.exp(-squares * slope)
    low, high = _fieller(x, y, covariance, quantile)
    return Quotient(
        estimate=estimate,
        low=low,
        high=high,
        t_numerator=t_x,
        t_denominator=t_y,
        t_quantile=quantile,
    )


def _fieller(x: float, y: float, covariance: Floats, quantile: float) -> tuple[float, float]:
    """Return the positive r with |x - r y| within its error, as an interval."""
    square = quantile**2
    a, b, c = (
        u * v - square * float(both)
        for u, v, both in (
            (y, y, covariance[1, 1]),
            (x, y, covariance[0, 1]),
            (x, x, covariance[0, 0]),
        )
    )
    inside = b * b - a * c
    if inside <= 0:
        return 0.0, math.inf
    roots = sorted(((b - math.sqrt(inside)) / a, (b + math.sqrt(inside)) / a))
    if a > 0:
        return max(roots[0], 0.0), max(roots[1], 0.0)
    # The set is what lies outside the roots; of the positive numbers, those above the larger, as
    # long as the smaller one leaves none below it.
    return (max(roots[1], 0.0) if roots[0] <= 0 else 0.0), math.inf


def tail_index(values_N: Floats) -> tuple[float, float]:
    """Return Hill's tail index of positive values and its upper 95 % limit.

    Source: Hill 1975, Annals of Statistics 3(5), with k = sqrt(N) rounded up; the limit is
    index (1 + 1.645 / sqrt(k)). Below 2 the values have no finite variance.

    Args:
        values_N: the largest are looked at; at least 2 of them positive.

    Returns:
        The index, infinite where the largest are equal; its upper limit.
    """
    k = math.ceil(math.sqrt(len(values_N)))
    top = np.sort(values_N)[-k - 1 :]
    if top[0] <= 0:
        return math.inf, math.inf
    spacing = float(np.mean(np.log(top[1:] / top[0])))
    index = 1 / spacing if spacing > 0 else math.inf
    return index, index * (1 + 1.645 / math.sqrt(k))


def heavy_tails(trace_N: Floats) -> Problem | None:
    """Return what is wrong with the tails of single steps' estimates of tr(Sigma), if anything.

    Each is taken relative to the median of its neighbours: a trace that falls over the run is no
    heavy tail.

    Args:
        trace_N: one a step, in order.
    """
    if len(trace_N) < _MIN_TAIL_STEPS:
        return None
    parts = np.array_split(np.abs(trace_N), len(trace_N) // (_MIN_TAIL_STEPS // 2))
    medians = [float(np.median(part)) for part in parts]
    if min(medians) <= 0:
        return None
    relative_N = np.concatenate([part / m for part, m in zip(parts, medians, strict=True)])
    index, limit = tail_index(relative_N)
    largest = float(relative_N.max() / relative_N.sum())
    if limit < _FINITE_VARIANCE:
        return Problem(
            code="heavy_tails",
            words=f"heavy tails: single steps' estimates of tr(Sigma) have tail index {index:.2g}, "
            "below 2, so their variance is not finite and the interval can't be trusted",
        )
    if largest > _LARGEST_SHARE:
        return Problem(
            code="heavy_tails",
            words=f"heavy tails: one step of {len(trace_N)} carries {100 * largest:.0f} % of "
            "tr(Sigma)",
        )
    return None


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

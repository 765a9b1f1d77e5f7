"""Critical batch size by branching: what a larger batch loses from a checkpoint on.

Source: Merrill et al. 2025, arXiv:2505.23971: from a checkpoint of a run at batch size B, train
branches at k B with a scaled learning rate over the same examples, and see from which k on the loss
is worse than at k = 1.

Differs from the source: besides its answer, the largest batch size that loses no more than a stated
share of the loss, there is one in the words of McCandlish et al. 2018 (arXiv:1812.06162, eq. 2.11),
so that it can stand beside a noise scale and a critical batch size from steps to target. A branch's
efficiency e is the share of its examples at which the run at B had the branch's loss, where both
may choose their learning rate from a list: a larger batch at the old rate is less noisy, as a lower
rate at the old batch is, and to lower the rate is no merit of the batch. As far as a branch lowers
its rate per example, the base run may. Where examples cost E_min (1 + x / B_crit) at batch size x,
e = (1 + B / B_crit) / (1 + x / B_crit): the answer is the x with e(x) = (1 + B / x) / 2:
this definition alone is taken from the law, not its shape; 1 / e is interpolated as measured.

Expected losses that are known exactly need no seeds. Else intervals: delete-one-seed jackknife of
the logarithm of the answer, Student's t. Where efficiency falls off a cliff between two branches,
seeds agree on the cliff and not on its place: the interval then holds both branches.

Shapes: R seeds, N evaluations of the base run, M batch sizes.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from scipy.special import stdtrit

Floats = NDArray[np.float64]
# The base run goes on for so many times the branch's length: a branch may also be ahead of it.
AHEAD = 2.0
_NO_LOSS = 1e3  # log of a loss that nothing comes near; a least-squares fit takes no infinity
_STEEP = 2.0
_FINE = 4096  # places between the smallest and the largest branch
_LOWEST_EFFICIENCY = 1e-3  # of a branch that ends above where it began, or diverged


@dataclass(frozen=True, kw_only=True)
class Branches:
    """What was trained from one checkpoint.

    Attributes:
        examples: that the base run had processed there.
        base_batch_size: B.
        branch_examples: that each branch processed.
        base_examples_N: processed by the base run since the checkpoint, from 0, increasing.
        base_loss_RN: its loss there, by the factor of its learning rate since the checkpoint; 1 is
            among them.
        batch_sizes: of the branches, increasing, all above B.
        loss_RM: at the end of each branch, by rule of the learning rate.
        is_exact: losses are expected ones, known exactly: a single row, and no interval.
    """

    examples: int
    base_batch_size: int
    branch_examples: int
    base_examples_N: Floats
    base_loss_RN: Mapping[float, Floats]
    batch_sizes: tuple[int, ...]
    loss_RM: Mapping[str, Floats]
    is_exact: bool = False

    def without(self, seed: int) -> "Branches":
        """Return everything but one seed."""
        return Branches(
            examples=self.examples,
            base_batch_size=self.base_batch_size,
            branch_examples=self.branch_examples,
            base_examples_N=self.base_examples_N,
            base_loss_RN={
                f: np.delete(loss, seed, axis=0) for f, loss in self.base_loss_RN.items()
            },
            batch_sizes=self.batch_sizes,
            loss_RM={rule: np.delete(loss, seed, axis=0) for rule, loss in self.loss_RM.items()},
        )

    @property
    def num_seeds(self) -> int:
        """R."""
        return len(self.base_loss_RN[1.0])


def _log_mean(loss: Floats) -> Floats:
    """Return the mean logarithm over seeds; infinite where one diverged."""
    with np.errstate(invalid="ignore", divide="ignore"):
        log = np.log(loss)
    mean: Floats = np.where(np.isfinite(log), log, np.inf).mean(axis=0)
    return mean


def efficiencies(branches: Branches, rule: str) -> Floats:
    """Return each branch's efficiency, shape (M,).

    Args:
        branches: of one checkpoint.
        rule: of the learning rate.

    Returns:
        The share of the branch's examples at which the base run, at its best factor, had its loss;
        means of log losses over seeds; at most 2, where the base run was looked at no further.
    """
    loss_M = _log_mean(branches.loss_RM[rule])
    at = [
        np.interp(loss, *_falling_curve(branches, size))
        for loss, size in zip(loss_M, branches.batch_sizes, strict=True)
    ]
    shares: Floats = np.array(at) / branches.branch_examples
    return np.clip(shares, _LOWEST_EFFICIENCY, AHEAD)


def _falling_curve(branches: Branches, batch_size: int) -> tuple[Floats, Floats]:
    """Return the base run's log losses, increasing, and the examples at which it had them.

    At each place the best factor counts that is not below B over the branch's batch size: so far
    an unscaled rate falls, per example, in the branch. Both sides then choose among like noise.
    """
    lowest = branches.base_batch_size / batch_size
    curves = [
        _log_mean(loss)
        for factor, loss in branches.base_loss_RN.items()
        if factor == 1 or factor >= 0.999 * lowest
    ]
    base_N = np.minimum(np.min(curves, axis=0), _NO_LOSS)
    # A noisy curve made to fall; a running minimum would favour its lucky evaluations. Reversed,
    # its losses increase, as interpolation wants them.
    falling = isotonic_regression(base_N, increasing=False).x
    return falling[::-1], branches.base_examples_N[::-1]


def best_rules(branches: Branches) -> list[str]:
    """Return the rule with the largest efficiency at each batch size."""
    rules = list(branches.loss_RM)
    places = np.argmax([efficiencies(branches, rule) for rule in rules], axis=0)
    return [rules[place] for place in places]


def efficiencies_by(branches: Branches, rules: Sequence[str]) -> Floats:
    """Return each branch's efficiency by the rule given for its batch size, shape (M,).

    Args:
        branches: of one checkpoint.
        rules: one a batch size; for an interval those of all seeds, or leaving one out would change
            two things at once.
    """
    by_rule = {rule: efficiencies(branches, rule) for rule in dict.fromkeys(rules)}
    return np.array([by_rule[rule][j] for j, rule in enumerate(rules)])


def critical_batch_size(
    batch_sizes: Sequence[int], efficiency_M: Floats, *, base_batch_size: int
) -> float:
    """Return the batch size x with e(x) = (1 + B / x) / 2.

    Args:
        batch_sizes: increasing, above B.
        efficiency_M: at each.
        base_batch_size: B.

    Returns:
        In examples. Infinite where no branch has come so low; 0 where the
        smallest has already.

    >>> sizes = (32, 64, 128, 256, 512)
    >>> e = (1 + 16 / 100) / (1 + np.array(sizes) / 100)
    >>> round(critical_batch_size(sizes, e, base_batch_size=16))
    100
    """
    sizes_M = np.asarray(batch_sizes, float)
    # The examples that a branch costs, 1 / e, are interpolated: by the law they lie on a line.
    fine = np.geomspace(sizes_M[0], sizes_M[-1], _FINE)
    cost = np.interp(fine, sizes_M, 1 / efficiency_M)
    return _first_fall(fine, math.log(2) - np.log(cost * (1 + base_batch_size / fine)))


def steep_bracket(
    batch_sizes: Sequence[int], efficiency_M: Floats, *, base_batch_size: int
) -> tuple[float, float] | None:
    """Return the two branches between which the efficiency falls too steeply to interpolate.

    Args:
        batch_sizes: as in `critical_batch_size`.
        efficiency_M: at each.
        base_batch_size: B.

    Returns:
        The last batch size above the critical efficiency and the first below it, where a branch
        there costs more than twice what it would at the critical one (by the law, at twice the
        batch size, at most 1.5 times); None where it does not, or where no branch is above.
    """
    sizes_M = np.asarray(batch_sizes, float)
    excess_M = (1 + base_batch_size / sizes_M) / (2 * efficiency_M)
    below = np.flatnonzero(excess_M > 1)
    if not len(below) or below[0] == 0 or excess_M[below[0]] <= _STEEP:
        return None
    return float(sizes_M[below[0] - 1]), float(sizes_M[below[0]])


def lossless_batch_size(branches: Branches, rule: str, *, tolerance: float) -> float:
    """Return where a branch's loss exceeds the base run's by a share of it (Merrill's answer).

    Args:
        branches: of one checkpoint.
        rule: of the learning rate.
        tolerance: for example 0.05 for 5 % of the loss.

    Returns:
        As `critical_batch_size`.
    """
    base = np.interp(
        branches.branch_examples, branches.base_examples_N, _log_mean(branches.base_loss_RN[1.0])
    )
    lost_M = _log_mean(branches.loss_RM[rule]) - base
    room_M = math.log1p(tolerance) - np.minimum(lost_M, _NO_LOSS)
    return _first_fall(np.asarray(branches.batch_sizes, float), room_M)


def _first_fall(sizes_M: Floats, above_M: Floats) -> float:
    """Return where a curve first falls below 0, between two sizes by a straight line in logs."""
    below = np.flatnonzero(above_M < 0)
    if not len(below):
        return math.inf
    j = int(below[0])
    if j == 0:
        return 0.0
    share = above_M[j - 1] / (above_M[j - 1] - above_M[j])
    return float(np.exp(np.interp(share, [0, 1], np.log(sizes_M[j - 1 : j + 1]))))


@dataclass(frozen=True, kw_only=True)
class BranchAnswer:
    """A batch size with its interval from seeds; a bound where the branches give no more.

    Attributes:
        estimate: in examples; infinite where it exceeds the largest branch, 0 where it lies below
            the smallest.
        low: of the interval.
        high: of the interval.
        level: of it.
    """

    estimate: float
    low: float
    high: float
    level: float


def answer_with_interval(
    branches: Branches, ask: Callable[[Branches], float], *, level: float = 0.9
) -> BranchAnswer:
    """Ask with all seeds, and without each in turn.

    Args:
        branches: of one checkpoint, at least 3 seeds.
        ask: what for; a batch size, 0 and infinite as in `critical_batch_size`.
        level: of the interval.

    Returns:
        The answer. Where one without a seed leaves the branches' range, so does the interval. Exact
        branches have an interval of one point, or the bound.

    Raises:
        ValueError: for fewer than 3 seeds of branches that are not exact.
    """
    count = branches.num_seeds
    if branches.is_exact:
        low = high = estimate = ask(branches)
        if math.isinf(estimate):
            low = float(branches.batch_sizes[-1])
        elif estimate == 0:
            high = float(branches.batch_sizes[0])
        return BranchAnswer(estimate=estimate, low=low, high=high, level=level)
    if count < 3:
        raise ValueError(f"{count} seeds give no interval; at least 3 do")
    estimate = ask(branches)
    without = np.array([ask(branches.without(seed)) for seed in range(count)])
    everything = np.append(without, estimate)
    inside = everything[(everything > 0) & np.isfinite(everything)]
    low, high = 0.0, math.inf
    if len(inside) == len(everything):
        logs = np.log(without)
        error = math.sqrt((count - 1) / count * float(np.square(logs - logs.mean()).sum()))
        reach = float(stdtrit(count - 1, (1 + level) / 2)) * error
        low, high = estimate * math.exp(-reach), estimate * math.exp(reach)
    elif len(inside):
        # Some answers are bounds only: the interval is open on their side.
        low = float(inside.min()) if np.all(everything > 0) else 0.0
        high = float(inside.max()) if np.all(np.isfinite(everything)) else math.inf
    elif math.isinf(estimate):
        low = float(branches.batch_sizes[-1])
    else:
        high = float(branches.batch_sizes[0])
    return BranchAnswer(estimate=estimate, low=low, high=high, level=level)

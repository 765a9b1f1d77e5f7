"""Which base run, checkpoints and branches a workload gets, from what its trials were tuned to."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models_of_scaling.branching import AHEAD, Branches
from models_of_scaling.errors import InputError
from models_of_scaling.fit_record import FitRecord
from models_of_scaling.noise_scale import NoiseScale
from models_of_scaling.planning.tuned_values import Tuned

# How a learning rate follows a batch size that is k times larger.
RULES = {"linear": 1.0, "sqrt": 0.5, "none": 0.0}
# What the base run's own rate may be multiplied by since the checkpoint.
BASE_FACTORS = (1.0, 0.5, 0.25, 0.125)
# A branch of fewer steps says more about the steps' number than about their batch.
MIN_BRANCH_STEPS = 4
# The base run's batch size is at most this share of the critical one: there larger is still free.
_BASE_SHARE = 1 / 8
# The first checkpoint lies at this share of the run to target, the last at its end.
_FIRST_CHECKPOINT = 1 / 16


@dataclass(frozen=True, kw_only=True)
class BranchPlan:
    """What is trained.

    Attributes:
        checkpoints: examples processed by the base run, increasing, multiples of every branch's
            batch size.
        branch_examples: of each branch, a multiple likewise.
        batch_sizes: of the branches, multiples of the base's.
        rules: of the learning rate, keys of `RULES`.
        seeds: at least 3; none where the loss is expected, not drawn.
        numbers: of the base run's update rule, `learning_rate` among them.
    """

    checkpoints: tuple[int, ...]
    branch_examples: int
    batch_sizes: tuple[int, ...]
    rules: tuple[str, ...]
    seeds: tuple[int, ...]
    numbers: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What was found at a checkpoint.

    Attributes:
        branches: from there.
        noise: scale of each seed; a single one that is exact where the branches are.
        curvature_noise: likewise with curvature, tr(H Sigma) / (G' H G); none where not measured.
    """

    branches: Branches
    noise: tuple[NoiseScale, ...]
    curvature_noise: NoiseScale | None = None


def choose_base(tuned: Sequence[Tuned], fit: FitRecord, asked: int | None) -> Tuned:
    """Return the winner of the base run's batch size.

    Args:
        tuned: winners, batch sizes increasing.
        fit: to their steps to target.
        asked: --batch-size; None for the largest tuned one below an eighth of the critical one.

    Returns:
        One of them.

    Raises:
        InputError: where it is not tuned, or its learning rate was not constant.
    """
    if asked is not None:
        chosen = [each for each in tuned if each.batch_size == asked]
        if not chosen:
            known = ", ".join(str(each.batch_size) for each in tuned)
            raise InputError(f"--batch-size {asked} is not one of the tuned ones: {known}")
        base = chosen[0]
    else:
        most = fit.critical_batch_size.estimate * _BASE_SHARE
        base = max(
            (each for each in tuned if each.batch_size <= most),
            key=lambda each: each.batch_size,
            default=tuned[0],
        )
    if base.schedule_name not in {"", "constant"}:
        raise InputError(
            f"the trials at batch size {base.batch_size} have the schedule "
            f"{base.schedule_name}: branching needs a constant rate"
        )
    return base


def check_choice(*, checkpoints: int, rules: tuple[str, ...]) -> None:
    """Refuse what no plan can have, before a sweep is run for it.

    Args:
        checkpoints: how many.
        rules: of the learning rate.

    Raises:
        InputError: naming the flag, the value and the rule.
    """
    if checkpoints < 1:
        raise InputError(f"--checkpoints {checkpoints} must be at least 1")
    for rule in rules:
        if rule not in RULES:
            raise InputError(f"--rules: {rule!r} is not one of {', '.join(RULES)}")
        if rules.count(rule) > 1:
            raise InputError(f"--rules: {rule} is there twice")


def plan_branches(
    base: Tuned,
    fit: FitRecord,
    *,
    max_batch_size: float,
    checkpoints: int,
    rules: tuple[str, ...],
    seeds: int,
) -> BranchPlan:
    """Return what is trained.

    Args:
        base: the base run's batch size and numbers.
        fit: whose rows say how long a run to target is.
        max_batch_size: of the branches.
        checkpoints: how many, at least 1.
        rules: of the learning rate.
        seeds: at least 3; 0 where the loss is expected, not drawn.

    Returns:
        Branches as long as the base run to target; batch sizes 2 B, 4 B, ... while a branch has
        `MIN_BRANCH_STEPS` steps.

    Raises:
        InputError: naming the flag and the rule, or where no branch is possible.
    """
    check_choice(checkpoints=checkpoints, rules=rules)
    if seeds and seeds < 3:
        raise InputError(f"--seeds {seeds} must be at least 3: the interval is from seeds")
    size = base.batch_size
    steps = [
        steps
        for at, steps, reached in zip(
            fit.measured.batch_size, fit.measured.steps, fit.measured.reached, strict=True
        )
        if at == size and reached
    ]
    if not steps:
        raise InputError(f"no run at batch size {size} reached {fit.target}")
    if max_batch_size < 2 * size:
        raise InputError(
            f"branches begin at twice the base run's batch size, {2 * size}: --max-batch-size and "
            f"the workload allow {max_batch_size:.0f}; give --batch-size a smaller one"
        )
    run = size * sum(steps) / len(steps)
    doublings = math.floor(math.log2(min(run / MIN_BRANCH_STEPS, max_batch_size) / size))
    if doublings < 1:
        raise InputError(
            f"--batch-size {size}: a run to target is {run:.0f} examples; a branch at twice the "
            f"batch size would have fewer than {MIN_BRANCH_STEPS} steps"
        )
    unit = size * 2**doublings
    length = unit * round(run / unit)
    spaced = [
        _FIRST_CHECKPOINT ** (1 - i / max(checkpoints - 1, 1)) * run for i in range(checkpoints)
    ]
    places = sorted({max(unit, unit * round(at / unit)) for at in spaced})
    return BranchPlan(
        checkpoints=tuple(places),
        branch_examples=length,
        batch_sizes=tuple(size * 2**k for k in range(1, doublings + 1)),
        rules=rules,
        seeds=tuple(range(seeds)),
        numbers=base.numbers,
    )


def evaluated_at(batch_size: int, branch_examples: int, *, evaluations: int) -> list[int]:
    """Return at how many examples the base run is evaluated: whole steps, its end among them.

    Args:
        batch_size: of the base run.
        branch_examples: of a branch; the base run goes on for `AHEAD` times as many.
        evaluations: over a branch's length.
    """
    last = int(AHEAD * branch_examples) // batch_size
    steps = np.unique(np.linspace(0, last, int(AHEAD * evaluations) + 1).astype(int))
    return [int(step) * batch_size for step in steps]

"""Which base run, checkpoints and branches a workload gets, from what its trials were tuned to."""

import math
from collections.abc import Sequence

from models_of_scaling.errors import InputError
from models_of_scaling.fit_record import FitRecord
from models_of_scaling.planning.tuned_values import Tuned
from surrogate.branching.runs import MIN_BRANCH_STEPS, RULES, BranchPlan

# The base run's batch size is at most this share of the critical one: there larger is still free.
_BASE_SHARE = 1 / 8
# The first checkpoint lies at this share of the run to target, the last at its end.
_FIRST_CHECKPOINT = 1 / 16


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


def plan_branches(
    base: Tuned,
    fit: FitRecord,
    *,
    max_batch_size: int,
    checkpoints: int,
    rules: tuple[str, ...],
    seeds: int,
) -> BranchPlan:
    """Return what is trained.

    Args:
        base: the base run's batch size and numbers.
        fit: whose rows say how long a run to target is.
        max_batch_size: of the workload.
        checkpoints: how many, at least 1.
        rules: of the learning rate.
        seeds: at least 3.

    Returns:
        Branches as long as the base run to target; batch sizes 2 B, 4 B, ... while a branch has
        `MIN_BRANCH_STEPS` steps.

    Raises:
        InputError: naming the flag and the rule, or where no branch is possible.
    """
    if checkpoints < 1:
        raise InputError(f"--checkpoints {checkpoints} must be at least 1")
    if seeds < 3:
        raise InputError(f"--seeds {seeds} must be at least 3: the interval is from seeds")
    for rule in rules:
        if rule not in RULES:
            raise InputError(f"--rules: {rule!r} is not one of {', '.join(RULES)}")
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

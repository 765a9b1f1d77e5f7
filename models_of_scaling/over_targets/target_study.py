"""From trials to B_crit against target: which targets to ask, each one's fit, the law over them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from models_of_scaling.errors import InputError
from models_of_scaling.fit_record import FitRecord
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.over_targets.target_curve import (
    FEWEST_TARGETS,
    TargetLaw,
    TargetPoint,
    fit_target_law,
    joint_draws,
    loss_of,
    target_point,
)
from models_of_scaling.over_targets.target_noise import (
    TargetNoise,
    knee_weights,
    noise_correlation,
    target_noise,
)
from models_of_scaling.quantities import Floats
from models_of_scaling.steps_to_target import study_rows, trial_outcomes
from models_of_scaling.study_source import (
    TableChoice,
    choose_trials,
    is_trials,
    measurements_from_trials,
    stored_target,
)
from models_of_scaling.targets import METRICS, Metric, Target
from models_of_scaling.trials import read_trials

# An easy target is met within few steps at large batches, and a step is whole: 5 of them leave an
# uncertainty of a tenth to either side.
FEWEST_STEPS: Final = 5
_CANDIDATES: Final = 48
# For a metric that the runs were not stopped at: the hardest target that most batch sizes meet.
_REACHED_SHARE: Final = 0.75


@dataclass(frozen=True, kw_only=True)
class TargetStudy:
    """B_crit against target.

    Attributes:
        workload: of the trials.
        optimizer: of the trials.
        carried: the target that the trials were stopped at and tuned for.
        points: one per target, easiest first.
        law: over the targets that bound B_crit; None where they are fewer than 3.
        level: of the intervals.
        largest_batch_size: that was measured.
    """

    workload: str
    optimizer: str
    carried: Target
    points: tuple[TargetPoint, ...]
    law: TargetLaw | None
    level: float
    largest_batch_size: int


def read_target_study_trials(path: Path, choice: TableChoice) -> pa.Table:
    """Read the trials of one workload and optimizer.

    Args:
        path: trial file or folder.
        choice: which.

    Returns:
        The trials.

    Raises:
        InputError: where there are none, or the file is a table of measurements.
    """
    if path.is_file() and not is_trials(path):
        raise InputError(
            f"{path}: is no table of trials; other targets can only be asked of stored curves"
        )
    table = read_trials(path)
    if not len(table):
        raise InputError(f"{path}: holds no trial")
    return choose_trials(table, choice, where=str(path))


def explicit_targets(texts: Sequence[str], metric: Metric) -> tuple[Target, ...]:
    """Return targets from the command line, easiest first.

    Args:
        texts: values of the metric, or whole targets such as `train_loss<=0.2`.
        metric: of bare values.

    Returns:
        The targets.

    Raises:
        InputError: for a text that is neither, two metrics, a repeated target, or a loss that is
            not more than 0.
    """
    sign = ">=" if metric == "validation_accuracy" else "<="
    targets = [Target.parse(text if "=" in text else f"{metric}{sign}{text}") for text in texts]
    for target in targets:
        _check_target(target, metric)
    if len(set(targets)) != len(targets):
        raise InputError(f"--target {' '.join(texts)}: the same target is there twice")
    return tuple(sorted(targets, key=loss_of, reverse=True))


def _check_target(target: Target, metric: Metric) -> None:
    if target.metric != metric:
        raise InputError(f"--target {target}: all targets must be of one metric, here {metric}")
    if not loss_of(target) > 0:
        raise InputError(
            f"--target {target}: the law is in the log of the loss (for an accuracy, of the "
            "error), which must be more than 0"
        )


def _target_at(metric: Metric, loss: float) -> Target:
    # Four digits are enough to name a target, and a name that can be typed again is worth them.
    if metric == "validation_accuracy":
        return Target(metric=metric, direction=">=", value=float(f"{1.0 - loss:.4g}"))
    return Target(metric=metric, direction="<=", value=float(f"{loss:.4g}"))


def default_targets(
    table: pa.Table, metric: Metric, carried: Target, *, count: int, where: str
) -> tuple[Target, ...]:
    """Return targets along the training, at equal ratios of the loss, easiest first.

    Args:
        table: trials of one workload and optimizer.
        metric: to ask.
        carried: what the trials were stopped at; the hardest where it is of this metric.
        count: of targets.
        where: file or folder, for messages.

    Returns:
        From the easiest that still takes `FEWEST_STEPS` steps at every batch size (by the median
        row) to the carried one, or to the hardest that three quarters of the batch sizes meet.

    Raises:
        InputError: where the curves hold no such range.
    """
    seen = _losses_seen(table, metric)
    if not seen.size:
        raise InputError(f"{where}: --metric {metric}: the stored curves hold no value of it")
    start, end = float(np.quantile(seen, 0.99)), float(seen.min())
    grid = np.geomspace(start, max(end, start * 1e-6), _CANDIDATES)
    steps = np.array([_median_steps(table, _target_at(metric, loss)) for loss in grid])
    long_enough = np.flatnonzero((steps >= FEWEST_STEPS).all(axis=1))
    met = np.flatnonzero(np.isfinite(steps).mean(axis=1) >= _REACHED_SHARE)
    hardest = loss_of(carried) if metric == carried.metric else (grid[met[-1]] if met.size else 0.0)
    if not long_enough.size or not hardest < grid[long_enough[0]]:
        raise InputError(
            f"{where}: --metric {metric}: no range of targets takes at least {FEWEST_STEPS} steps "
            "at every batch size; name some with --target"
        )
    losses = np.geomspace(grid[long_enough[0]], hardest, count)
    targets = [_target_at(metric, loss) for loss in losses]
    if metric == carried.metric:
        targets[-1] = carried
    return tuple(dict.fromkeys(targets))


def _losses_seen(table: pa.Table, metric: Metric) -> Floats:
    """Return every finite positive value of the metric's curves, as a loss."""
    values = table[f"curve_{metric}"].combine_chunks().flatten()
    flat = np.asarray(values.to_numpy(zero_copy_only=False), dtype=float)
    flat = flat[np.isfinite(flat)]
    losses = 1.0 - flat if metric == "validation_accuracy" else flat
    return np.asarray(losses[losses > 0])


def _median_steps(table: pa.Table, target: Target) -> list[float]:
    """Return the median steps of each batch size's rows; inf where most did not reach.

    A row that met the target by its first evaluation may have done so from the start on: 0.
    """
    outcomes = trial_outcomes(table, target)
    steps = np.where(outcomes.steps_low > 0, outcomes.steps, 0.0)
    steps = np.where(outcomes.reached, steps, np.inf)
    return [
        float(np.quantile(steps[study.rows], 0.5, method="higher"))
        for study in study_rows(table, outcomes)
    ]


def carried_target(table: pa.Table, *, where: str) -> Target:
    """Return the target that the trials were stopped at.

    Args:
        table: the chosen trials.
        where: file or folder, for messages.
    """
    return stored_target(table, TableChoice(), where=where)


def check_metric(word: str | None, carried: Target) -> Metric:
    """Return the metric to ask.

    Args:
        word: from the command line; None for the carried target's.
        carried: of the trials.

    Returns:
        The metric.

    Raises:
        InputError: where the word is none.
    """
    if word is None:
        return carried.metric
    for metric in METRICS:
        if word == metric:
            return metric
    raise InputError(f"--metric {word!r} is not one of {', '.join(METRICS)}")


def study_targets(
    table: pa.Table, targets: Sequence[Target], carried: Target, choice: FitChoice, *, path: Path
) -> TargetStudy:
    """Fit every target and the law over them.

    Args:
        table: trials of one workload and optimizer.
        targets: easiest first.
        carried: what the trials were stopped at.
        choice: of each fit.
        path: where the trials came from.

    Returns:
        The study; deterministic for the choice's seed.
    """
    points: list[TargetPoint] = []
    used: list[tuple[TargetPoint, FitRecord, TargetNoise, Floats]] = []
    for target in targets:
        measured = measurements_from_trials(table, TableChoice(target=target), path=path)
        fit = fit_laws(measured, choice)
        point = target_point(target, fit, measured)
        points.append(point)
        if point.is_used:
            sizes = np.unique(measured.batch_size).astype(float)
            weights = knee_weights(sizes, point.critical_batch_size.estimate)
            used.append((point, fit, target_noise(fit, measured), weights))
    law = None
    if len(used) >= FEWEST_TARGETS:
        knees = np.stack([weights for *_, weights in used])
        correlation = noise_correlation([noise for _, _, noise, _ in used]) * (knees @ knees.T)
        rng = np.random.default_rng([choice.seed, 3])
        law = fit_target_law(
            [point.loss for point, *_ in used],
            joint_draws([fit for _, fit, *_ in used], correlation, rng),
            correlation=float(np.median(np.diagonal(correlation, offset=1))),
        )
    return TargetStudy(
        workload=str(table["workload"][0]),
        optimizer=str(table["optimizer"][0]),
        carried=carried,
        points=tuple(points),
        law=law,
        level=choice.level,
        largest_batch_size=int(max(table["batch_size"].to_pylist())),
    )

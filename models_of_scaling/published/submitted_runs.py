"""The ResNet-50 runs submitted to MLPerf Training v0.5 to v4.0, by round and by submitter.

Source: mlcommons/training_results_v0.5 ... v4.0. What to mind:

- v0.5 had another target (0.749 instead of 0.759) and v0.6 other rules: neither is pooled with the
  later rounds, which share both.
- Rows whose `batch_note` says that the log holds the batch per worker have no known global batch.
- The 'open' division may change model, data or schedule. Four of five runs of one v0.7 system
  named '..._open' are marked 'closed' in their logs: a system with any open run is left out whole.
- Evaluations are 1, 2 or 4 epochs apart (`epochs_before`).
- Runs that did not reach the target are censored where they were last seen short of it
  (`epochs_without_target`); a run without any evaluation says nothing and is left out, counted.
- Many submitters send a former round's logs again: pooled over rounds, each log counts once.

The series by round and those by submitter cut the same runs in two ways: between submitters at one
time, and between rounds by the same people. They are not independent of each other.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models_of_scaling.published.csv_files import Row, read_published
from models_of_scaling.published.series import (
    PublishedRun,
    PublishedSeries,
    PublishedSource,
    imagenet_measurements,
)

_FILE: Final = "mlperf_results_resnet_runs.csv"
_COLUMNS: Final = (
    "round", "submitter", "system", "batch_size", "optimizer", "division", "batch_note",
    "n_evals", "epoch_first_eval_at_or_above_target",
)  # fmt: skip
_OWN_RULES: Final = ("v0.5", "v0.6")
_TARGETS: Final = {"v0.5": 0.749}
_TARGET: Final = 0.759
# The optimizer as the logs name it, to its family.
_FAMILIES: Final = {
    "lars": "lars",
    "sgd": "sgd",
    "stochastic_gradient_descent_with_momentum": "sgd",
}
# The distances between evaluations that the logs show, in epochs; the rules allow up to 4.
_PERIODS: Final = np.array([1.0, 2.0, 4.0])
# What makes two logs the same run, sent in again with a later round.
_SAME_RUN: Final = ("system", "run", "batch_size", "seed", "n_evals", "max_accuracy")


@dataclass(frozen=True, kw_only=True)
class _Log:
    """One usable log, in numbers; `epoch` is None where the target was not met."""

    row: Row
    round: str
    submitter: str
    family: str
    batch_size: int
    num_evals: int
    epoch: float | None

    @property
    def system(self) -> tuple[str, str, str, int]:
        return (self.round, self.submitter, self.row["system"], self.batch_size)

    @property
    def same_run(self) -> tuple[str, ...]:
        return (self.submitter, *(self.row[name] for name in _SAME_RUN))


def submitted_series() -> list[PublishedSeries]:
    """Return the series of each round and optimizer, then those of each submitter with LARS.

    Returns:
        Every series, however few batch sizes it has; names such as "mlperf_v1.1_lars" and
        "mlperf_by_nvidia".
    """
    logs = _usable_logs(read_published(_FILE))
    runs = _runs(logs)
    series = []
    for round_name in _ordered(log.round for log in logs):
        for family in ("lars", "sgd"):
            chosen = [log for log in logs if (log.round, log.family) == (round_name, family)]
            if chosen:
                name = f"mlperf_{round_name}_{family}"
                series.append(
                    _series(
                        name,
                        chosen,
                        runs,
                        group=lambda log: f"{log.submitter}: {log.row['system']}",
                    )
                )
    later = _each_run_once([
        log for log in logs if log.round not in _OWN_RULES and log.family == "lars"
    ])
    for submitter in _ordered(log.submitter for log in later):
        chosen = [log for log in later if log.submitter == submitter]
        series.append(
            _series(
                f"mlperf_by_{submitter}",
                chosen,
                runs,
                group=lambda log: f"{log.round}: {log.row['system']}",
            )
        )
    return series


def _ordered(words: Iterable[str]) -> list[str]:
    return sorted(set(words))


def _usable_logs(rows: Sequence[Row]) -> list[_Log]:
    def system(row: Row) -> tuple[str, str, str]:
        return (row["round"], row["submitter"], row["system"])

    is_open = {system(row) for row in rows if row["division"] == "open"}
    return [
        _Log(
            row=row,
            round=row["round"],
            # One company, one word: "Supermicro" and "SUPERMICRO" both stand in the logs.
            submitter=row["submitter"].lower(),
            family=_FAMILIES[row["optimizer"]],
            batch_size=int(float(row["batch_size"])),
            num_evals=int(row["n_evals"]),
            epoch=float(epoch) if (epoch := row["epoch_first_eval_at_or_above_target"]) else None,
        )
        for row in rows
        if system(row) not in is_open
        and row["batch_size"]
        and not row["batch_note"]
        and row["optimizer"] in _FAMILIES
    ]


def _each_run_once(logs: Sequence[_Log]) -> list[_Log]:
    """Return the logs without those that were sent in before, in the order given."""
    first: dict[tuple[str, ...], _Log] = {}
    for log in logs:
        first.setdefault(log.same_run, log)
    return list(first.values())


def _runs(logs: Sequence[_Log]) -> dict[int, PublishedRun | None]:
    """Return each log's run by the log's identity; None where it says nothing."""
    seen: dict[tuple[str, str, str, int], list[tuple[int, float]]] = {}
    for log in logs:
        if log.epoch is not None:
            seen.setdefault(log.system, []).append((log.num_evals, log.epoch))
    return {id(log): _run(log, seen.get(log.system, [])) for log in logs}


def _run(log: _Log, reached_alike: Sequence[tuple[int, float]]) -> PublishedRun | None:
    if log.epoch is None and log.num_evals == 0:
        return None
    if log.epoch is None:
        epochs = epochs_without_target(log.num_evals, reached_alike)
        before = epochs
    else:
        epochs = log.epoch
        before = epochs_before(epochs, log.num_evals, reached_alike)
    return PublishedRun(
        batch_size=log.batch_size,
        epochs=epochs,
        epochs_before=before,
        reached=log.epoch is not None,
        group="",
    )


def epochs_before(
    epoch: float, num_evals: int, reached_alike: Sequence[tuple[int, float]]
) -> float:
    """Return the last evaluation before the one that first met the target.

    The logs give the number of evaluations, not their epochs. Where another run of the same
    system ended one evaluation earlier, its last epoch is known; else the distance is that of 1,
    2, 4 nearest to epochs per evaluation, which errs to the wide side where a run was evaluated
    more densely near its end.

    Args:
        epoch: of the evaluation that met the target.
        num_evals: evaluations until then.
        reached_alike: (evaluations, epoch) of the same system's runs that met the target.

    Returns:
        Epochs.
    """
    earlier = [
        other
        for evals, other in reached_alike
        if evals == num_evals - 1 and 0 < epoch - other <= _PERIODS[-1]
    ]
    if earlier:
        return min(earlier)
    distance = np.abs(np.log2(_PERIODS) - np.log2(epoch / num_evals))
    return epoch - float(_PERIODS[np.argmin(distance)])


def epochs_without_target(num_evals: int, reached_alike: Sequence[tuple[int, float]]) -> float:
    """Return how long a run is known to have gone on without meeting its target.

    Args:
        num_evals: evaluations that were all short of it, at least 1.
        reached_alike: (evaluations, epoch) of the same system's runs that met the target.

    Returns:
        Epochs: the latest epoch that a like run reached in no more evaluations. Without such a
        run, one epoch per evaluation, the least that the rules allow.
    """
    known = [epoch for evals, epoch in reached_alike if evals <= num_evals]
    return max(known, default=float(num_evals))


def _series(
    name: str,
    logs: Sequence[_Log],
    runs: dict[int, PublishedRun | None],
    *,
    group: Callable[[_Log], str],
) -> PublishedSeries:
    kept = [(log, run) for log in logs if (run := runs[id(log)]) is not None]
    measurements = imagenet_measurements(
        [
            PublishedRun(
                batch_size=run.batch_size,
                epochs=run.epochs,
                epochs_before=run.epochs_before,
                reached=run.reached,
                group=group(log),
            )
            for log, run in kept
        ],
        file=_FILE,
        workload="resnet50_imagenet",
        optimizer=logs[0].family,
        target=_TARGETS.get(logs[0].round, _TARGET),
    )
    num_left_out = len(logs) - len(kept)
    return PublishedSeries(
        name=name,
        source=PublishedSource(
            file=_FILE,
            columns=_COLUMNS,
            origin="mlcommons/training_results_" + " ".join(_ordered(log.round for log in logs)),
            commits=tuple(_ordered(log.row["commit"] for log in logs)),
        ),
        measurements=measurements,
        unit="submission",
        num_left_out=num_left_out,
        left_out="no evaluation in the log" if num_left_out else "",
    )

"""Where a back-test's error comes from, case by case, and how small it could be at best.

    python -m paper.error_budget --out paper/results

For each rolling-origin and largest-batch case of the recorded sweeps, besides the error itself:

- what no prediction can mend: how far the measured mean lies from the curve that is fitted to all
  batch sizes (`all_rows`, a little too small, as the mean is one of its rows), or to all but this
  one (`left_out`, a little too large, as the curve is not known exactly; none at the largest);
  of it the spread of the mean by its own seeds (`seeds`), the rest being tuning and form;
- what is missing about the knee: the error with B_crit of the whole series given within 1.3
  (`knee_known`; it has seen the batch size, so it is a bound and no method);
- what the rows can tell if the curve fitted to all of them is the truth: the error from rows up
  to the origin that lie exactly on it (`exact_rows`: what the prior says of a knee that the rows do
  not hold), and, over draws, from rows with the noise of the series, of a mean that has it too
  (`simulated`, a median).

`backtest_sweeps_budget.csv` has a row a case; errors are logs of predicted over measured.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from models_of_scaling.backtest.cases import Case, cases_of
from models_of_scaling.backtest.forecasters import mean_log_steps
from models_of_scaling.backtest.table_series import table_series
from models_of_scaling.fit_record import FitRecord
from models_of_scaling.knee_evidence import KneeEvidence
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.measurements import Measurements
from models_of_scaling.prediction import estimated_steps
from models_of_scaling.quantities import Floats
from paper.back_test_records import RESULTS, sweep_tables, write

DESIGNS: Final = ("rolling", "largest")
REPLICATES: Final = 300
DRAWS: Final = 24
KNEE_FACTOR: Final = 1.3


def fit_of(rows: Measurements, knee: KneeEvidence | None = None) -> FitRecord:
    """Return the fit that the back-test makes of some rows.

    Args:
        rows: of one series.
        knee: what is known of B_crit beside them.
    """
    return fit_laws(rows, FitChoice(replicates=REPLICATES, knee=knee))


def spread_of_means(rows: Measurements) -> dict[int, float]:
    """Return the standard error of each batch size's mean log steps by its own seeds.

    Args:
        rows: of one series; one that did not reach counts for none.
    """
    found = {}
    for size in np.unique(rows.batch_size):
        at = (rows.batch_size == size) & rows.reached
        logs = _log_middle(rows)[at]
        found[int(size)] = float(logs.std(ddof=1) / np.sqrt(len(logs))) if len(logs) > 1 else np.nan
    return found


def noise_beside_seeds(rows: Measurements, whole: FitRecord) -> float:
    """Return the standard deviation of batch sizes about their curve that seeds do not explain.

    Args:
        rows: of one series.
        whole: fitted to all of them.
    """
    sizes, logs = mean_log_steps(rows)
    off = logs - np.log([estimated_steps(whole, size) for size in sizes])
    spare = max(len(sizes) - len(whole.best.point), 1)  # a curve through C means leaves so many
    seeds = np.nanmean(np.square(list(spread_of_means(rows).values())))
    return float(np.sqrt(max(np.square(off).sum() / spare - seeds, 0.0)))


def on_curve(rows: Measurements, whole: FitRecord, off_C: Floats | None) -> Measurements:
    """Return rows moved so that each batch size's mean is the curve's, times exp(off).

    Args:
        rows: of one series; where none reached they stay.
        whole: whose curve is the truth.
        off_C: of each batch size that reached, ascending; None for rows exactly on the curve.
    """
    sizes, logs = mean_log_steps(rows)
    factor = np.ones(len(rows))
    for place, (size, log_mean) in enumerate(zip(sizes, logs, strict=True)):
        at = rows.batch_size == size
        truth = np.log(estimated_steps(whole, size))
        if off_C is None:
            factor[at] = np.exp(truth - np.where(rows.reached, _log_middle(rows), log_mean)[at])
        else:
            factor[at] = np.exp(truth + off_C[place] - log_mean)
    return replace(
        rows,
        steps_low=rows.steps_low * factor,
        steps_high=rows.steps_high * factor,
        steps=rows.steps * factor,
    )


def _log_middle(rows: Measurements) -> Floats:
    """Return each row's log steps, the middle of an interval; inf where it did not reach."""
    low = np.maximum(rows.steps_low, 1e-3 * rows.steps)
    return np.asarray(0.5 * (np.log(low) + np.log(rows.steps_high)))


def budget_of(
    rows: Measurements, name: str, *, draws: int = DRAWS, seed: int = 0
) -> list[dict[str, Any]]:
    """Return the budget of each case of a series.

    Args:
        rows: of the series.
        name: of it.
        draws: simulated studies, R.
        seed: of their noise.
    """
    sizes, logs = mean_log_steps(rows)
    measured = dict(zip(sizes.astype(int).tolist(), logs.tolist(), strict=True))
    whole = fit_of(rows)
    seeds = spread_of_means(rows)
    beside = noise_beside_seeds(rows, whole)
    own = np.array([seeds[int(size)] for size in sizes])
    sd_C = np.hypot(np.where(np.isfinite(own), own, np.nanmean(own)), beside)
    off_RC = sd_C * np.random.default_rng(seed).standard_normal((draws, len(sizes)))
    exact = on_curve(rows, whole, None)
    drawn = [on_curve(rows, whole, off_C) for off_C in off_RC]
    critical = whole.critical_batch_size.estimate
    knee = KneeEvidence(critical_batch_size=critical, factor=KNEE_FACTOR)
    fits: dict[tuple[str, int], FitRecord] = {}

    def known(kind: str, part: Measurements, origin: int, with_knee: bool = False) -> FitRecord:
        if (kind, origin) not in fits:
            inside = part.take(part.batch_size <= origin)
            fits[kind, origin] = fit_of(inside, knee if with_knee else None)
        return fits[kind, origin]

    found = []
    for case in cases_of(rows):
        if case.design not in DESIGNS or case.batch_size not in measured:
            continue
        size, origin = case.batch_size, case.largest_fitted
        log_measured = measured[size]
        truth = np.log(estimated_steps(whole, size))
        place = list(sizes.astype(int)).index(size)
        simulated = [
            np.log(estimated_steps(known(f"draw{d}", part, origin), size))
            - truth - off_RC[d, place]
            for d, part in enumerate(drawn)
        ]  # fmt: skip
        found.append({
            **_case(name, case),
            "error": np.log(estimated_steps(known("as_is", rows, origin), size)) - log_measured,
            "all_rows": truth - log_measured,
            "left_out": _left_out(rows, size, sizes) - log_measured,
            "seeds": float(own[place]),
            "tuning_and_form": beside,
            "knee_known": np.log(estimated_steps(known("knee", rows, origin, True), size))
            - log_measured,
            "exact_rows": np.log(estimated_steps(known("exact", exact, origin), size)) - truth,
            "simulated": float(np.median(np.abs(simulated))),
            "origin_over_critical": origin / critical,
        })
    return [
        {name: float(v) if isinstance(v, np.floating) else v for name, v in row.items()}
        for row in found
    ]


def _case(name: str, case: Case) -> dict[str, Any]:
    return {
        "series": name, "design": case.design, "factor": case.factor, "away": case.ratio,
        "largest_fitted": case.largest_fitted, "batch_size": case.batch_size,
    }  # fmt: skip


def _left_out(rows: Measurements, size: int, sizes: Floats) -> float:
    """Return the log of the curve fitted to all other batch sizes; NaN at the ends."""
    if size in {sizes[0], sizes[-1]}:
        return float("nan")
    return float(np.log(estimated_steps(fit_of(rows.take(rows.batch_size != size)), size)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the budget of every sweep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args(arguments)
    series = table_series(sweep_tables())
    rows = [row for each in series for row in budget_of(each.rows, each.name)]
    write(asked.out / "backtest_sweeps_budget.csv", rows)


if __name__ == "__main__":
    main()

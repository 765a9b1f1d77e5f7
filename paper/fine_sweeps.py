"""How well larger batch sizes are predicted from sweeps with little noise, and with how many seeds.

    python -m paper.fine_sweeps --out paper/results

back-tests the records of `paper/results/fine_sweeps`: sweeps with 20 or 40 seeds of each batch
size's winner, which is chosen of 256 search runs by the runs, or of 64 by a surface through them.
Each series is predicted from all its seeds and from parts of them: the seeds of every batch size
are dealt into as many disjoint parts as they fill, and each part is a study of its own. Measured is
always the mean over all seeds of the batch size.

`backtest_fine_cases.csv` has a row a case and part, by the average of laws, by the same without
what the prior says against critical batch sizes of few examples (`without_small_knees`: it came of
the sweeps of digits, and the others check it), and by today's practice.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from unittest import mock

import numpy as np

from models_of_scaling import priors
from models_of_scaling.backtest.forecasters import AVERAGED, mean_log_steps
from models_of_scaling.backtest.run import back_test
from models_of_scaling.backtest.scores import Outcome
from models_of_scaling.backtest.table_series import table_series
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.measurements import Measurements
from models_of_scaling.published.series import PublishedSeries
from paper.back_test_records import COMPARED, LEVEL, REPLICATES, RESULTS, case_rows, write

SEEDS: Final = (5, 10, 20, 40)
WITHOUT: Final = "without_small_knees"


def fine_tables() -> list[Path]:
    """Return the records of the sweeps with little noise."""
    return sorted((RESULTS / "fine_sweeps").glob("*.parquet"))


def parts_of_seeds(rows: Measurements, seeds: int) -> Iterator[Measurements]:
    """Deal the rows of every batch size into disjoint parts.

    Args:
        rows: of one series.
        seeds: rows of each batch size in a part.

    Yields:
        As many parts as the batch size with the fewest rows fills; none where it has too few. A
        batch size where nothing reached has no seeds to deal: its rows are in every part.
    """
    reached = np.unique(rows.batch_size[rows.reached])
    places = [np.flatnonzero(rows.batch_size == size) for size in reached]
    for part in range(min(map(len, places)) // seeds):
        chosen = ~np.isin(rows.batch_size, reached)
        for at in places:
            chosen[at[part * seeds : (part + 1) * seeds]] = True
        yield rows.take(chosen)


def outcomes_of(
    series: PublishedSeries, part: Measurements, *, forecasters: Sequence[str] = COMPARED
) -> list[Outcome]:
    """Return the predictions from a part of a series' seeds, beside the mean of all of them.

    Args:
        series: with all its seeds.
        part: of its rows.
        forecasters: whose.
    """
    sizes, logs = mean_log_steps(series.rows)
    measured = dict(zip(sizes.astype(int).tolist(), np.exp(logs).tolist(), strict=True))
    return [
        replace(each, measured=measured[each.case.batch_size])
        for each in back_test(
            [replace(series, measurements=part)],
            forecasters=forecasters,
            replicates=REPLICATES,
            level=LEVEL,
        )
        if each.case.batch_size in measured
    ]


def outcomes_without(series: PublishedSeries, part: Measurements) -> list[Outcome]:
    """Return the average's predictions without what the prior says against small knees.

    Args:
        series: with all its seeds.
        part: of its rows.
    """
    flat = replace(priors.CRITICAL_BATCH_SIZE, sd=math.inf)
    with mock.patch.object(priors, "CRITICAL_BATCH_SIZE", flat):
        found = outcomes_of(series, part, forecasters=(AVERAGED,))
    return [replace(each, forecaster=WITHOUT) for each in found if each.forecaster == AVERAGED]


def rows_of(series: PublishedSeries) -> list[dict[str, Any]]:
    """Return the cases of a series from every part of its seeds as rows.

    Args:
        series: with all its seeds.
    """
    critical = fit_laws(series.rows, FitChoice(replicates=REPLICATES)).critical_batch_size.estimate
    rows = []
    for seeds in SEEDS:
        for number, part in enumerate(parts_of_seeds(series.rows, seeds)):
            outcomes = [*outcomes_of(series, part), *outcomes_without(series, part)]
            for name in (*COMPARED, WITHOUT):
                cases = [each for each in outcomes if each.forecaster == name]
                rows += [
                    {
                        "forecaster": name,
                        "seeds": seeds,
                        "study": number,
                        "largest_fitted": each.case.largest_fitted,
                        "origin_over_critical": each.case.largest_fitted / critical,
                        **row,
                    }
                    for each, row in zip(
                        cases, case_rows("fine_sweeps", cases, forecaster=name), strict=True
                    )
                ]
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the cases of every sweep with little noise."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args(arguments)
    rows = []
    for path in fine_tables():
        [series] = table_series([path])
        rows += rows_of(replace(series, name=path.stem))
    write(asked.out / "backtest_fine_cases.csv", rows)


if __name__ == "__main__":
    main()

"""A ladder's sweeps as one table: python -m surrogate.ladder_rows DIR --out ladder.csv.

DIR is the folder that the sweeps of all rungs shared (`python -m surrogate.sweep --out DIR ...`).
One row per repeat of the tuned configuration: its batch size, steps and the interval that sparse
evaluation leaves, the rung it belongs to and the rung's covariates.
"""

import argparse
import csv
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from models_of_scaling.atomic_write import whole_file
from models_of_scaling.command_line import OneLineParser, run_command
from models_of_scaling.errors import InputError
from models_of_scaling.study_source import TableChoice, measurements_from_trials
from models_of_scaling.trials import read_trials
from surrogate.rungs import PARAMETERS, values_of_name

_COLUMNS = (
    "batch_size", "steps", "steps_low", "steps_high", "reached", "group", "workload", "family",
)  # fmt: skip
_COVARIATES = ("num_train_examples", "num_parameters")
_FAMILIES = {"digits": "digits_mlp", "mnist": "mnist_mlp", "fashion_mnist": "fashion_mnist_mlp"}


def ladder_rows(table: pa.Table, *, source: Path) -> Iterator[dict[str, object]]:
    """Yield one row per repeat of each rung's tuned configurations.

    Args:
        table: trials of the rungs, of `trials.TRIAL_SCHEMA`.
        source: where they came from, for messages.

    Yields:
        A value for each of `_COLUMNS` and `_COVARIATES`, and for each of the rung's own parameters.
    """
    for workload in sorted(set(table["workload"].to_pylist()), key=_order):
        trials = table.filter(pc.equal(table["workload"], workload))
        rows = measurements_from_trials(trials, TableChoice(workload=workload), path=source)
        base, parameters = values_of_name(workload)
        for row in range(len(rows)):
            reached = bool(rows.reached[row])
            yield {
                "batch_size": int(rows.batch_size[row]),
                "steps": int(rows.steps[row]),
                "steps_low": int(rows.steps_low[row]),
                "steps_high": int(rows.steps_high[row]) if reached else "",
                "reached": str(reached).lower(),
                "group": workload,
                "workload": workload,
                "family": _FAMILIES.get(base, base),
                # A simulator has no training set: every example is a fresh draw.
                "num_train_examples": rows.num_train_examples or "",
                "num_parameters": trials["num_parameters"][0].as_py(),
                **{name: f"{value:g}" for name, value in parameters.items()},
            }


def _order(workload: str) -> tuple[str, tuple[float, ...]]:
    base, values = values_of_name(workload)
    return base, tuple(values.values())


def as_csv(rows: Sequence[dict[str, object]]) -> str:
    """Return rows as CSV; a covariate that not every rung has is left out.

    Args:
        rows: of `ladder_rows`.
    """
    own = sorted({
        each.name for known in PARAMETERS.values() for each in known if each.is_covariate
    })
    covariates = [*_COVARIATES, *own]
    used = [*_COLUMNS, *(name for name in covariates if all(row.get(name, "") for row in rows))]
    text = io.StringIO()
    writer = csv.DictWriter(text, used, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _run(argv: Sequence[str] | None) -> None:
    parser = OneLineParser(
        prog="python -m surrogate.ladder_rows",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="of the rungs' sweeps")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="LADDER.CSV",
        help="for predict --ladder and backtest-transfer",
    )
    arguments = parser.parse_args(argv)
    trials = arguments.folder / "trials"
    if not trials.is_dir():
        raise InputError(f"{arguments.folder}: has no folder trials; sweep the rungs into it first")
    text = as_csv(list(ladder_rows(read_trials(trials), source=trials)))
    with whole_file(arguments.out) as stream:
        stream.write(text.encode())
    print(f"Written: {arguments.out}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `--help`."""
    return run_command(lambda: _run(argv))


if __name__ == "__main__":
    sys.exit(main())

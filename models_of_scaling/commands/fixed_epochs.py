"""`fixed-epochs`: accuracy at a fixed number of epochs against batch size."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from models_of_scaling.commands.picture_file import add_picture_file, check_picture_file
from models_of_scaling.errors import InputError
from models_of_scaling.output_file import check_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models_of_scaling.fixed_epochs.accuracy_table import AccuracyRows
    from models_of_scaling.fixed_epochs.averaged import AccuracyForecast, FixedEpochsFit
    from models_of_scaling.intervals import Interval

HELP: Final = "the batch size at which accuracy falls, at a fixed number of epochs"
EXAMPLE: Final = "my_accuracies.csv --epochs 90 --drop 0.2 1.0"
_SEED: Final = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's words.

    Args:
        parser: of this command.
    """
    parser.add_argument(
        "table",
        type=Path,
        nargs="?",
        metavar="TABLE",
        help="CSV or parquet file with batch_size and accuracy (0 .. 1) or accuracy_percent; "
        "optional: epochs, group, num_test_examples; or the folder of trials of a sweep --epochs E",
    )
    parser.add_argument("--workload", help="which one, where a folder of trials has several")
    parser.add_argument("--optimizer", help="which one, where a folder of trials has several")
    parser.add_argument("--published", metavar="NAME", help="a published table instead of a file")
    parser.add_argument(
        "--epochs", type=float, help="rows of so many epochs, where the table has several"
    )
    parser.add_argument(
        "--drop",
        type=float,
        nargs="+",
        default=[0.2, 1.0],
        metavar="POINTS",
        help="percentage points of accuracy lost (default: 0.2 1.0)",
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        nargs="+",
        action="extend",
        metavar="B",
        help="examples per step to predict at (default: 2 and 4 times the largest)",
    )
    parser.add_argument(
        "--level", type=float, default=0.9, help="share that intervals shall hold (default: 0.9)"
    )
    parser.add_argument("--out", type=Path, metavar="ANSWER.JSON", help="write the JSON there")
    add_picture_file(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object, nothing else")
    parser.add_argument(
        "--backtest",
        action="store_true",
        help="predict held-out batch sizes of the published tables (of one with --published)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Fit the laws of accuracy and print where it falls; or back-test them.

    Args:
        arguments: what `add_arguments` asked for.

    Raises:
        InputError: where not exactly one source is named, or a flag breaks its rule.
    """
    from models_of_scaling.intervals import check_level

    check_level(arguments.level)
    check_picture_file(arguments.plot)
    if arguments.out is not None:
        check_out(arguments.out, inputs=(arguments.table,))
    if arguments.backtest:
        _back_test(arguments)
        return
    if (arguments.table is None) == (arguments.published is None):
        raise InputError("fixed-epochs: give either TABLE or --published NAME")
    for points in arguments.drop:
        if not 0 < points < 100:
            raise InputError(f"--drop {points} must be more than 0 and less than 100 points")
    if arguments.epochs is not None and not 0 < arguments.epochs < float("inf"):
        raise InputError(f"--epochs {arguments.epochs:g} must be finite and more than 0")
    _answer(arguments, _rows(arguments))


def _rows(arguments: argparse.Namespace) -> "AccuracyRows":
    from models_of_scaling.fixed_epochs.accuracy_table import read_accuracy_table
    from models_of_scaling.fixed_epochs.backtest import choose_published
    from models_of_scaling.fixed_epochs.trial_accuracies import accuracies_from_trials
    from models_of_scaling.study_source import TableChoice, is_trials

    if arguments.published is None and is_trials(arguments.table):
        choice = TableChoice(workload=arguments.workload, optimizer=arguments.optimizer)
        return accuracies_from_trials(arguments.table, choice, epochs=arguments.epochs)
    for flag in ("workload", "optimizer"):
        if getattr(arguments, flag) is not None:
            raise InputError(f"--{flag} {getattr(arguments, flag)}: is for a folder of trials")
    if arguments.published is None:
        return read_accuracy_table(arguments.table, epochs=arguments.epochs)
    if arguments.epochs is not None:
        raise InputError(
            f"--epochs {arguments.epochs:g}: a published table has one number of epochs, which "
            "is in its name"
        )
    return choose_published(arguments.published)


def _answer(arguments: argparse.Namespace, rows: "AccuracyRows") -> None:
    import numpy as np

    from models_of_scaling.atomic_write import whole_file
    from models_of_scaling.fixed_epochs.averaged import fit_fixed_epochs
    from models_of_scaling.prediction import check_distance

    rng = np.random.default_rng(_SEED)
    fit = fit_fixed_epochs(rows, rng)
    drops = {
        points: fit.drop_batch_size(points, level=arguments.level) for points in arguments.drop
    }
    largest = fit.largest_batch_size
    asked = arguments.batch_size or [2 * largest, 4 * largest]
    for size in asked:
        check_distance(size, (fit.smallest_batch_size, largest))
    forecasts = [fit.forecast(size, rng, level=arguments.level) for size in asked]
    answer = json.dumps(_as_json(fit, drops, forecasts, arguments.level), allow_nan=False)
    if arguments.plot is not None:
        _draw(arguments.plot, fit, drops, arguments.level)
    if arguments.out is not None:
        with whole_file(arguments.out) as stream:
            stream.write(answer.encode() + b"\n")
    if arguments.json:
        print(answer)
        return
    print(_words(fit, drops, forecasts, arguments.level))
    for path in (arguments.plot, arguments.out):
        if path is not None:
            print(f"Written: {path}")


def _draw(path: Path, fit: "FixedEpochsFit", drops: "dict[float, Interval]", level: float) -> None:
    from models_of_scaling.atomic_write import whole_file
    from models_of_scaling.plots.fixed_epochs import fixed_epochs_picture

    picture = fixed_epochs_picture(fit, drops, level=level, picture_format=check_picture_file(path))
    with whole_file(path) as stream:
        stream.write(picture)


def _words(
    fit: "FixedEpochsFit",
    drops: "dict[float, Interval]",
    forecasts: "Sequence[AccuracyForecast]",
    level: float,
) -> str:
    """Return the answer as lines for a reader."""
    from models_of_scaling.wording import interval_in_words

    epochs = "" if fit.rows.epochs is None else f", {fit.rows.epochs:g} epochs"
    noise = fit.noise(level=level)
    lines = [
        f"Fitted ({fit.rows.path}{epochs}): {len(fit.rows)} rows, batch sizes "
        f"{fit.smallest_batch_size:,} to {fit.largest_batch_size:,}.",
        *_left_out(fit),
        *(f"  weight {law.weight:.2f}  {law.law.equation}" for law in fit.laws),
        f"Noise of one run: {noise.estimate:.2f} points ({100 * level:g} % interval "
        f"{noise.low:.2f} to {noise.high:.2f}).",
    ]
    for points, batch in drops.items():
        note = ""
        if batch.estimate > fit.largest_batch_size or batch.high > fit.largest_batch_size:
            note = f"; reaches beyond the largest batch size fitted ({fit.largest_batch_size:,})"
        lines.append(
            f"Accuracy is {points:g} point{'' if points == 1 else 's'} below that of batch size "
            f"{fit.smallest_batch_size:,} at a batch size of {interval_in_words(batch)}{note}."
        )
    for each in forecasts:
        run = each.accuracy_of_run
        beyond = f", extrapolated {each.extrapolation:.3g}x" if each.extrapolation > 1 else ""
        lines.append(
            f"Batch size {each.batch_size:,}: accuracy {100 * run.estimate:.2f} % (a run there, "
            f"{100 * level:g} % interval: {100 * run.low:.2f} to {100 * run.high:.2f}){beyond}."
        )
    return "\n".join(lines)


def _left_out(fit: "FixedEpochsFit") -> list[str]:
    count = fit.rows.num_diverged
    return [f"Left out: {count} repeats that diverged."] if count else []


def _as_json(
    fit: "FixedEpochsFit",
    drops: "dict[float, Interval]",
    forecasts: "Sequence[AccuracyForecast]",
    level: float,
) -> dict[str, object]:
    """Return plain data; an open end is None."""

    def ends(interval: "Interval") -> dict[str, float | None]:
        return {
            name: value if abs(value) != float("inf") else None
            for name, value in (
                ("estimate", interval.estimate),
                ("low", interval.low),
                ("high", interval.high),
            )
        }

    return {
        "source": fit.rows.path,
        "epochs": fit.rows.epochs,
        "num_rows": len(fit.rows),
        "num_diverged": fit.rows.num_diverged,
        "smallest_batch_size": fit.smallest_batch_size,
        "largest_batch_size": fit.largest_batch_size,
        "level": level,
        "laws": [
            {"name": law.law.name, "weight": law.weight, "equation": law.law.equation}
            for law in fit.laws
        ],
        "noise_points": ends(fit.noise(level=level)),
        "drops": [{"points": points, "batch_size": ends(at)} for points, at in drops.items()],
        "predictions": [
            {
                "batch_size": each.batch_size,
                "accuracy": each.accuracy_of_run.estimate,
                "accuracy_low": each.accuracy_of_run.low,
                "accuracy_high": each.accuracy_of_run.high,
                "extrapolation": each.extrapolation,
            }
            for each in forecasts
        ],
    }


def _back_test(arguments: argparse.Namespace) -> None:
    from models_of_scaling.fixed_epochs.backtest import (
        accuracy_back_test_as_json,
        accuracy_score_table,
        accuracy_scores,
        back_test_accuracy,
        choose_published,
        published_rows,
    )

    if arguments.table is not None:
        raise InputError(f"--backtest is over the published tables; leave out {arguments.table}")
    tables = (
        list(published_rows().values())
        if arguments.published is None
        else [choose_published(arguments.published)]
    )
    outcomes = back_test_accuracy(tables, level=arguments.level, seed=_SEED)
    scores = accuracy_scores(outcomes)
    if arguments.json:
        answer = accuracy_back_test_as_json(outcomes, scores, level=arguments.level)
        print(json.dumps(answer, allow_nan=False))
    else:
        print(accuracy_score_table(scores, level=arguments.level))

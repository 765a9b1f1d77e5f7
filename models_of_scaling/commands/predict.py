"""`predict`: what other batch sizes would need, with intervals."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from models_of_scaling.fit_record import FitRecord
    from models_of_scaling.prediction import Prediction

HELP: Final = "steps at other batch sizes, with intervals"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's words.

    Args:
        parser: of this command.
    """
    parser.add_argument("fit", type=Path, metavar="FIT.JSON")
    parser.add_argument(
        "--batch-size",
        type=int,
        nargs="+",
        action="extend",
        required=True,
        metavar="B",
        help="may be given several times",
    )
    parser.add_argument("--level", type=float, help="of the intervals (default: the fit's)")
    parser.add_argument("--json", action="store_true", help="print one JSON array, nothing else")


def run(arguments: argparse.Namespace) -> None:
    """Print predictions, as a table or as the JSON array that scripts rely on.

    Args:
        arguments: what `add_arguments` asked for.
    """
    from models_of_scaling.fit_record import read_fit
    from models_of_scaling.prediction import SILLY_EXTRAPOLATION, predict

    fit = read_fit(arguments.fit)
    predictions = predict(fit, arguments.batch_size, level=arguments.level)
    for prediction in predictions:
        if prediction.extrapolation > SILLY_EXTRAPOLATION:
            print(
                f"warning: batch size {prediction.batch_size:,} is "
                f"{prediction.extrapolation:,.0f}x the largest fitted one "
                f"({fit.largest_batch_size:,}): the interval holds only if one of the fitted laws "
                "goes on that far",
                file=sys.stderr,
            )
    if arguments.json:
        print(json.dumps([_as_json(prediction) for prediction in predictions], allow_nan=False))
    else:
        print(prediction_table(fit, predictions))


def _as_json(prediction: "Prediction") -> dict[str, float]:
    return {
        "batch_size": prediction.batch_size,
        "steps": prediction.steps.estimate,
        "steps_low": prediction.steps.low,
        "steps_high": prediction.steps.high,
        "examples": prediction.examples,
        "efficiency": prediction.efficiency,
    }


def prediction_table(fit: "FitRecord", predictions: "list[Prediction]") -> str:
    """Return predictions as aligned lines with a note each.

    Args:
        fit: the record.
        predictions: at least one.
    """
    from models_of_scaling.wording import number_in_words

    level = predictions[0].steps.level
    rows = [("batch size", "steps", f"{100 * level:g} % interval", "examples", "efficiency", "")]
    for each in predictions:
        low, high = number_in_words(each.steps.low), number_in_words(each.steps.high)
        rows.append((
            f"{each.batch_size:,}",
            number_in_words(each.steps.estimate),
            f"{low} to {high}",
            number_in_words(each.examples),
            f"{each.efficiency:.3f}",
            _note(fit, each),
        ))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [
        "  ".join([
            *(cell.rjust(width) for cell, width in zip(row[:5], widths, strict=True)),
            row[5],
        ])
        for row in rows
    ]
    legend = (
        "Interval: for what a new study, tuned alike, would measure. "
        f"Efficiency: examples needed at batch size {fit.smallest_batch_size:,} over those "
        "needed here."
    )
    return "\n".join([*(line.rstrip() for line in lines), legend])


def _note(fit: "FitRecord", prediction: "Prediction") -> str:
    from models_of_scaling.wording import number_in_words

    notes = []
    if prediction.extrapolation > 1:
        notes.append(f"extrapolated {number_in_words(prediction.extrapolation)}x")
    elif prediction.batch_size < fit.smallest_batch_size:
        notes.append("below the smallest batch size fitted")
    if prediction.measured is not None:
        place = "inside" if prediction.is_inside else "OUTSIDE"
        value = (
            f"not reached in {number_in_words(prediction.measured_at_least or 0)}"
            if prediction.measured == float("inf")
            else number_in_words(prediction.measured)
        )
        notes.append(f"measured (held out): {value}, {place} the interval")
    if fit.num_train_examples and prediction.batch_size > fit.num_train_examples:
        notes.append(f"more than the training set ({fit.num_train_examples:,})")
    return "; ".join(notes)

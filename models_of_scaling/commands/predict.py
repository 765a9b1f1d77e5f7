"""`predict`: what other batch sizes would need, with intervals; with anchors, at another scale."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from models_of_scaling.commands.picture_file import add_picture_file, check_picture_file
from models_of_scaling.commands.table_choice import add_table_choice, table_choice
from models_of_scaling.errors import InputError

if TYPE_CHECKING:
    from models_of_scaling.fit_record import FitRecord
    from models_of_scaling.prediction import Prediction
    from models_of_scaling.transfer.anchors import Anchors
    from models_of_scaling.transfer.full_scale import Noise
    from models_of_scaling.transfer.knee_draws import FullScale

HELP: Final = "steps at other batch sizes, with intervals"
EXAMPLE: Final = "fit.json --batch-size 16384 32768 --plot steps.pdf"
_NEEDS_ANCHOR: Final = (
    "ladder", "at", "covariates", "method", "knee_factor", "anchor_noise", "workload", "optimizer",
    "target", "num_train_examples",
)  # fmt: skip
_NEEDS_LADDER: Final = ("at", "covariates", "method")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's words.

    Args:
        parser: of this command.
    """
    parser.add_argument("fit", type=Path, metavar="FIT.JSON", help="what `fit` wrote")
    parser.add_argument(
        "--batch-size",
        type=int,
        nargs="+",
        action="extend",
        required=True,
        metavar="B",
        help="examples per step to predict at; one or more",
    )
    parser.add_argument(
        "--level", type=float, help="share that intervals shall hold (default: the fit's, 0.9)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON array, nothing else")
    group = parser.add_argument_group(
        "full scale", "FIT.JSON is then of a surrogate, and the answer for the anchors' workload"
    )
    group.add_argument(
        "--anchor",
        type=Path,
        metavar="TABLE",
        help="a few measurements at full scale: a table as for `fit`",
    )
    group.add_argument(
        "--ladder",
        type=Path,
        metavar="LADDER.CSV",
        help="table of surrogate studies (docs/transfer.md)",
    )
    group.add_argument(
        "--at",
        nargs="+",
        action="extend",
        metavar="NAME=VALUE",
        help="the ladder's covariates at full scale; workload=NAME if it is one of its families",
    )
    group.add_argument(
        "--covariates",
        nargs="+",
        metavar="NAME",
        help="columns of the ladder (default: the known ones that vary)",
    )
    group.add_argument(
        "--method",
        help="regression (default), process or process_constant_mean: how the ladder is continued",
    )
    group.add_argument(
        "--knee-factor",
        type=float,
        metavar="F",
        help="without a ladder: 90 %% sure that B_crit is within this factor of the surrogate's "
        "(default: 8)",
    )
    group.add_argument(
        "--anchor-noise",
        type=float,
        metavar="S",
        help="standard deviation of the anchors' log steps by their tuning (default: 0.04)",
    )
    add_picture_file(parser)
    add_table_choice(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print predictions, as a table or as the JSON array that scripts rely on.

    Args:
        arguments: what `add_arguments` asked for.

    Raises:
        InputError: where a word has no effect or is wrong.
    """
    _check_words(arguments)
    from models_of_scaling.fit_record import read_fit

    fit = read_fit(arguments.fit)
    if arguments.anchor is not None:
        _at_full_scale(fit, arguments)
        return
    from models_of_scaling.prediction import predict
    from models_of_scaling.prediction_tables import prediction_table

    check_picture_file(arguments.plot)
    if arguments.plot is not None and arguments.level not in (None, fit.level):
        raise InputError(
            f"--plot {arguments.plot}: draws at the fit's level, {fit.level:g}; fit again with "
            f"--level {arguments.level:g}"
        )
    predictions = predict(fit, arguments.batch_size, level=arguments.level)
    if arguments.plot is not None:
        from models_of_scaling.report import write_steps_figure

        write_steps_figure(fit, arguments.plot, up_to=max(arguments.batch_size))
    _warn_far(predictions, f"the largest fitted one ({fit.largest_batch_size:,})")
    if arguments.json:
        print(json.dumps([_as_json(prediction) for prediction in predictions], allow_nan=False))
    else:
        print(prediction_table(fit, predictions))


def _check_words(arguments: argparse.Namespace) -> None:
    """Refuse words that would have no effect."""

    def given(names: tuple[str, ...]) -> str:
        return next((name for name in names if getattr(arguments, name) is not None), "")

    def flag(name: str) -> str:
        value = getattr(arguments, name)
        words = " ".join(value) if isinstance(value, list) else value
        return f"--{name.replace('_', '-')} {words}"

    if arguments.anchor is None and (name := given(_NEEDS_ANCHOR)):
        raise InputError(f"{flag(name)}: is for --anchor TABLE only")
    if arguments.ladder is None and (name := given(_NEEDS_LADDER)):
        raise InputError(f"{flag(name)}: is for --ladder only")
    if arguments.ladder is not None and arguments.knee_factor is not None:
        raise InputError(
            f"--knee-factor {arguments.knee_factor:g}: with --ladder the ladder says how far off "
            "B_crit may be"
        )


def _at_full_scale(fit: "FitRecord", arguments: argparse.Namespace) -> None:
    """Predict from a surrogate and anchors, and say what the answer rests on."""
    import dataclasses

    from models_of_scaling.intervals import check_level
    from models_of_scaling.prediction import check_distance
    from models_of_scaling.prediction_tables import reliance_in_words, table_of
    from models_of_scaling.study_source import read_measurements
    from models_of_scaling.transfer.anchors import anchors_of
    from models_of_scaling.transfer.full_scale import (
        KNEE_FACTOR,
        Noise,
        farthest_measured,
        from_anchors_alone,
        from_surrogate,
        predict_full_scale,
        shapes_of,
    )
    from models_of_scaling.transfer.knee_draws import ANCHOR_NOISE

    picture_format = check_picture_file(arguments.plot)
    level = check_level(fit.level if arguments.level is None else arguments.level)
    given = arguments.anchor_noise
    noise = Noise(anchor=ANCHOR_NOISE if given is None else given)
    choice = dataclasses.replace(table_choice(arguments), fewest_batch_sizes=1)
    rows = read_measurements(arguments.anchor, choice)
    anchors = anchors_of(rows)
    if arguments.ladder is None:
        factor = KNEE_FACTOR if arguments.knee_factor is None else arguments.knee_factor
        fits = [fit]
        full_scale = from_surrogate(shapes_of(fits), anchors, knee_factor=factor, noise=noise)
        source = f"the surrogate (its B_crit, 90 % within {factor:g}x)"
    else:
        full_scale, fits = _from_ladder(fit, arguments, anchors=anchors, noise=noise)
        source = "the ladder"
    ends = (anchors.smallest_batch_size, farthest_measured(full_scale, fits))
    for size in arguments.batch_size:
        check_distance(size, ends, what="one measured, moved by B_crit to full scale")
    predictions = predict_full_scale(full_scale, arguments.batch_size, level=level)
    _warn_far(predictions, f"the largest anchor ({anchors.largest_batch_size:,})")
    if arguments.plot is not None:
        from models_of_scaling.atomic_write import whole_file
        from models_of_scaling.plots.transfer import full_scale_picture

        largest = max(*arguments.batch_size, anchors.largest_batch_size)
        with whole_file(arguments.plot) as stream:
            stream.write(
                full_scale_picture(full_scale, largest, picture_format=picture_format, level=level)
            )
    if arguments.json:
        print(json.dumps([_as_json(prediction) for prediction in predictions], allow_nan=False))
        return
    table = table_of(
        predictions,
        smallest=anchors.smallest_batch_size,
        num_train_examples=rows.num_train_examples,
        of_what="anchor",
    )
    alone = from_anchors_alone(full_scale, noise=noise)
    print(table)
    print(
        reliance_in_words(
            full_scale, alone, source=source, batch_size=max(arguments.batch_size), level=level
        )
    )


def _from_ladder(
    fit: "FitRecord",
    arguments: argparse.Namespace,
    *,
    anchors: "Anchors",
    noise: "Noise",
) -> "tuple[FullScale, list[FitRecord]]":
    """Return the curve by the ladder, and the fits that its shape is from."""
    from models_of_scaling.transfer.full_scale import METHODS, from_ladder, predict_knee, shapes_of
    from models_of_scaling.transfer.ladder_table import read_ladder

    method = "regression" if arguments.method is None else arguments.method
    if method not in METHODS:
        raise InputError(f"--method {method!r} is not one of {', '.join(METHODS)}")
    workload, at = _place(arguments.at or [])
    ladder = read_ladder(arguments.ladder, arguments.covariates)
    if workload is not None and workload not in ladder.workload:
        families = ", ".join(dict.fromkeys(ladder.workload))
        raise InputError(f"--at workload={workload}: {arguments.ladder} has: {families}")
    predicted = predict_knee(ladder, at, workload=workload, method=method)
    fits = [fit, *(each for each in ladder.fits if each is not None)]
    full_scale = from_ladder(
        predicted, shapes_of(fits), anchors, with_level=workload is not None, noise=noise
    )
    return full_scale, fits


def _place(words: list[str]) -> tuple[str | None, dict[str, float]]:
    """Return the family and the covariates that NAME=VALUE words give."""
    workload, at = None, {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise InputError(f"--at {word!r} is not NAME=VALUE")
        if name in at or (name == "workload" and workload is not None):
            raise InputError(f"--at {name} is given twice")
        if name == "workload":
            workload = text
            continue
        try:
            at[name] = float(text)
        except ValueError:
            raise InputError(f"--at {word}: {text or '(empty)'} is not a number") from None
    return workload, at


def _warn_far(predictions: "list[Prediction]", largest: str) -> None:
    from models_of_scaling.prediction import SILLY_EXTRAPOLATION

    for prediction in predictions:
        if prediction.extrapolation > SILLY_EXTRAPOLATION:
            print(
                f"warning: batch size {prediction.batch_size:,} is "
                f"{prediction.extrapolation:,.0f}x {largest}: the interval holds only if one of "
                "the fitted laws goes on that far",
                file=sys.stderr,
            )


def _as_json(prediction: "Prediction") -> dict[str, float]:
    return {
        "batch_size": prediction.batch_size,
        "steps": prediction.steps.estimate,
        "steps_low": prediction.steps.low,
        "steps_high": prediction.steps.high,
        "examples": prediction.examples,
        "efficiency": prediction.efficiency,
    }

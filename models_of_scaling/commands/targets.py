"""`targets`: B_crit against target, from the stored curves of trials, and the law over targets."""

import argparse
import csv
import io
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Final

from models_of_scaling.commands.picture_file import add_picture_file, check_picture_file
from models_of_scaling.errors import InputError
from models_of_scaling.output_file import check_out

if TYPE_CHECKING:
    from models_of_scaling.intervals import Interval
    from models_of_scaling.over_targets.target_study import TargetStudy

HELP: Final = "how the critical batch size grows as the loss falls"
EXAMPLE: Final = "my_sweep/trials --plot targets.svg"
_MOST_TARGETS: Final = 32
_COLUMNS: Final = ("critical_batch_size", "min_steps", "min_examples")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's words.

    Args:
        parser: of this command.
    """
    parser.add_argument(
        "trials", type=Path, metavar="TRIALS", help="a sweep's folder of trials, or a file"
    )
    parser.add_argument("--workload", help="which one, where the folder has several")
    parser.add_argument("--optimizer", help="which one, where the folder has several")
    parser.add_argument(
        "--metric",
        help="train_loss, validation_loss or validation_accuracy (default: the metric that the "
        "trials were stopped at)",
    )
    parser.add_argument(
        "--target",
        nargs="+",
        action="extend",
        metavar="VALUE",
        help="values of the metric (default: a grid from an easy one to the one the trials carry)",
    )
    parser.add_argument(
        "--num-targets",
        type=int,
        metavar="K",
        help="number of targets of the default grid (default: 8)",
    )
    parser.add_argument(
        "--replicates",
        type=int,
        default=400,
        metavar="R",
        help="draws that the intervals are made of (default: 400)",
    )
    parser.add_argument(
        "--level", type=float, default=0.9, help="share that intervals shall hold (default: 0.9)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")
    parser.add_argument("--out", type=Path, metavar="TABLE.CSV", help="write the table there")
    add_picture_file(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object, nothing else")


def run(arguments: argparse.Namespace) -> None:
    """Fit every target and print the table and the law.

    Args:
        arguments: what `add_arguments` asked for.
    """
    from models_of_scaling.atomic_write import whole_file

    picture_format = check_picture_file(arguments.plot)
    if arguments.out is not None:
        check_out(arguments.out, inputs=(arguments.trials,))
    study = _study(arguments)
    if arguments.plot is not None:
        from models_of_scaling.plots.targets import targets_picture

        picture = targets_picture(study, picture_format=picture_format)
        with whole_file(arguments.plot) as stream:
            stream.write(picture)
    if arguments.out is not None:
        with whole_file(arguments.out) as stream:
            stream.write(_as_csv(study).encode())
    if arguments.json:
        print(json.dumps(_as_json(study), allow_nan=False))
        return
    print(_words(study))
    for path in (arguments.plot, arguments.out):
        if path is not None:
            print(f"Written: {path}")


def _study(arguments: argparse.Namespace) -> "TargetStudy":
    """Check every argument, read the trials and fit.

    Returns:
        The study.

    Raises:
        InputError: naming the flag, its value and the rule.
    """
    from models_of_scaling.law_fit import FitChoice
    from models_of_scaling.over_targets.target_study import (
        carried_target,
        check_metric,
        default_targets,
        explicit_targets,
        read_target_study_trials,
        study_targets,
    )
    from models_of_scaling.study_source import TableChoice

    choice = FitChoice(replicates=arguments.replicates, level=arguments.level, seed=arguments.seed)
    asked, count = arguments.target, arguments.num_targets
    if count is not None and asked is not None:
        raise InputError(f"--num-targets {count}: --target names the targets already")
    if count is not None and not 1 <= count <= _MOST_TARGETS:
        raise InputError(f"--num-targets {count} must lie in 1 .. {_MOST_TARGETS}")
    if asked is not None and len(asked) > _MOST_TARGETS:
        raise InputError(f"--target: {len(asked)} targets; at most {_MOST_TARGETS} are fitted")
    where = str(arguments.trials)
    table = read_target_study_trials(
        arguments.trials,
        TableChoice(workload=arguments.workload, optimizer=arguments.optimizer),
    )
    carried = carried_target(table, where=where)
    metric = check_metric(arguments.metric, carried)
    targets = (
        default_targets(table, metric, carried, count=count or 8, where=where)
        if asked is None
        else explicit_targets(asked, metric)
    )
    return study_targets(table, targets, carried, choice, path=arguments.trials)


def _words(study: "TargetStudy") -> str:
    """Return the table and the law as lines for a reader."""
    from models_of_scaling.wording import number_in_words

    def cell(interval: "Interval") -> str:
        if math.isinf(interval.estimate):
            return f"> {number_in_words(interval.low)}"
        low, high = number_in_words(interval.low), number_in_words(interval.high)
        return f"{number_in_words(interval.estimate)} ({low} to {high})"

    rows: list[tuple[str, ...]] = [
        ("target", "reached at", "B_crit", "S_min", "E_min = B_crit S_min")
    ]
    for point in study.points:
        rows.append((
            str(point.target),
            f"{point.num_reached} of {point.num_batch_sizes}",
            *(cell(getattr(point, name)) for name in _COLUMNS),
        ))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([
        f"{study.workload}, {study.optimizer}; in brackets: {100 * study.level:g} % intervals; "
        "reached at: batch sizes.",
        *lines,
        *law_in_words(study),
    ])


def law_in_words(study: "TargetStudy") -> list[str]:
    """Return what the law over targets says, and what it does not, as lines.

    Args:
        study: with or without a law.
    """
    from models_of_scaling.over_targets.target_curve import FEWEST_TARGETS
    from models_of_scaling.wording import interval_in_words, number_in_words

    law, level = study.law, study.level
    if law is None:
        used = sum(point.is_used for point in study.points)
        return [
            f"No law over targets: {used} of {len(study.points)} targets bound B_crit from both "
            f"sides; {FEWEST_TARGETS} are needed."
        ]
    metric = study.points[0].target.metric
    word = "error (1 - accuracy)" if metric == "validation_accuracy" else metric.replace("_", " ")
    exponent, hardest = law.exponent(level=level), law.losses[-1]
    shown = f"{exponent.estimate:.2f} ({100 * level:g} % interval {exponent.low:.2f} to "
    lines = [
        f"Law: B_crit(L) = {number_in_words(law.critical_batch_size(1.0).estimate)} / L^(1/alpha) "
        f"with L the {word} and 1/alpha = {shown}{exponent.high:.2f}), from {len(law.losses)} "
        f"targets, L = {law.losses[0]:.3g} to {hardest:.3g}.",
    ]
    if exponent.low > 0:
        falls = [100 * (1 - 2 ** (-1 / end)) for end in (exponent.high, exponent.low)]
        middle = 100 * (1 - 2 ** (-1 / exponent.estimate))
        lines.append(
            f"B_crit doubles each time L falls by {middle:.0f} % ({falls[0]:.0f} to "
            f"{falls[1]:.0f} %)."
        )
    else:
        lines.append("The data do not show that B_crit changes with the target: 0 is inside.")
    bend = law.bending(level=level)
    if bend is not None and not bend.holds(0.0):
        lines.append(
            f"The law bends (second order {bend.estimate:.2f}, {bend.low:.2f} to {bend.high:.2f}): "
            "it is no power law over these targets, so don't extrapolate it."
        )
    at_half = law.critical_batch_size(hardest / 2, level=level)
    lines += [
        f"At L = {hardest / 2:.3g}, half the hardest, it would be {interval_in_words(at_half)}: "
        "extrapolated, and only if the law goes on.",
        f"Neighbouring targets' errors correlate by {law.correlation:.2f} (same trials), which the "
        "intervals count. Hyper-parameters were tuned for "
        f"{study.carried} alone: with their own, other targets may be met sooner.",
    ]
    return lines


def _as_csv(study: "TargetStudy") -> str:
    """Return the table; an open end is `inf`."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    ends = [f"{name}{end}" for name in _COLUMNS for end in ("", "_low", "_high")]
    writer.writerow(["target", "loss", "num_batch_sizes", "num_reached", *ends, "in_law"])
    for point in study.points:
        values = [
            value
            for name in _COLUMNS
            for interval in (getattr(point, name),)
            for value in (interval.estimate, interval.low, interval.high)
        ]
        writer.writerow([
            point.target, point.loss, point.num_batch_sizes, point.num_reached,
            *(f"{value:.6g}" for value in values), str(point.is_used).lower(),
        ])  # fmt: skip
    return stream.getvalue()


def _as_json(study: "TargetStudy") -> dict[str, object]:
    """Return plain data; an open end is None."""

    def ends(interval: "Interval | None") -> dict[str, float | None] | None:
        if interval is None:
            return None
        return {
            name: None if math.isinf(value) else value
            for name, value in (
                ("estimate", interval.estimate),
                ("low", interval.low),
                ("high", interval.high),
            )
        }

    law, level = study.law, study.level
    return {
        "workload": study.workload,
        "optimizer": study.optimizer,
        "carried_target": str(study.carried),
        "level": level,
        "targets": [
            {
                "target": str(point.target),
                "loss": point.loss,
                "num_batch_sizes": point.num_batch_sizes,
                "num_reached": point.num_reached,
                "in_law": point.is_used,
                **{name: ends(getattr(point, name)) for name in _COLUMNS},
            }
            for point in study.points
        ],
        "law": None
        if law is None
        else {
            "equation": "B_crit(L) = B_star / L^(1/alpha)",
            "b_star": ends(law.critical_batch_size(1.0, level=level)),
            "one_over_alpha": ends(law.exponent(level=level)),
            "bend": ends(law.bending(level=level)),
            "loss_range": [min(law.losses), max(law.losses)],
            "neighbour_correlation": law.correlation,
        },
    }

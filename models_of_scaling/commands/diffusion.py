"""`diffusion`: by which law do the weights leave their start, at each batch size?"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from models_of_scaling.commands.picture_file import add_picture_file, check_picture_file
from models_of_scaling.errors import InputError

if TYPE_CHECKING:
    from models_of_scaling.diffusion.study import DiffusionStudy

_MOST_REPLICATES: Final = 100_000
HELP: Final = "by which law the weights leave their start: is it log t?"
EXAMPLE: Final = "walks --from-steps 32 --plot walks.svg"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's words.

    Args:
        parser: of this command.
    """
    parser.add_argument(
        "table",
        type=Path,
        metavar="TABLE",
        help="CSV with steps and distance, or a folder of such files (docs/diffusion.md)",
    )
    parser.add_argument("--layer", default="", help="one layer's weights (default: all weights)")
    parser.add_argument(
        "--clock",
        choices=("steps", "learning_rate"),
        default="steps",
        help="what t is: steps, or their learning rates summed, over the peak (default: steps)",
    )
    parser.add_argument(
        "--from-steps", type=float, default=1.0, help="leave out earlier steps (default: 1)"
    )
    parser.add_argument(
        "--to-steps",
        type=float,
        default=float("inf"),
        help="leave out later steps (default: none)",
    )
    parser.add_argument(
        "--replicates",
        type=int,
        default=400,
        metavar="R",
        help="of the bootstrap that the intervals are made of (default: 400)",
    )
    parser.add_argument(
        "--level", type=float, default=0.9, help="share that intervals shall hold (default: 0.9)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")
    add_picture_file(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object, nothing else")


def run(arguments: argparse.Namespace) -> None:
    """Print the verdict of each setting, in words or as JSON.

    Args:
        arguments: what `add_arguments` asked for.

    Raises:
        InputError: naming the flag or the file, the value and the rule.
    """
    from models_of_scaling.atomic_write import whole_file
    from models_of_scaling.diffusion.study import study_diffusion
    from models_of_scaling.diffusion.walk_table import WalkChoice, read_walks
    from models_of_scaling.diffusion.words import setting_as_json, trends_as_json
    from models_of_scaling.intervals import check_level

    picture_format = check_picture_file(arguments.plot)
    if not 20 <= arguments.replicates <= _MOST_REPLICATES:
        rule = f"must lie in 20 .. {_MOST_REPLICATES}"
        raise InputError(f"--replicates {arguments.replicates} {rule}")
    if arguments.seed < 0:
        raise InputError(f"--seed {arguments.seed} must be at least 0")
    choice = WalkChoice(
        layer=arguments.layer,
        clock=arguments.clock,
        from_steps=arguments.from_steps,
        to_steps=arguments.to_steps,
    )
    study = study_diffusion(
        read_walks(arguments.table, choice),
        replicates=arguments.replicates,
        level=check_level(arguments.level),
        seed=arguments.seed,
    )
    if arguments.plot is not None:
        from models_of_scaling.plots.diffusion import diffusion_picture

        picture = diffusion_picture(study, picture_format=picture_format)
        with whole_file(arguments.plot) as stream:
            stream.write(picture)
    if arguments.json:
        answer = {
            "level": study.level,
            "settings": [setting_as_json(each) for each in study.settings],
            "trends": trends_as_json(study.trends),
        }
        print(json.dumps(answer, allow_nan=False))
        return
    print("\n".join(_lines(study)))
    if arguments.plot is not None:
        print(f"Written: {arguments.plot}")


def _lines(study: "DiffusionStudy") -> list[str]:
    from models_of_scaling.diffusion import words

    lines: list[str] = []
    for each in study.settings:
        steps = each.walks[0].steps
        lines += [
            f"{words.setting_in_words(each.setting)} ({each.num_runs} "
            f"{'run' if each.num_runs == 1 else 'runs'} of {len(steps)} points, steps "
            f"{steps[0]:,.0f} to {steps[-1]:,.0f}):",
            words.verdict(each.comparison),
            words.exponent_in_words(each.exponent),
            *(f"  {line}" for line in words.table_lines(each.comparison)),
            "",
        ]
    if study.trends:
        lines += ["Between settings:", *(f"  {words.trend_in_words(e)}" for e in study.trends)]
    elif len(study.settings) > 1:
        lines.append(
            "How nu moves with batch size, learning rate and optimizer can't be told: that takes "
            "more settings than properties that differ, and properties that differ apart."
        )
    return lines[:-1] if lines[-1] == "" else lines

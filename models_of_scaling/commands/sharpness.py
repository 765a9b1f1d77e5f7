"""`sharpness`: how sharp a run's loss is, against the edge of stability, and its index."""

import argparse
import dataclasses
import json
import math
from pathlib import Path
from typing import Final

from models_of_scaling.commands.picture_file import add_picture_file, check_picture_file

HELP: Final = "a run's largest eigenvalue against 2/eta, and its index against the loss"
EXAMPLE: Final = "sharpness.csv --plot sharpness.svg"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's words.

    Args:
        parser: of this command.
    """
    parser.add_argument(
        "table", type=Path, metavar="SHARPNESS.CSV", help="of the sharpness callback"
    )
    parser.add_argument(
        "--walk", type=Path, metavar="WALK.CSV", help="of the diffusion callback in the same run"
    )
    add_picture_file(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON array, nothing else")


def run(arguments: argparse.Namespace) -> None:
    """Print the verdict, in words or as JSON, and draw the run's page.

    Args:
        arguments: what `add_arguments` asked for.
    """
    from models_of_scaling.atomic_write import whole_file
    from models_of_scaling.curvature.sharpness_table import read_sharpness
    from models_of_scaling.curvature.sharpness_verdict import judge_sharpness, sharpness_in_words

    picture_format = check_picture_file(arguments.plot)
    curves = read_sharpness(arguments.table)
    verdicts = [judge_sharpness(curve) for curve in curves]
    if arguments.plot is not None:
        from models_of_scaling.plots.run_page import run_page

        picture = run_page(
            sharpness=arguments.table, walk=arguments.walk, picture_format=picture_format
        )
        with whole_file(arguments.plot) as stream:
            stream.write(picture)
    if arguments.json:
        print(json.dumps([_as_json(dataclasses.asdict(each)) for each in verdicts]))
        return
    for verdict in verdicts:
        print("\n".join(sharpness_in_words(verdict)))
    if arguments.plot is not None:
        print(f"Written: {arguments.plot}")


def _as_json(values: dict[str, object]) -> dict[str, object]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }

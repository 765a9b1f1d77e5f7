"""The word `--plot`: where a picture goes; its ending is checked before any work."""

import argparse
from pathlib import Path
from typing import Final

from models_of_scaling.errors import InputError
from models_of_scaling.output_file import check_out

FORMATS: Final = ("svg", "pdf", "png")


def add_picture_file(parser: argparse.ArgumentParser) -> None:
    """Add the word.

    Args:
        parser: of a command that draws.
    """
    parser.add_argument(
        "--plot", type=Path, metavar="PICTURE", help=f"draw it there: {', '.join(FORMATS)}"
    )


def check_picture_file(path: Path | None) -> str:
    """Return the format that a file's ending names.

    Args:
        path: of --plot, or None.

    Returns:
        The format; "" for no picture.

    Raises:
        InputError: for another ending, or a folder.
    """
    if path is None:
        return ""
    check_out(path, flag="--plot")
    ending = path.suffix.lstrip(".").lower()
    if ending not in FORMATS:
        raise InputError(f"--plot {path}: its ending must be one of {', '.join(FORMATS)}")
    return ending

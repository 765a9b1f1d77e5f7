"""Where the data lie: the environment variable BATCH_LIMIT_DATA, which --data-root sets.

An environment variable, because child processes inherit it, job scripts export it, and every
machine may have its own: the same trials on another machine are the same study.
"""

import argparse
import os
from pathlib import Path

from models_of_scaling.errors import InputError

VARIABLE = "BATCH_LIMIT_DATA"


def add_data_root_argument(parser: argparse.ArgumentParser) -> None:
    """Add --data-root.

    Args:
        parser: of a command that reads data.
    """
    parser.add_argument(
        "--data-root",
        type=_use_data_root,
        metavar="DIR",
        help=f"folder of the data sets (default: the environment variable {VARIABLE})",
    )


def _use_data_root(text: str) -> Path:
    """Set the data root of this process and of those that it starts."""
    root = Path(text).absolute()
    os.environ[VARIABLE] = str(root)
    return root


def data_root(dataset: str) -> Path:
    """Return the folder of the data sets.

    Args:
        dataset: that is looked for, for the message.

    Returns:
        The folder.

    Raises:
        InputError: where none is given, or there is no such folder.
    """
    text = os.environ.get(VARIABLE)
    if not text:
        raise InputError(
            f"{dataset} lies on a disk: say in which folder by --data-root DIR or the environment "
            f"variable {VARIABLE} (docs/workloads.md says what it should hold)"
        )
    root = Path(text)
    if not root.is_dir():
        raise InputError(f"--data-root or {VARIABLE}: {text}: no such folder")
    return root

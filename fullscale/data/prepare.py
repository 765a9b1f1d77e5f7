"""Convert an image folder: python -m fullscale.data.prepare SRC DST --format tar|litdata|uint8.

SRC holds train/CLASS/* and val/CLASS/*. Kill it at any time: the same command goes on with the
shards that are missing. With --format index and no DST, shards that were made elsewhere (webdataset
tars, litdata streams in SRC/train and SRC/val) get the index that training needs.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from models_of_scaling.command_line import OneLineParser, run_command


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m fullscale.data.prepare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("source", metavar="SRC", type=Path, help="an image folder; for index, shards")
    add("destination", metavar="DST", type=Path, nargs="?", help="new folder of the shards")
    add("--format", required=True, choices=("tar", "litdata", "uint8", "index"))
    add("--size", type=int, help="short side in pixels (default: files as they are; uint8: 256)")
    add("--classes", type=Path, help="list of the classes to convert, one a line")
    add("--images", type=Path, help="list of the pictures to convert, one a line")
    add("--examples-per-shard", type=int, help="default: 1000; uint8: 4000")
    add(
        "--max-damaged-share",
        type=float,
        default=0.0,
        help="of the pictures, that may be damaged when they are decoded; they stay damaged in DST",
    )
    add("--num-classes", type=int, help="for index: labels must be below it")
    add("--workers", type=int, help="processes (default: all cores)")
    return parser


def _run(argv: Sequence[str] | None) -> int:
    given = vars(_parser().parse_args(argv))
    # A second of imports, which a wrong flag need not wait for.
    from fullscale.data.preparing.run_prepare import run_prepare

    given["workers"] = given["workers"] or os.cpu_count() or 1
    return run_prepare(given)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `--help`."""
    return run_command(lambda: _run(argv))


if __name__ == "__main__":
    sys.exit(main())

"""Reads the published CSV files beside it as text, without the cells that nobody verified."""

import csv
import hashlib
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
# The mark that whoever collected the tables put on what they had not read in a source.
_UNVERIFIED: Final = "from memory"
# These two columns say where the others come from; what they quote from memory is no datum.
_PROSE: Final = frozenset({"source", "status"})

Row = dict[str, str]


def read_published(file: str) -> list[Row]:
    """Read one published table.

    Args:
        file: name in this folder, such as "mlperf_rcp_resnet_seeds.csv".

    Returns:
        One dict of texts per row; a cell that says it is from memory is "", as a missing one is.

    Raises:
        ValueError: where no file of that name is published.
    """
    if file not in published_files():
        raise ValueError(f"file {file!r} is not one of {', '.join(published_files())}")
    with (FOLDER / file).open(newline="", encoding="utf-8") as stream:
        return [
            {name: _verified(name, cell) for name, cell in row.items()}
            for row in csv.DictReader(stream, strict=True)
        ]


def _verified(column: str, cell: str) -> str:
    return "" if _UNVERIFIED in cell and column not in _PROSE else cell


def published_files() -> list[str]:
    """Return the names of all published tables."""
    return sorted(path.name for path in FOLDER.glob("*.csv"))


def sha256_of_published(file: str) -> str:
    """Return the digest of one published table, 64 hexadecimal digits."""
    return hashlib.sha256((FOLDER / file).read_bytes()).hexdigest()

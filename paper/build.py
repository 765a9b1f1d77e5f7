"""Builds the paper from committed records: numbers, figures, pages.

    python -m paper.build

writes `paper/generated/`: `numbers.json`, a picture a figure and `paper.pdf`. No data set is read,
nothing is trained. `--pages` writes the pages as PNG files too, `--results DIR` takes other
records.
"""

import argparse
import importlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from models_of_scaling.atomic_write import whole_file
from models_of_scaling.errors import InputError
from paper.figures.style import look, svg_of
from paper.numbers.reproduction import FIGURES, unlisted_or_changed
from paper.numbers.study import PAPER, RESULTS, Study, as_text, numbers_of, read_study

GENERATED: Final = PAPER / "generated"
_PAGE_DOTS_PER_INCH: Final = 110.0


def write_numbers(study: Study, out: Path) -> None:
    """Write `numbers.json`.

    Args:
        study: the records.
        out: folder.
    """
    with whole_file(out / "numbers.json") as stream:
        stream.write(as_text(numbers_of(study)).encode())


def write_figures(study: Study, out: Path) -> None:
    """Write every figure as SVG.

    Args:
        study: the records.
        out: folder.
    """
    for figure in FIGURES:
        module = importlib.import_module(f"paper.figures.{figure.name}")
        with look():
            picture = svg_of(module.draw(study))
        with whole_file(out / f"{figure.name}.svg") as stream:
            stream.write(picture)


def write_pages(out: Path, *, as_pictures: bool) -> None:
    """Set the pages: `paper.pdf`, and page-1.png and so on where asked.

    Args:
        out: folder that holds the numbers and figures, below `paper/`.
        as_pictures: write PNG files too.

    Raises:
        InputError: where typst is not installed.
    """
    try:
        import typst
    except ImportError as error:
        raise InputError(
            "the paper is set by typst: pip install 'batch-size-limit[paper]', or make paper"
        ) from error
    source = str(PAPER / "paper.typ")
    inputs = {"generated": f"/{out.resolve().relative_to(PAPER.resolve()).as_posix()}"}
    root = str(PAPER)
    typst.compile(
        source, output=str(out / "paper.pdf"), root=root, sys_inputs=inputs,
        ignore_system_fonts=True,
    )  # fmt: skip
    if as_pictures:
        typst.compile(
            source, output=str(out / "page-{p}.png"), root=root, sys_inputs=inputs,
            ignore_system_fonts=True, format="png", ppi=_PAGE_DOTS_PER_INCH,
        )  # fmt: skip


def build(results: Path, out: Path, *, as_pictures: bool = False) -> Path:
    """Build everything.

    Args:
        results: the folder of records.
        out: folder below `paper/`, made when missing.
        as_pictures: write the pages as PNG files too.

    Returns:
        The PDF's path.

    Raises:
        InputError: where a record is not what the data dictionary says, or contradicts the paper.
    """
    if wrong := unlisted_or_changed(results):
        raise InputError(f"{results}/README.md, the data dictionary: " + "; ".join(wrong))
    out.mkdir(parents=True, exist_ok=True)
    study = read_study(results)
    write_numbers(study, out)
    write_figures(study, out)
    write_pages(out, as_pictures=as_pictures)
    return out / "paper.pdf"


def main(arguments: Sequence[str] | None = None) -> None:
    """Build the paper."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of records")
    parser.add_argument("--pages", action="store_true", help="the pages as PNG files too")
    asked = parser.parse_args(arguments)
    begun = time.perf_counter()
    try:
        pdf = build(asked.results, GENERATED, as_pictures=asked.pages)
    except InputError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    print(f"{pdf}: {time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()

"""A file beside published runs: read, compared, and said in lines of text or as JSON."""

import json
import textwrap
from collections.abc import Iterator

from fullscale.recipes.lint import Comparison, compare
from fullscale.recipes.run_settings import parse_settings

_WIDTH = 98


def lint_file(text: str, *, place: str, as_json: bool) -> str:
    """Compare a file with published runs.

    Args:
        text: of the file.
        place: its name.
        as_json: one JSON object instead of lines.

    Returns:
        What to print. A file that can't be compared ends in an InputError.
    """
    comparison = compare(parse_settings(text, place=place))
    if as_json:
        return lint_json(comparison, place=place)
    return "\n".join(lint_lines(comparison, place=place))


def lint_lines(comparison: Comparison, *, place: str) -> Iterator[str]:
    """Yield the lines.

    Args:
        comparison: to say.
        place: name of the file.
    """
    yield from _wrapped(f"{place}: {comparison.summary}.", "", "  ")
    for remark in comparison.remarks:
        expected = f" Expect {remark.expectation}." if remark.expectation else ""
        yield from _wrapped(f"{remark.words}.{expected}", "- ", "  ")
    if comparison.usual:
        found = "As on record" if comparison.remarks else "Nothing unusual: as on record are"
        yield from _wrapped(f"{found}: {', '.join(comparison.usual)}.".replace("are:", "are"))
    if comparison.not_compared:
        yield from _wrapped(f"Not judged: {'; '.join(comparison.not_compared)}.")
    if comparison.nearest is not None:
        near = comparison.nearest
        yield from _wrapped(
            f"Nearest on record: batch size {near.batch_size:,}, peak learning rate "
            f"{near.quantities['peak_learning_rate']:g}: {near.outcome} ({near.citation})."
        )
    if any(remark.expectation is None for remark in comparison.remarks):
        yield from _wrapped(
            "Where nothing is said to be expected, no published row shows what comes of it."
        )


def _wrapped(words: str, first: str = "", then: str = "  ") -> list[str]:
    return textwrap.wrap(
        words, _WIDTH, initial_indent=first, subsequent_indent=then,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def lint_json(comparison: Comparison, *, place: str) -> str:
    """Return one JSON object.

    Args:
        comparison: to say.
        place: name of the file.
    """
    near = comparison.nearest
    content = {
        "file": place,
        "summary": comparison.summary,
        "remarks": [
            {
                "quantity": each.quantity,
                "words": each.words,
                "source": each.source,
                "expectation": each.expectation.words if each.expectation else None,
                "expectation_source": each.expectation.source if each.expectation else None,
            }
            for each in comparison.remarks
        ],
        "usual": list(comparison.usual),
        "not_compared": list(comparison.not_compared),
        "nearest": None
        if near is None
        else {
            "batch_size": near.batch_size,
            "source": near.source,
            "num_runs": near.num_runs,
            "outcome": near.outcome,
            "quantities": dict(near.quantities),
        },
    }
    return json.dumps(content, indent=2)

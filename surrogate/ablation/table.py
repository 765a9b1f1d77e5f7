"""The table of a comparison, in words and as numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from models_of_scaling.ablation import Effect, RungRuns, Scale, effect, rung_mean
from models_of_scaling.wording import number_in_words


@dataclass(frozen=True, kw_only=True)
class Row:
    """One rung of the ladder.

    Attributes:
        label: of the rung.
        mean: accuracy in points, or steps.
        num_runs: fresh seeds behind it.
        gain: over the rung before; None at the baseline.
        gain_in_whole: of the whole recipe over the whole without this ingredient; None at the
            baseline.
    """

    label: str
    mean: float
    num_runs: int
    gain: Effect | None
    gain_in_whole: Effect | None


@dataclass(frozen=True, kw_only=True)
class Table:
    """What every step gains.

    Attributes:
        scale: of all values.
        rows: of the ladder, from the baseline up.
        total: gain of the whole over the baseline.
        question: one line: workload, batch size, budget, searches.
        left_out: of the recipe, in words.
    """

    scale: Scale
    rows: tuple[Row, ...]
    total: Effect
    question: str
    left_out: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return plain numbers; what is unbounded or has no value is null."""
        plain: dict[str, Any] = _finite(asdict(self))
        return plain


def make_table(
    ladder: Sequence[RungRuns],
    without: Sequence[RungRuns],
    *,
    scale: Scale,
    level: float,
    question: str,
    left_out: tuple[str, ...],
) -> Table:
    """Compare each rung with the one before, and the whole with each ingredient left out.

    Args:
        ladder: from the baseline to the whole.
        without: the whole without each ingredient, in the ladder's order.
        scale: of the values.
        level: of the intervals.
        question: see `Table`.
        left_out: see `Table`.

    Returns:
        The table.
    """
    whole = ladder[-1]
    rows = [
        Row(label=ladder[0].label, mean=rung_mean(ladder[0], scale),
            num_runs=ladder[0].num_runs, gain=None, gain_in_whole=None)
    ]  # fmt: skip
    for before, rung, left in zip(ladder, ladder[1:], without, strict=False):
        rows.append(
            Row(
                label=rung.label,
                mean=rung_mean(rung, scale),
                num_runs=rung.num_runs,
                gain=effect(rung, before, scale, level=level),
                gain_in_whole=effect(whole, left, scale, level=level),
            )
        )
    return Table(
        scale=scale,
        rows=tuple(rows),
        total=effect(whole, ladder[0], scale, level=level),
        question=question,
        left_out=left_out,
    )


def table_in_words(table: Table) -> str:
    """Return the table as text, with what it does not say below it."""
    mean = "accuracy" if table.scale == "accuracy" else "steps"
    header = (table.question, f"{mean:>9}", "gain of this step", "gain in the whole recipe")
    lines = [header] + [
        (
            row.label,
            f"{_mean(row.mean, table.scale):>9}",
            "" if row.gain is None else effect_in_words(row.gain, table.scale),
            "" if row.gain_in_whole is None else effect_in_words(row.gain_in_whole, table.scale),
        )
        for row in table.rows
    ]
    lines.append(("in all", "", effect_in_words(table.total, table.scale), ""))
    width = max(len(line[0]) for line in lines[1:])
    third = max(len(line[2]) for line in lines)
    text = [table.question, ""]
    for number, (label, value, gain, in_whole) in enumerate(lines):
        first = "" if number == 0 else label
        text.append(f"{first:<{width}}  {value:>9}  {gain:<{third}}  {in_whole}".rstrip())
    effects = [
        each for row in table.rows for each in (row.gain, row.gain_in_whole) if each is not None
    ]
    text += ["", *_notes(table, effects)]
    return "\n".join(text)


def effect_in_words(effect: Effect, scale: Scale) -> str:
    """Return a gain with its interval; a star marks one that leaves out no gain."""
    if math.isnan(effect.gain):
        return "not every run got there"
    star = " *" if effect.is_told(scale) else ""
    if scale == "accuracy":
        return f"{effect.gain:+.2f} ({effect.low:+.2f} to {effect.high:+.2f}){star}"
    return f"{effect.gain:.2f}x ({effect.low:.2f} to {effect.high:.2f}){star}"


def _notes(table: Table, effects: Sequence[Effect]) -> list[str]:
    unit = "points" if table.scale == "accuracy" else "times fewer steps"
    level = 100 * table.total.level
    over = (
        "Welch's t over searches"
        if table.total.over == "searches"
        else "seeds of one search only: the luck of the search is not in it; give --searches 3"
    )
    notes = [
        f"Gains in {unit}, with {level:.0f} % intervals ({over}); * leaves out no gain. Of "
        f"{len(effects)} such gains, {(1 - table.total.level) * len(effects):.1f} are so marked "
        "by luck alone."
    ]
    if table.left_out:
        notes.append(f"Not in small runs: {', '.join(table.left_out)}.")
    return notes


def _mean(value: float, scale: Scale) -> str:
    if not math.isfinite(value):
        return "none" if math.isnan(value) else "not met"
    return f"{value:.2f} %" if scale == "accuracy" else number_in_words(value)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

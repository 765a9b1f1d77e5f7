"""What published rows show to come of an unusual setting of momentum SGD.

Source: `goyal2017_tables.csv` (Goyal et al. 2017, arXiv:1706.02677): top-1 error
of ResNet-50 with warm-up left out, rates halved, doubled and not scaled, and a doubled batch, each
over 5 runs. Where no row shows it, nothing is expected.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from fullscale.recipes.run_settings import RunSettings
from models_of_scaling.published.csv_files import Row, read_published

_FILE: Final = "goyal2017_tables.csv"
# Within this factor of batch size and rate per example a row speaks for a run.
_FACTOR: Final = 2.0


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What published rows show.

    Attributes:
        words: a clause.
        source: table and lines.
    """

    words: str
    source: str

    def __str__(self) -> str:
        """Return the clause with its source."""
        return f"{self.words} ({self.source})"


@functools.cache
def _lines() -> Sequence[tuple[int, Row]]:
    return list(enumerate(read_published(_FILE), start=2))


def expect_of_momentum_sgd(quantity: str, run: RunSettings, extreme: str) -> Expectation | None:
    """Return what Goyal's tables show.

    Args:
        quantity: that is unusual.
        run: its settings.
        extreme: "above" or "below" what is usual.

    Returns:
        None where no row shows it.
    """
    rate = run.quantities["peak_learning_rate"]
    if quantity == "warmup_epochs" and run.quantities["warmup_epochs"] == 0:
        # No warm-up harmed at the linear rule's rate; a smaller rate was not tried without.
        return _against(
            run, lambda row: row["table"] == "warm-up" and row["warmup"] == "none"
            and rate >= _rate_at(run, row) / 1.01,
        )  # fmt: skip
    if quantity == "peak_learning_rate":
        return _against(run, lambda row: _is_beyond(run, row, extreme))
    if quantity == "batch_size":
        return _batch_size(run)
    return None


def _rate_at(run: RunSettings, row: Row) -> float:
    """The row's rate scaled linearly to the run's batch size."""
    return float(row["peak_learning_rate"]) * run.batch_size / int(row["batch_size"])


def _is_beyond(run: RunSettings, row: Row, extreme: str) -> bool:
    """Whether a rate was tried that is on the same side as the run's, and no further out."""
    if row["table"] != "learning rate":
        return False
    usual = 0.1 * run.batch_size / 256  # the best of that table, at 256 and at 8,192
    rate, theirs = run.quantities["peak_learning_rate"], _rate_at(run, row)
    if extreme == "above":
        return usual < theirs <= rate * 1.01
    return rate / 1.01 <= theirs < usual


def _against(run: RunSettings, fits: Callable[[Row], bool]) -> Expectation | None:
    """Say what the worst row that fits lost against the best of its batch size."""
    near = [
        (line, row)
        for line, row in _lines()
        if max(run.batch_size / int(row["batch_size"]), int(row["batch_size"]) / run.batch_size)
        <= _FACTOR and row["last_batch_norm_scale"] == "0"
    ]  # fmt: skip
    found = [each for each in near if fits(each[1])]
    if not found:
        return None
    line, row = max(found, key=lambda each: float(each[1]["top1_error_percent"]))
    at_same = [each for each in near if each[1]["batch_size"] == row["batch_size"]]
    best_line, best = min(at_same, key=lambda each: float(each[1]["top1_error_percent"]))
    lost = float(row["top1_error_percent"]) - float(best["top1_error_percent"])
    rate = run.quantities["peak_learning_rate"]
    # A rate further out than the one that was tried loses no less.
    beyond = max(_rate_at(run, row) / rate, rate / _rate_at(run, row)) > 1.01
    return Expectation(
        words=f"{'at least ' if beyond else ''}about {lost:.1f} points of top-1 less: "
        f"{_error(row)} against {_error(best)} at {int(row['batch_size']):,}",
        source=f"{_FILE} lines {best_line} and {line}",
    )


def _error(row: Row) -> str:
    return (
        f"{row['top1_error_percent']} +- {row['sd_percent']} % error (rate "
        f"{float(row['peak_learning_rate']):.3g}, n = {row['num_runs']})"
    )


def _batch_size(run: RunSettings) -> Expectation | None:
    """Say what a larger batch lost, from the largest batch size of the table that is no larger."""
    base_line, base = next(
        (line, row)
        for line, row in _lines()
        if (row["batch_size"], row["peak_learning_rate"]) == ("256", "0.1")
    )
    beyond = [
        (line, row)
        for line, row in _lines()
        if row["table"] == "batch size" and int(row["batch_size"]) <= run.batch_size * 1.03
    ]
    if not beyond:
        return None
    line, row = beyond[-1]
    lost = float(row["top1_error_percent"]) - float(base["top1_error_percent"])
    return Expectation(
        words=f"at least about {lost:.1f} points of top-1 less: {_error(row)} at "
        f"{int(row['batch_size']):,} against {_error(base)} at {int(base['batch_size']):,}",
        source=f"{_FILE} lines {base_line} and {line}",
    )

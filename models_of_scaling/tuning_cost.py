"""What the tuning of each batch size cost, in examples processed, beside what was measured.

Every trial counts, however it ended: those that diverged or never reached the target were paid for.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from models_of_scaling.trials import Trial


@dataclass(frozen=True, kw_only=True)
class TuningCost:
    """Examples processed at one batch size, with repetition.

    Attributes:
        batch_size: examples per step.
        search: by the trials of the search, widenings among them.
        shortlist: by the best of them on fresh seeds, to choose by.
        repeat: by the runs that are the measurement.
    """

    batch_size: int
    search: int
    shortlist: int
    repeat: int

    @property
    def ratio(self) -> float:
        """Examples spent on tuning per example of the measurement; infinite without one."""
        return (self.search + self.shortlist) / self.repeat if self.repeat else float("inf")

    def in_words(self) -> str:
        """Return one line."""
        return (
            f"B={self.batch_size:,}: search {self.search:,}, shortlist {self.shortlist:,}, "
            f"repeats {self.repeat:,} examples"
        )


def tuning_cost(trials: Iterable[Trial]) -> list[TuningCost]:
    """Return what each batch size of one study cost.

    Args:
        trials: of one study.

    Returns:
        One for each batch size, increasing.
    """
    return _summed((trial.batch_size, trial.phase, trial.examples) for trial in trials)


def tuning_cost_of_table(table: pa.Table) -> list[TuningCost]:
    """Return what each batch size of a table of trials cost, without building the trials.

    Args:
        table: with the columns batch_size, phase and examples of `trials.TRIAL_SCHEMA`.

    Returns:
        One for each batch size, increasing.
    """
    columns = ("batch_size", "phase", "examples")
    sums = table.select(columns).group_by(list(columns[:2])).aggregate([("examples", "sum")])
    names = ("batch_size", "phase", "examples_sum")
    return _summed(zip(*(sums[name].to_pylist() for name in names), strict=True))


def _summed(paid: Iterable[tuple[int, str, int]]) -> list[TuningCost]:
    spent: Counter[tuple[int, str]] = Counter()
    for size, phase, examples in paid:
        spent[size, phase] += examples
    return [
        TuningCost(
            batch_size=size,
            search=spent[size, "search"],
            shortlist=spent[size, "shortlist"],
            repeat=spent[size, "repeat"],
        )
        for size in sorted({size for size, _ in spent})
    ]

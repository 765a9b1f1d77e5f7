"""What a sweep's call did, in numbers and in two lines."""

from dataclasses import dataclass
from pathlib import Path

from models_of_scaling.tuning_cost import TuningCost


@dataclass(frozen=True, kw_only=True)
class SweepSummary:
    """What a call did, and what now stands in the folder for its study.

    Attributes:
        study: its name, a value of the table's column `study`.
        trials_folder: of the parquet files.
        num_found: trials that were there before.
        num_run: trials that this call ran.
        num_reached: of all trials now there.
        num_not_reached: of all trials now there.
        num_diverged: of all trials now there.
        wall_time_s: seconds that this call took.
        tuning_cost: examples processed by search, shortlist and repeats, by batch size.
    """

    study: str
    trials_folder: Path
    num_found: int
    num_run: int
    num_reached: int
    num_not_reached: int
    num_diverged: int
    wall_time_s: float
    tuning_cost: tuple[TuningCost, ...]

    def in_words(self) -> str:
        """Return two lines: what was run and what stands there now, and what tuning cost."""
        spent = (
            sum(getattr(each, phase) for each in self.tuning_cost)
            for phase in ("search", "shortlist", "repeat")
        )
        cost = "{:,} by the search, {:,} by the shortlist, {:,} by the repeats".format(*spent)
        ran = f"ran {self.num_run} trials" if self.num_run else "nothing to run"
        return (
            f"{self.study}: {ran} in {self.wall_time_s:.1f} s, {self.num_found} were there "
            f"already; {self.num_reached} reached, {self.num_not_reached} not reached, "
            f"{self.num_diverged} diverged; {self.trials_folder}\n"
            f"examples processed: {cost}"
        )

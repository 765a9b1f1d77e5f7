"""What was measured: one row per batch size and repeat, checked, in numpy columns."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from models_of_scaling.errors import InputError
from models_of_scaling.fitting import Bools, Integers
from models_of_scaling.likelihood import Observations
from models_of_scaling.priors import STEEPEST_EXPONENT
from models_of_scaling.quantities import Floats


@dataclass(frozen=True, kw_only=True)
class TableSource:
    """Where the rows came from.

    Attributes:
        path: file or folder, as the user wrote it.
        kind: "table" (one row per measured batch size) or "trials" (whole training runs).
        sha256: of the file; of a folder's file names and contents.
        num_rows: rows read for this workload and optimizer, for trials the number of trials.
        num_diverged: trials that diverged; kept as not reached.
        from_search: batch sizes whose value is the fewest steps of a search that nobody repeated,
            which is too few on average.
    """

    path: str
    kind: str
    sha256: str
    num_rows: int
    num_diverged: int = 0
    from_search: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SearchedCell:
    """One batch size's search and repeats in logs, for resampling whole trials.

    Attributes:
        batch_size: examples per step.
        search_log_steps: log steps of each search trial, inf where not reached.
        search_configuration: which configuration each was.
        repeat_configuration: which configuration each repeat was.
        repeat_log_low: log of the interval's low end of each repeat.
        repeat_log_high: log of its high end, inf where not reached.
    """

    batch_size: int
    search_log_steps: Floats
    search_configuration: npt.NDArray[np.uint64]
    repeat_configuration: npt.NDArray[np.uint64]
    repeat_log_low: Floats
    repeat_log_high: Floats


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """Rows of one workload, in numpy columns of one length N.

    Attributes:
        batch_size: examples per optimizer step, over all devices.
        steps: steps to target; for a row that did not reach it, the steps done.
        reached: whether the target was reached.
        steps_low: the target was not yet reached by here; equal to `steps` where exact.
        steps_high: it was reached by here; inf for a row that did not reach it.
        weight: multiplies the row's log likelihood.
        group: rows tuned alike share a word.
        workload: the word of the table, "" where it has none.
        source: where the rows came from.
        optimizer: "" where the table does not say.
        target: as `Target` prints it, "" where the table does not say.
        num_train_examples: size of the training set where it is known.
        cells: the searches behind the rows, one per batch size that has one.
    """

    batch_size: Integers
    steps: Floats
    reached: Bools
    steps_low: Floats
    steps_high: Floats
    weight: Floats
    group: npt.NDArray[np.str_]
    workload: str
    source: TableSource
    optimizer: str = ""
    target: str = ""
    num_train_examples: int | None = None
    cells: tuple[SearchedCell, ...] = field(default=())

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.batch_size)

    def take(self, rows: Bools) -> "Measurements":
        """Return only some of the rows, with the searches at their batch sizes."""
        columns = {
            name: getattr(self, name)[rows]
            for name in (
                "batch_size", "steps", "reached", "steps_low", "steps_high", "weight", "group",
            )
        }  # fmt: skip
        sizes = set(columns["batch_size"].tolist())
        cells = tuple(cell for cell in self.cells if cell.batch_size in sizes)
        return replace(self, **columns, cells=cells)

    def observations(self) -> Observations:
        """Return the rows in logs as one replicate, (1, N)."""
        with np.errstate(divide="ignore"):  # log 0 = -inf: reached by the first evaluation
            low = np.log(self.steps_low)
        return Observations(
            log_low_RN=low[None],
            log_high_RN=np.log(self.steps_high)[None],
            weight_RN=self.weight[None],
        )


def without_too_small(fitted: Measurements) -> Measurements:
    """Return the rows that a law is fitted to: none from batch sizes too small for the target.

    At a constant learning rate the noise of a small batch can keep the loss above the target for
    ever. Below the smallest batch size that reached, one where nothing did in more steps than the
    steepest law could ask is so read as too small, and not as a point of the curve; every smaller
    one with it. As censored points they contradict every law: four of them made the noise of a
    study four times what it is (digits by LARS in paper/results/sweeps). Where fewer steps were
    done the runs may have been cut short, and stay.

    Args:
        fitted: rows of which some reached.

    Returns:
        All rows, or those of larger batch sizes.
    """
    first = fitted.batch_size[fitted.reached].min()
    level = np.log(fitted.steps[fitted.reached & (fitted.batch_size == first)]).mean()
    below = np.unique(fitted.batch_size[fitted.batch_size < first])
    for size in below[::-1]:
        done = np.log(fitted.steps[fitted.batch_size == size].max())
        if done > level + STEEPEST_EXPONENT * np.log(first / size):
            kept = fitted.take(fitted.batch_size > size)
            return kept if len(np.unique(kept.batch_size)) > 1 else fitted
    return fitted


def check_identifiable(
    measurements: Measurements, *, where: str, fewest_batch_sizes: int = 2
) -> None:
    """Refuse rows that no law can be fitted to.

    Args:
        measurements: the rows to fit.
        where: file, or flag that left rows out, for the message.
        fewest_batch_sizes: 2 for a law; 1 for anchors, which only place a known one.

    Raises:
        InputError: for no row, a single batch size, no row that reached its target, or none that
            says how many steps that took at least.
    """
    if not len(measurements):
        raise InputError(f"{where}: 0 rows are left to fit; at least 2 batch sizes are needed")
    sizes = np.unique(measurements.batch_size)
    if len(sizes) < fewest_batch_sizes:
        raise InputError(
            f"{where}: column batch_size: every row has {sizes[0]}; "
            "a law needs at least 2 different batch sizes"
        )
    if not measurements.reached.any():
        raise InputError(
            f"{where}: column reached: none of the {len(measurements)} rows reached the target; "
            "a law needs at least one that did"
        )
    if not (measurements.steps_low[measurements.reached] > 0).any():
        raise InputError(
            f"{where}: column steps_low: every row that reached its target had by its first "
            "evaluation (steps_low 0), so no row says how many steps it took at least; evaluate "
            "sooner, or ask a harder target"
        )


def choose_one(values: Sequence[str], chosen: str | None, *, where: str, flag: str) -> str:
    """Return the one value that is fitted, or refuse.

    Args:
        values: the different values of a column.
        chosen: what the user asked for.
        where: file and column, for the message.
        flag: of the command line, for the message.

    Returns:
        The chosen value, or the only one.

    Raises:
        InputError: where several are there and none is chosen, or the chosen one is not there.
    """
    known = sorted(set(values))
    listed = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
    if chosen is not None:
        if chosen not in known:
            raise InputError(f"{where}: {flag} {chosen!r} is not in the table, which has: {listed}")
        return chosen
    if len(known) > 1:
        raise InputError(
            f"{where}: {len(known)} different values ({listed}) can't be fitted as one; "
            f"choose with {flag}"
        )
    return known[0] if known else ""

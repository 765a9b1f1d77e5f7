"""Bootstrap over whole trials: resample a search, choose its best again, resample its repeats.

Shapes: R = replicates, N = rows, C = batch sizes (cells), M = rows of one cell.

Two things are added to the textbook's bootstrap, because a study has one search per batch size
and few repeats. First, a replicate whose winner has no repeats of its own (only the best is run
again) takes the repeats of the winner that has them, moved by the log ratio of the two search
values: the search's value alone would be the winner's luck again. Second, resampling a minimum
moves it up (Bickel & Freedman 1981: the bootstrap of an extreme is biased), so each cell is moved
back to its measured mean: the bootstrap gives the spread, the data the centre.
"""

from dataclasses import dataclass

import numpy as np

from models_of_scaling.fitting import Integers
from models_of_scaling.likelihood import Observations
from models_of_scaling.measurements import Measurements, SearchedCell
from models_of_scaling.quantities import Floats


@dataclass(frozen=True, kw_only=True)
class CellSpread:
    """How far each batch size's mean log steps may be off, as far as its own rows tell.

    Attributes:
        spread_C: standard deviation over replicates of each cell's mean log steps.
        width_C: mean log width of the cell's intervals; 0 where its rows are exact.
    """

    spread_C: Floats
    width_C: Floats


@dataclass(frozen=True, kw_only=True)
class Resampled:
    """R data sets that another study of the same kind might have measured.

    Attributes:
        rows: (R, N) intervals of log steps; rows that a replicate lacks have weight 0.
        batch_size_N: of each row.
        cell_N: number of each row's batch size, increasing.
        spread: of each cell's mean.
    """

    rows: Observations
    batch_size_N: Floats
    cell_N: Integers
    spread: CellSpread


def resample(measured: Measurements, replicates: int, rng: np.random.Generator) -> Resampled:
    """Resample whole trials within each batch size.

    Args:
        measured: the rows and, for a folder of trials, the searches behind them.
        replicates: R.
        rng: source of randomness.

    Returns:
        The replicates.
    """
    point = measured.observations()
    searched = {cell.batch_size: cell for cell in measured.cells}
    sizes, cell_N = np.unique(measured.batch_size, return_inverse=True)
    blocks, spreads, widths = [], [], []
    for number, size in enumerate(sizes):
        at = cell_N == number
        own = Observations(
            log_low_RN=point.log_low_RN[:, at],
            log_high_RN=point.log_high_RN[:, at],
            weight_RN=point.weight_RN[:, at],
        )
        block = _resample_rows(own, replicates, rng)
        if int(size) in searched:
            block = _choose_again(searched[int(size)], block, rng)
        block, spread = _centred(block, own)
        blocks.append(block)
        spreads.append(spread)
        low, high = own.log_low_RN[0], own.log_high_RN[0]
        between = np.isfinite(low) & np.isfinite(high)
        widths.append(float((high - low)[between].mean()) if between.any() else 0.0)
    counts = [block.weight_RN.shape[1] for block in blocks]
    return Resampled(
        rows=Observations(
            log_low_RN=np.concatenate([block.log_low_RN for block in blocks], axis=1),
            log_high_RN=np.concatenate([block.log_high_RN for block in blocks], axis=1),
            weight_RN=np.concatenate([block.weight_RN for block in blocks], axis=1),
        ),
        batch_size_N=np.repeat(sizes.astype(float), counts),
        cell_N=np.repeat(np.arange(len(sizes)), counts),
        spread=CellSpread(spread_C=np.array(spreads), width_C=np.array(widths)),
    )


def _resample_rows(own: Observations, replicates: int, rng: np.random.Generator) -> Observations:
    """Draw a cell's rows with replacement."""
    count = own.weight_RN.shape[1]
    drawn = rng.integers(count, size=(replicates, count))
    return Observations(
        log_low_RN=own.log_low_RN[0][drawn],
        log_high_RN=own.log_high_RN[0][drawn],
        weight_RN=own.weight_RN[0][drawn],
    )


def _choose_again(
    cell: SearchedCell, block: Observations, rng: np.random.Generator
) -> Observations:
    """Resample the search, and take the rows that its new winner gives."""
    values = cell.search_log_steps
    reached = np.isfinite(values)
    if not reached.any():
        return block
    replicates, rows = block.weight_RN.shape
    drawn = rng.integers(len(values), size=(replicates, len(values)))
    place_R = np.argmin(values[drawn], axis=1)
    winner_R = drawn[np.arange(replicates), place_R]
    # A resample in which nothing reached is as far up as the search's slowest that did.
    value_R = np.where(reached[winner_R], values[winner_R], values[reached].max())
    shift_R = value_R - values[reached].min()
    configuration_R = cell.search_configuration[winner_R]
    repeated, count_of = np.unique(cell.repeat_configuration, return_counts=True)
    width = max([rows, *count_of.tolist()])
    low, high, weight = (
        np.concatenate([part, np.repeat(part[:, :1], width - rows, axis=1)], axis=1)
        for part in (block.log_low_RN, block.log_high_RN, block.weight_RN)
    )
    weight[:, rows:] = 0.0
    has_own_R = np.isin(configuration_R, repeated)
    moved = ~has_own_R
    low[moved] += shift_R[moved, None]
    high[moved] += shift_R[moved, None]
    for name, count in zip(repeated, count_of, strict=True):
        chosen = np.flatnonzero(configuration_R == name)
        own = np.flatnonzero(cell.repeat_configuration == name)
        drawn_own = own[rng.integers(count, size=(len(chosen), count))]
        low[chosen, :count] = cell.repeat_log_low[drawn_own]
        high[chosen, :count] = cell.repeat_log_high[drawn_own]
        weight[chosen, :count], weight[chosen, count:] = 1.0, 0.0
    return Observations(log_low_RN=low, log_high_RN=high, weight_RN=weight)


def _centred(block: Observations, own: Observations) -> tuple[Observations, float]:
    """Move a cell's replicates so that their mean is the measured one; return their spread."""
    mean_R = _measured_mean(block)
    known = np.isfinite(mean_R)
    if not known.any():
        return block, 0.0
    spread = float(np.std(mean_R[known]))
    measured = float(_measured_mean(own)[0])
    # Where some rows are censored, means over the others can't be compared.
    if not np.isfinite(measured) or not block.measured_RN[block.weight_RN > 0].all():
        return block, spread
    offset = measured - float(mean_R.mean())
    moved = Observations(
        log_low_RN=block.log_low_RN + offset,
        log_high_RN=block.log_high_RN + offset,
        weight_RN=block.weight_RN,
    )
    return moved, spread


def _measured_mean(rows: Observations) -> Floats:
    """Return the mean log steps over rows bounded from both sides; NaN where there are none."""
    weight = np.where(rows.measured_RN, rows.weight_RN, 0.0)
    total_R = weight.sum(axis=1)
    sum_R = (weight * np.where(weight > 0, rows.log_middle_RN, 0.0)).sum(axis=1)
    return np.where(total_R > 0, sum_R / np.where(total_R > 0, total_R, 1.0), np.nan)

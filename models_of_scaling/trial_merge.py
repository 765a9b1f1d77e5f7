"""Which rows of a table of trials are kept, and in which order: one per trial, by what it is.

Works on the few columns that decide it, so that the curves of a million trials are moved once.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

_ORDER: Final = ("batch_size", "phase", "seed", "trial_id")
# What `merged` needs of a table that holds only some columns.
MERGE_COLUMNS: Final = (*_ORDER, "status", "steps")


def merged(table: pa.Table) -> pa.Table:
    """Keep one row per trial and sort the rows.

    Args:
        table: with at least `MERGE_COLUMNS`.

    Returns:
        The rows by batch size, phase, seed, trial_id. Of several rows of one trial_id the one
        that ended by itself is kept, else the one with more steps, else the first.
    """
    kept = _one_per_trial(table)
    deciding = table.select(list(_ORDER))
    if kept is not None:
        deciding = deciding.take(kept)
    order = pc.sort_indices(deciding, sort_keys=[(name, "ascending") for name in _ORDER])
    return table.take(order if kept is None else kept[order.to_numpy()])


def _one_per_trial(table: pa.Table) -> npt.NDArray[np.int64] | None:
    """Return the numbers of the rows to keep; None where no trial_id repeats."""
    names = table["trial_id"].combine_chunks()
    encoded = names.dictionary_encode()
    if len(encoded.dictionary) + int(names.null_count > 0) == len(table):
        return None
    trial = pc.fill_null(encoded.indices, -1).to_numpy()
    interrupted = pc.fill_null(pc.equal(table["status"], "interrupted"), False).to_numpy()
    steps = pc.fill_null(table["steps"], -1).to_numpy()
    # Stable: of equally good rows the first comes first.
    best_first = np.lexsort((-steps, interrupted, trial))
    leads = np.diff(trial[best_first], prepend=-2) != 0
    return np.asarray(best_first[leads], dtype=np.int64)

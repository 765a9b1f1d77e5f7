"""Steps to target of each trial, and each batch size's estimate from its search and repeats.

A trial is evaluated now and then, so it reached its target somewhere after the evaluation before
and not after the first one that holds: an interval (previous step, step]. A trial that never
held, diverged or was interrupted is right-censored at the steps it did: kept, not dropped.

The estimate at one batch size is "winner from search, value from repeats": the fewest steps in a
search are too few (the winner's curse: the best of 64 is the luckiest too), so the winner is
chosen by its search value, and its value is that of its repeats with fresh seeds. Where several
configurations were repeated (one for accuracy, one for steps), the fresh seeds of the shortlist
choose among them before the search does. Where there are no repeats the search's fewest steps stand
in, and the batch size is named as such.

Everything is columnar: no Python loop over trials.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models_of_scaling.fitting import Bools, Integers
from models_of_scaling.quantities import Floats
from models_of_scaling.targets import Target

_CURVES = {
    "train_loss": "curve_train_loss",
    "validation_loss": "curve_validation_loss",
    "validation_accuracy": "curve_validation_accuracy",
}
CURVE_COLUMNS: Final = ("curve_steps", *_CURVES.values())


@dataclass(frozen=True, kw_only=True)
class TrialOutcomes:
    """When each of T trials met a target; every field is (T,).

    Attributes:
        steps: the first evaluated step at which it held, else the steps done.
        steps_low: the evaluation before (0 where there is none); the steps done if not reached.
        steps_high: as `steps` where reached, else inf.
        reached: whether it held at any evaluation.
        diverged: whether the trial's status says so, and the target was not met before.
    """

    steps: Floats
    steps_low: Floats
    steps_high: Floats
    reached: Bools
    diverged: Bools


@dataclass(frozen=True, kw_only=True)
class StudyRows:
    """The rows that stand for one batch size, with the search that chose them.

    Attributes:
        batch_size: examples per step.
        rows: numbers of the trials (rows of the table) whose steps are the estimate.
        search: numbers of the search's trials; empty where there was no search.
        configuration: one number per trial of the table, equal for equal hyper-parameters.
        repeats: numbers of all repeat trials, of any configuration.
        from_search: whether `rows` is the search's own best, which is too low on average.
    """

    batch_size: int
    rows: Integers
    search: Integers
    configuration: npt.NDArray[np.uint64]
    repeats: Integers
    from_search: bool


def trial_outcomes(table: pa.Table, target: Target) -> TrialOutcomes:
    """Ask a target of stored curves.

    Args:
        table: of `trials.TRIAL_SCHEMA`.
        target: any target, not only the one that the trials were stopped at.

    Returns:
        One entry per row of the table.
    """
    offsets, curve_steps = _flat_list(table, "curve_steps")
    value_offsets, values = _flat_list(table, _CURVES[target.metric])
    done = _numbers(table, "steps")
    if not np.array_equal(offsets, value_offsets):
        # A file of an older schema may lack one curve: such trials never show the target.
        offsets, curve_steps, values = _keep_complete(offsets, curve_steps, value_offsets, values)
    with np.errstate(invalid="ignore"):  # NaN, not measured, meets no target
        met = values >= target.value if target.direction == ">=" else values <= target.value
    hits = np.flatnonzero(met)
    next_hit = np.searchsorted(hits, offsets[:-1])
    place = np.append(hits, len(values))[next_hit]  # the first hit at or after the trial's start
    reached = place < offsets[1:]
    at = np.where(reached, place, 0)
    padded = np.append(curve_steps, 0.0)
    first = np.maximum(padded[at], 1.0)  # a target that holds untrained is met by the first step
    before = np.where(place > offsets[:-1], padded[at - 1], 0.0)
    status = table["status"].combine_chunks()
    diverged = pc.fill_null(pc.equal(status, "diverged"), False).to_numpy(zero_copy_only=False)
    return TrialOutcomes(
        steps=np.where(reached, first, done),
        steps_low=np.where(reached, np.minimum(before, first - 1), done),
        steps_high=np.where(reached, first, np.inf),
        reached=reached,
        diverged=diverged & ~reached,
    )


def study_rows(table: pa.Table, outcomes: TrialOutcomes) -> list[StudyRows]:
    """Choose, at each batch size, the rows that stand for it.

    Args:
        table: trials of one workload and one optimizer.
        outcomes: of the same trials.

    Returns:
        One entry per batch size, increasing. Trials of phase "single" stand for themselves where
        there is neither search nor repeat.
    """
    batch_size = _numbers(table, "batch_size").astype(np.int64)
    phase = table["phase"].combine_chunks()
    is_search, is_shortlist, is_repeat = (
        pc.fill_null(pc.equal(phase, word), False).to_numpy(zero_copy_only=False)
        for word in ("search", "shortlist", "repeat")
    )
    configuration = configuration_numbers(table)
    order = np.argsort(batch_size, kind="stable")
    sizes, starts = np.unique(batch_size[order], return_index=True)
    found = []
    for size, trials in zip(sizes, np.split(order, starts[1:]), strict=True):
        search, repeats = trials[is_search[trials]], trials[is_repeat[trials]]
        if repeats.size:
            rivals = search, trials[is_shortlist[trials]], repeats
            rows = repeats[configuration[repeats] == _winner(*rivals, configuration, outcomes)]
        elif search.size:
            rows = search[[_best_of(search, outcomes)]]
        else:
            rows = trials
        found.append(
            StudyRows(
                batch_size=int(size),
                rows=rows,
                search=search,
                configuration=configuration,
                repeats=repeats,
                from_search=bool(search.size and not repeats.size),
            )
        )
    return found


def _best_of(trials: Integers, outcomes: TrialOutcomes) -> int:
    """Return the place of the trial with fewest steps, else of the longest that did not reach."""
    value = np.where(outcomes.reached[trials], outcomes.steps[trials], np.inf)
    if np.isfinite(value).any():
        return int(np.argmin(value))
    return int(np.argmax(outcomes.steps[trials]))


def _winner(
    search: Integers,
    shortlist: Integers,
    repeats: Integers,
    configuration: npt.NDArray[np.uint64],
    outcomes: TrialOutcomes,
) -> np.uint64:
    """Return the repeated configuration that did best on the shortlist, in the search, or at all.

    On the shortlist and among repeats the middle of the seeds counts, unreached as infinity; ties
    of the shortlist go to the better of the search.
    """
    names = np.unique(configuration[repeats])
    if len(names) == 1:
        return np.uint64(names[0])
    steps = np.where(outcomes.reached, outcomes.steps, np.inf)

    # In one pass over the search: a name at a time is quadratic where thousands were repeated.
    places = np.searchsorted(names, configuration[search])
    known = names[np.minimum(places, len(names) - 1)] == configuration[search]
    fewest = np.full(len(names), np.inf)
    np.minimum.at(fewest, places[known], steps[search[known]])
    least = dict(zip(names, fewest, strict=True))

    def middle(trials: Integers, name: np.uint64) -> float:
        values = np.sort(steps[trials[configuration[trials] == name]])
        return float(values[(len(values) - 1) // 2])

    if np.isin(names, configuration[shortlist]).all():
        return min(names, key=lambda name: (middle(shortlist, name), least[name]))
    if np.isfinite(fewest).any():
        return np.uint64(names[np.argmin(fewest)])
    return min(names, key=lambda name: middle(repeats, name))


def steps_not_enough(trials: Integers, outcomes: TrialOutcomes) -> float:
    """Return how many steps are known not to be enough where no trial of a batch size reached.

    A trial that ran to its end without the target says so for its steps. One that diverged says
    more: no number of steps would have done, so it counts for the longest that any trial was given.

    Args:
        trials: numbers of all trials of the batch size.
        outcomes: of all trials of the table.

    Returns:
        Steps; 0 where a trial of the batch size reached the target.
    """
    if outcomes.reached[trials].any():
        return 0.0
    ran = outcomes.steps[trials[~outcomes.diverged[trials]]]
    given = outcomes.steps.max() if outcomes.diverged[trials].all() else 0.0
    return float(max(ran.max(initial=0.0), given, 1.0))


def configuration_numbers(table: pa.Table) -> npt.NDArray[np.uint64]:
    """Return one number per trial that is equal for equal hyper-parameters and settings.

    Each (name, value) pair is hashed to 64 bits and a trial's pairs are added, so their order
    does not matter and two of a million configurations collide with a chance below 1e-7.

    Args:
        table: of `trials.TRIAL_SCHEMA`.

    Returns:
        Shape (T,).
    """
    total = np.zeros(len(table), dtype=np.uint64)
    for column in ("hyper_parameters", "settings"):
        maps = table[column].combine_chunks()
        if isinstance(maps, pa.ChunkedArray):  # an empty table has no chunk to combine
            continue
        offsets = maps.offsets.to_numpy().astype(np.int64)
        keys = _text_hash(maps.keys[: offsets[-1]])
        items = maps.items[: offsets[-1]]
        words = (
            _text_hash(items)
            if pa.types.is_string(items.type)
            else pc.fill_null(items, np.nan).to_numpy(zero_copy_only=False).view(np.uint64)
        )
        pairs = _mix(keys ^ _mix(words))
        running = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(pairs, dtype=np.uint64)])
        total += _mix(running[offsets[1:]] - running[offsets[:-1]] + np.uint64(len(column)))
    return total


def _text_hash(words: pa.Array) -> npt.NDArray[np.uint64]:
    """Return 64 bits per word, equal for equal words."""
    encoded = pc.fill_null(words, "").dictionary_encode()
    numbers = [_fold(word) for word in encoded.dictionary.to_pylist()]
    places = np.asarray(encoded.indices.to_numpy(), dtype=np.int64)
    return np.array(numbers or [0], dtype=np.uint64)[places]


def _fold(word: str) -> int:
    """Return FNV-1a of the word, 64 bits; Python's own hash differs from process to process."""
    state = 0xCBF29CE484222325
    for byte in word.encode():
        state = ((state ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return state


def _mix(bits: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Scatter 64 bits (the finaliser of splitmix64, Steele et al. 2014)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(bits ^ (bits >> np.uint64(31)))


def _numbers(table: pa.Table, column: str) -> Floats:
    return np.asarray(
        pc.fill_null(table[column].combine_chunks(), 0).to_numpy(zero_copy_only=False), dtype=float
    )


def _flat_list(table: pa.Table, column: str) -> tuple[Integers, Floats]:
    """Return the offsets (T + 1,) and the values of a list column; a null is an empty list."""
    lists = table[column].combine_chunks()
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    values = pc.fill_null(pc.cast(lists.flatten(), pa.float64()), np.nan)
    return offsets, np.asarray(values.to_numpy(zero_copy_only=False), dtype=float)


def _keep_complete(
    offsets: Integers, curve_steps: Floats, value_offsets: Integers, values: Floats
) -> tuple[Integers, Floats, Floats]:
    """Empty the curves of trials whose two columns differ in length."""
    lengths, value_lengths = np.diff(offsets), np.diff(value_offsets)
    complete = lengths == value_lengths
    kept = np.where(complete, lengths, 0)
    return (
        np.concatenate([[0], np.cumsum(kept)]),
        curve_steps[np.repeat(complete, lengths)],
        values[np.repeat(complete, value_lengths)],
    )

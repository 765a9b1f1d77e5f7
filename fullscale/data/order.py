"""The order of training examples: a function of (seed, epoch, position) and of nothing else.

A run reads one endless stream: epoch 0's permutation of the training set, then epoch 1's, and so
on. Optimizer step t of a run with batch size B reads positions t B ... (t + 1) B - 1, on one
process or on 512; a batch that does not divide the training set runs over an epoch's end, so every
batch size is legal and the whole set is one exact step. The trainer and the surrogate sweeps read
the same stream.
"""

import functools

import numpy as np
from numpy.typing import NDArray

# Permutations kept in memory: a run touches one or two, a population as many as it has seeds. Of
# ImageNet each takes 10 MB.
_CACHED_EPOCHS = 8


@functools.lru_cache(maxsize=_CACHED_EPOCHS)
def epoch_permutation(
    seed: int, epoch: int, num_examples: int, words: tuple[int, ...] = ()
) -> NDArray[np.int64]:
    """Return the order of one epoch.

    Args:
        seed: of the data order, not negative.
        epoch: from 0.
        num_examples: size of the training set.
        words: of another stream beside the run's; none of them 0.

    Returns:
        Indices, shape (num_examples,), read-only.
    """
    order = np.random.default_rng([seed, epoch, *words]).permutation(num_examples)
    order.setflags(write=False)
    return order


def stream_indices(
    *, seed: int, num_examples: int, start: int, stop: int, words: tuple[int, ...] = ()
) -> NDArray[np.int64]:
    """Return the examples at stream positions start ... stop - 1.

    Args:
        seed: of the data order, not negative.
        num_examples: size of the training set.
        start: first position, not negative.
        stop: one past the last position.
        words: of another stream beside the run's.

    Returns:
        Indices into the training set, shape (stop - start,).

    >>> whole_set = stream_indices(seed=1, num_examples=5, start=10, stop=15)
    >>> sorted(whole_set.tolist())
    [0, 1, 2, 3, 4]
    """
    pieces = []
    while start < stop:
        epoch, first = divmod(start, num_examples)
        count = min(stop - start, num_examples - first)
        order = epoch_permutation(seed, epoch, num_examples, words)
        pieces.append(order[first : first + count])
        start += count
    return np.concatenate(pieces) if pieces else np.empty(0, dtype=np.int64)

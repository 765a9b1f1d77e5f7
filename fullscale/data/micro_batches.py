"""The forwards of a run as two sequences: element i is forward i of one rank.

An element is a function of its number, so a loader's workers, a restart in the middle or another
world size change nothing but who computes what. A forward without an example gets one filler of
weight 0: no forward is empty, and all ranks do the same number of forwards (DDP's collectives would
wait for ever otherwise).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from fullscale.batch_layout import BatchLayout, even_slice
from fullscale.data.image_source import ImageSource
from fullscale.data.order import stream_indices

# Images (b, channels, height, width); labels (b,); weights (b,), 1 or, for a filler, 0.
MicroBatch = tuple[Tensor, Tensor, Tensor]


class _MicroBatches(Dataset[MicroBatch], ABC):
    """A sequence of forwards."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of forwards."""

    @abstractmethod
    def __getitem__(self, forward: int) -> MicroBatch:
        """Return the batch of one forward."""

    def __iter__(self) -> Iterator[MicroBatch]:
        """Go through the forwards in order."""
        return (self[forward] for forward in range(len(self)))


class TrainMicroBatches(_MicroBatches):
    """All training forwards of one rank, over the whole run."""

    def __init__(
        self,
        source: ImageSource,
        *,
        layout: BatchLayout,
        rank: int,
        num_steps: int,
        seed: int,
        first_step: int = 0,
    ) -> None:
        """Describe the sequence.

        Args:
            source: the data set.
            layout: how each step is cut.
            rank: of this process.
            num_steps: optimizer steps of the run.
            seed: of the data order, not negative.
            first_step: optimizer steps that an earlier part of the run has done.
        """
        self._first_step = first_step
        self._source = source
        self._layout = layout
        self._rank = rank
        self._num_steps = num_steps
        self._seed = seed

    def __len__(self) -> int:
        """Return the number of forwards."""
        return (self._num_steps - self._first_step) * self._layout.accumulate_grad_batches

    def __getitem__(self, forward: int) -> MicroBatch:
        """Return the batch of one forward."""
        step, part = divmod(forward, self._layout.accumulate_grad_batches)
        places = self._layout.micro_batch(rank=self._rank, forward=part)
        weight = 1.0 if places else 0.0
        first = (self._first_step + step) * self._layout.global_batch_size
        positions = range(first + places.start, first + places.stop) or range(first, first + 1)
        indices = stream_indices(
            seed=self._seed,
            num_examples=self._source.num_train_examples,
            start=positions.start,
            stop=positions.stop,
        )
        images, labels = self._source.train_batch(indices, positions)
        return images, labels, torch.full((len(labels),), weight)


class ValidationMicroBatches(_MicroBatches):
    """One rank's share of the validation set, in as many forwards as every other rank's."""

    def __init__(self, source: ImageSource, *, world_size: int, rank: int, batch_size: int) -> None:
        """Describe the sequence.

        Args:
            source: the data set.
            world_size: processes.
            rank: of this process.
            batch_size: examples in the largest forward.
        """
        self._source = source
        total = source.num_validation_examples
        self._share = even_slice(total, parts=world_size, part=rank)
        # Rank 0 has the largest share: its number of forwards is everyone's.
        self._num_batches = -(-len(even_slice(total, parts=world_size, part=0)) // batch_size)

    def __len__(self) -> int:
        """Return the number of forwards."""
        return self._num_batches

    def __getitem__(self, forward: int) -> MicroBatch:
        """Return the batch of one forward."""
        part = even_slice(len(self._share), parts=self._num_batches, part=forward)
        rows = self._share[part.start : part.stop]
        images, labels = self._source.validation_batch(np.array(rows or [0], dtype=np.int64))
        # A picture that can't be decoded has a negative label: it counts no more than a filler.
        weights = (labels >= 0).to(torch.float32) * (1.0 if rows else 0.0)
        return images, labels.clamp(min=0), weights

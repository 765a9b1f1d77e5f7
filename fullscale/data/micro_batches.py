"""The forwards of a run as two sequences: element i is forward i of one rank.

An element is a function of its number, so a loader's workers, a restart in the middle or another
world size change nothing but who computes what. A forward without an example gets one filler of
weight 0: no forward is empty, and all ranks do the same number of forwards (DDP's collectives would
wait for ever otherwise).
"""

import bisect
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from fullscale.batch_growth import BatchPhases
from fullscale.batch_layout import BatchLayout, even_slice
from fullscale.data.image_source import ImageSource
from fullscale.data.mixup import mixed_batch
from fullscale.data.order import stream_indices

# Images (b, channels, height, width); labels (b,), or (b, classes) under mixup; weights (b,), 1 or,
# for a filler, 0.
MicroBatch = tuple[Tensor, Tensor, Tensor]


# Third word of the seeds of groups' own orders: 1 is the augmentation's, 2 and 3 are mixup's.
_WORKER_STREAM = 4


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


class _Part(NamedTuple):
    """Steps of one layout, in a rank's sequence of forwards."""

    first_forward: int
    first_example: int
    layout: BatchLayout


@dataclass(frozen=True, kw_only=True)
class WorkerOrders:
    """From a step on, groups of ranks read the whole set, each in an order of its own.

    Attributes:
        first_step: of the groups' own streams.
        group_size: ranks that share a stream, consecutive ones; it divides the world size, and
            that the batch.
    """

    first_step: int
    group_size: int


class ForwardKey(NamedTuple):
    """A forward by itself, whatever comes before or after."""

    first_example: int
    batch_size: int
    number: int


class TrainMicroBatches(_MicroBatches):
    """All training forwards of one rank, over the whole run."""

    def __init__(  # noqa: PLR0913 - what a forward is a function of
        self,
        source: ImageSource,
        *,
        layout: BatchLayout,
        rank: int,
        num_steps: int,
        seed: int,
        first_step: int = 0,
        phases: BatchPhases | None = None,
        mixup_alpha: float = 0.0,
        worker_orders: WorkerOrders | None = None,
    ) -> None:
        """Describe the sequence.

        Args:
            source: the data set.
            layout: how each step is cut; where the batch grows, each of the first phase.
            rank: of this process.
            num_steps: optimizer steps of the run.
            seed: of the data order, not negative.
            first_step: optimizer steps that an earlier part of the run has done.
            phases: of the batch; it does not grow when not given.
            mixup_alpha: of the blend with a second example; 0 for none.
            worker_orders: of groups of ranks that train apart; all read one stream when not given.
        """
        self._worker_orders = worker_orders
        self._source = source
        self._layout = layout
        self._rank = rank
        self._seed = seed
        self._mixup_alpha = mixup_alpha
        phases = phases or BatchPhases.constant(layout.global_batch_size)
        # The phases that are still to come, each from its first step and forward here.
        self._parts: list[_Part] = []
        self._num_forwards = 0
        ends = [phase.first_step for phase in phases.phases[1:]] + [num_steps]
        for phase, end in zip(phases.phases, ends, strict=True):
            first, last = max(phase.first_step, first_step), min(end, num_steps)
            if first < last:
                cut = replace(layout, global_batch_size=phase.batch_size)
                self._parts.append(_Part(self._num_forwards, phases.examples(first), cut))
                self._num_forwards += (last - first) * cut.accumulate_grad_batches
        self._starts = [part.first_forward for part in self._parts]

    def __len__(self) -> int:
        """Return the number of forwards."""
        return self._num_forwards

    def __getitem__(self, forward: int | ForwardKey) -> MicroBatch:
        """Return the batch of one forward."""
        if isinstance(forward, ForwardKey):
            layout = replace(self._layout, global_batch_size=forward.batch_size)
            first, number = forward.first_example, forward.number
        else:
            part = self._parts[bisect.bisect_right(self._starts, forward) - 1]
            layout = part.layout
            step, number = divmod(forward - part.first_forward, layout.accumulate_grad_batches)
            first = part.first_example + step * layout.global_batch_size
        places = layout.micro_batch(rank=self._rank, forward=number)
        weight = 1.0 if places else 0.0
        positions = range(first + places.start, first + places.stop) or range(first, first + 1)
        indices = self._indices(positions, layout)
        if self._mixup_alpha:
            images, labels = mixed_batch(
                self._source, indices, positions, seed=self._seed, alpha=self._mixup_alpha
            )
        else:
            images, labels = self._source.train_batch(indices, positions)
        return images, labels, torch.full((len(labels),), weight)

    def _indices(self, positions: range, layout: BatchLayout) -> NDArray[np.int64]:
        """Return the examples at positions of the run's stream, or of this rank's own one."""
        batch_size, orders = layout.global_batch_size, self._worker_orders
        start = positions.start
        words: tuple[int, ...] = ()
        if orders is not None and start >= orders.first_step * batch_size:
            # The group's stream has its share of each step since.
            group, share = self._rank // orders.group_size, orders.group_size
            share = share * batch_size // layout.world_size
            step, place = divmod(start, batch_size)
            # A filler's place is the step's first, which may lie before the group's own.
            start = (step - orders.first_step) * share + max(place - group * share, 0)
            words = (_WORKER_STREAM, group + 1)
        return stream_indices(
            seed=self._seed,
            num_examples=self._source.num_train_examples,
            start=start,
            stop=start + len(positions),
            words=words,
        )


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

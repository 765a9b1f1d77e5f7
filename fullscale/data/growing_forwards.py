"""Forwards whose steps are decided while a run goes on, handed out in order by the main process.

A loader's workers hold copies of the data set that learn of nothing, so what they are told to make
says all of it: a key. What they have begun of steps that have become others is made anew, so that a
decision takes effect at the next step on any number of devices and workers. torch only.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from torch.utils.data import DataLoader, Dataset

from fullscale.batch_growth import BatchPhases
from fullscale.batch_layout import BatchLayout
from fullscale.data.micro_batches import ForwardKey, MicroBatch, TrainMicroBatches


class GrowingForwards:
    """The forwards of a run whose phases may still change, as keys in their order.

    Attributes:
        phases: of the batch, as far as they are known.
        num_steps: of the run.
        next_step: the first step of which no forward was handed out yet.
        decisions: how often steps became others; who has handed out more begins again.
    """

    def __init__(
        self, *, layout: BatchLayout, phases: BatchPhases, first_step: int, num_steps: int
    ) -> None:
        """Begin where a run begins or goes on.

        Args:
            layout: how each step of the first phase is cut.
            phases: as far as they are known.
            first_step: of this part of the run.
            num_steps: of the run.
        """
        self._layout = layout
        self.phases = phases
        self.num_steps = num_steps
        self.next_step = first_step
        self.decisions = 0

    def __iter__(self) -> Iterator[ForwardKey]:
        """Go through the forwards, looking at the phases anew for each step."""
        while self.next_step < self.num_steps:
            step = self.next_step
            size = self.phases.at(step).batch_size
            self.next_step += 1
            first = self.phases.examples(step)
            cut = replace(self._layout, global_batch_size=size)
            for number in range(cut.accumulate_grad_batches):
                yield ForwardKey(first, size, number)

    def change(self, phases: BatchPhases, *, first_step: int, num_steps: int) -> None:
        """Hand out other steps from one on.

        Args:
            phases: of the batch, as far as they are known now.
            first_step: that is not done yet.
            num_steps: of the run.
        """
        self.phases, self.num_steps, self.next_step = phases, num_steps, first_step
        self.decisions += 1

    def __len__(self) -> int:
        """Return more than there are: steps end the run, and how many forwards is not known."""
        return 1 << 40


class KeyedBatches(Dataset[MicroBatch]):
    """Batches made in line, in the order of keys."""

    def __init__(self, batches: TrainMicroBatches, keys: GrowingForwards) -> None:
        """Pair them.

        Args:
            batches: by key.
            keys: in order.
        """
        self._batches = batches
        self._keys = keys

    def __len__(self) -> int:
        """Return the keys' number."""
        return len(self._keys)

    def __iter__(self) -> Iterator[MicroBatch]:
        """Go through the batches."""
        return (self._batches[key] for key in self._keys)


class WorkerBatches(Dataset[MicroBatch]):
    """Batches made by workers, in the order of keys."""

    def __init__(self, loader: DataLoader[MicroBatch], keys: GrowingForwards) -> None:
        """Pair them.

        Args:
            loader: whose sampler is the keys and whose workers stay.
            keys: in order.
        """
        self._loader = loader
        self._keys = keys

    @property
    def _iterator(self) -> Any:
        """Who has the workers: Lightning ends them by this name of a loader's."""
        return self._loader._iterator  # noqa: SLF001

    @_iterator.setter
    def _iterator(self, iterator: Any) -> None:
        self._loader._iterator = iterator  # noqa: SLF001

    def __len__(self) -> int:
        """Return the keys' number."""
        return len(self._keys)

    def __iter__(self) -> Iterator[MicroBatch]:
        """Go through the batches; after a decision the workers begin again, at the next step."""
        decisions = -1
        while decisions != self._keys.decisions:
            decisions = self._keys.decisions
            for batch in self._loader:
                yield batch
                if decisions != self._keys.decisions:
                    break

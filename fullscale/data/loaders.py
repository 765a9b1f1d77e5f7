"""A run's forwards as loaders: over its training stream and over the validation set. torch only."""

import torch
from torch.utils.data import DataLoader, Dataset

from fullscale.batch_growth import BatchPhase, BatchPhases
from fullscale.data.growing_forwards import GrowingForwards, KeyedBatches, WorkerBatches
from fullscale.data.image_source import ImageSource
from fullscale.data.micro_batches import (
    MicroBatch,
    TrainMicroBatches,
    ValidationMicroBatches,
    WorkerOrders,
)
from fullscale.data.worker_signals import leave_signals_to_the_trainer
from fullscale.run_plan import RunPlan


class RunLoaders:
    """What a data module knows of a run, and the loaders that follow from it.

    Attributes:
        seed: of the data order.
        num_workers: processes per device that prepare batches.
        mixup_alpha: of the blend with a second example; 0 for none.
        first_step: of this part of the run; later than 0 where it is resumed.
        worker_orders: of processes that train apart.
        noise_growth: how the batch grows by measured noise, in words.
    """

    seed: int
    num_workers: int
    mixup_alpha: float

    def __init__(self) -> None:
        """Begin with nothing known."""
        super().__init__()
        self.first_step = 0
        self.worker_orders: WorkerOrders | None = None
        self.noise_growth: dict[str, str] = {}
        self._source: ImageSource | None = None
        self._plan: RunPlan | None = None
        self._forwards: GrowingForwards | None = None

    @property
    def source(self) -> ImageSource:
        """The data set, once opened by `prepare_run`."""
        assert self._source is not None
        return self._source

    @property
    def plan(self) -> RunPlan:
        """The run's plan, once made by `prepare_run`."""
        assert self._plan is not None
        return self._plan

    @property
    def rank(self) -> int:
        """Whose share of the examples this process has."""
        raise NotImplementedError

    @property
    def steps_done(self) -> int:
        """Optimizer steps of the run so far."""
        raise NotImplementedError

    def train_dataloader(self) -> Dataset[MicroBatch] | DataLoader[MicroBatch]:
        """Return this rank's forwards over the whole run."""
        batches = TrainMicroBatches(
            self.source,
            layout=self.plan.layout,
            phases=self.plan.phases,
            worker_orders=self.worker_orders,
            mixup_alpha=self.mixup_alpha,
            rank=self.rank,
            first_step=self.first_step,
            num_steps=self.plan.stop_steps,
            seed=self.seed,
        )
        if not self.plan.growth.by_noise:
            return self._loader(batches, range(len(batches)))
        self._forwards = GrowingForwards(
            layout=self.plan.layout,
            phases=self.plan.phases,
            first_step=self.first_step,
            num_steps=self.plan.stop_steps,
        )
        loader = self._loader(batches, self._forwards)
        if isinstance(loader, DataLoader):
            return WorkerBatches(loader, self._forwards)
        return KeyedBatches(batches, self._forwards)

    def grow(self, batch_size: int) -> int:
        """Enlarge the batch from the next step on; called at the end of a step.

        Args:
            batch_size: examples per optimizer step; the same on all ranks, which all must call.

        Returns:
            That step.
        """
        step = self.steps_done
        following = BatchPhase(
            first_step=step, first_example=self.plan.examples(step), batch_size=batch_size
        )
        kept = [each for each in self.plan.phases.phases if each.first_step < step]
        self.use_phases(BatchPhases((*kept, following)))
        return step

    def use_phases(self, phases: BatchPhases) -> None:
        """Go on by phases that were decided while the run went on.

        Args:
            phases: of the run, from its start.
        """
        self._plan = self.plan.with_phases(phases)
        if self._forwards is not None:
            self._forwards.change(
                phases, first_step=self.steps_done, num_steps=self._plan.stop_steps
            )

    def first_steps_dataloader(
        self, num_steps: int
    ) -> Dataset[MicroBatch] | DataLoader[MicroBatch]:
        """Return this rank's forwards over the first steps of the stream, apart from the run's.

        Args:
            num_steps: of the first batch.
        """
        batches = TrainMicroBatches(
            self.source,
            layout=self.plan.layout,
            mixup_alpha=self.mixup_alpha,
            rank=self.rank,
            num_steps=num_steps,
            seed=self.seed,
        )
        return self._loader(batches, range(len(batches)))

    def val_dataloader(self) -> Dataset[MicroBatch] | DataLoader[MicroBatch]:
        """Return this rank's forwards over its share of the validation set."""
        batches = ValidationMicroBatches(
            self.source,
            world_size=self.plan.layout.world_size,
            rank=self.rank,
            batch_size=self.plan.layout.max_per_device_batch_size,
        )
        return self._loader(batches, range(len(batches)))

    def _loader(
        self,
        batches: TrainMicroBatches | ValidationMicroBatches,
        keys: range | GrowingForwards,
    ) -> Dataset[MicroBatch] | DataLoader[MicroBatch]:
        if not self.num_workers:
            return batches
        return DataLoader(
            batches,
            batch_size=None,
            sampler=keys,
            num_workers=self.num_workers,
            persistent_workers=True,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=leave_signals_to_the_trainer,
        )

"""The LightningDataModule: the whole run as one stream, cut exactly over processes and forwards."""

from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch.utils.data import DataLoader, Dataset

from fullscale.batch_layout import BatchLayout
from fullscale.data.image_source import ImageSource, open_image_source
from fullscale.data.micro_batches import MicroBatch, TrainMicroBatches, ValidationMicroBatches
from fullscale.run_plan import RunPlan, plan_run
from models_of_scaling.errors import InputError


class ImageData(LightningDataModule):
    """An image data set; `global_batch_size` is the only batch that a user gives.

    Lightning sees one epoch: all forwards of the run. Which examples are in which optimizer step
    depends on (seed, position) alone; see `fullscale.data.order`.
    """

    def __init__(  # noqa: PLR0913 - each argument is a flag of the command line
        self,
        *,
        global_batch_size: int,
        name: str = "digits",
        root: Path | None = None,
        seed: int = 0,
        max_per_device_batch_size: int = 1024,
        evaluate_every: str = "1 epochs",
        num_workers: int = 0,
        image_size: int = 224,
        train_duration: str = "20 epochs",
    ) -> None:
        """Describe the data; nothing is read yet.

        Args:
            global_batch_size: examples per optimizer step, over all devices.
            name: digits or image_folder.
            root: folder with train/CLASS/* and val/CLASS/*; for image_folder.
            seed: of the data order, the augmentation and the initialisation.
            max_per_device_batch_size: examples that a device can hold in one forward.
            evaluate_every: time between evaluations, for example "1 epochs" or "100 steps".
            num_workers: processes per device that prepare batches; 0 prepares them in line.
            image_size: side of the training images, pixels; for image_folder.
            train_duration: the run's length; follows --model.train_duration.

        Raises:
            InputError: where a number is negative.
        """
        super().__init__()
        for flag, value in (("seed", seed), ("num_workers", num_workers)):
            if value < 0:
                raise InputError(f"--data.{flag} {value} must not be negative")
        self.dataset = name
        self.seed = seed
        self._global_batch_size = global_batch_size
        self._root = root
        self._max_per_device_batch_size = max_per_device_batch_size
        self._num_workers = num_workers
        self._image_size = image_size
        self.evaluate_every = evaluate_every
        self.train_duration = train_duration
        self._source: ImageSource | None = None
        self._plan: RunPlan | None = None

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

    def prepare_run(self, trainer: Trainer) -> None:
        """Open the data, plan the run and tell the trainer about its forwards.

        Called before any process is started or joined, so that wrong input ends the run at once,
        in an InputError.

        Args:
            trainer: its devices and nodes give the world size, its limits shorten the run.
        """
        layout = BatchLayout(
            global_batch_size=self._global_batch_size,
            world_size=trainer.num_nodes * trainer.num_devices,
            max_per_device_batch_size=self._max_per_device_batch_size,
        )
        self._source = open_image_source(
            self.dataset, root=self._root, image_size=self._image_size, seed=self.seed
        )
        self._plan = plan_run(
            layout=layout,
            num_train_examples=self._source.num_train_examples,
            train_duration=self.train_duration,
            evaluate_every=self.evaluate_every,
            max_steps=trainer.max_steps if trainer.max_steps >= 0 else None,
            max_epochs=trainer.max_epochs if (trainer.max_epochs or -1) >= 0 else None,
        )
        trainer.accumulate_grad_batches = layout.accumulate_grad_batches
        trainer.val_check_interval = (
            self._plan.evaluate_every_steps * layout.accumulate_grad_batches
        )
        trainer.check_val_every_n_epoch = None
        # Lightning's epoch is the whole run; the user's limits are in the plan now.
        trainer.fit_loop.max_epochs = 1
        if getattr(trainer, "fast_dev_run", False):
            # Lightning counts forwards there; the plan has counted optimizer steps.
            trainer.limit_train_batches = 1.0

    def train_dataloader(self) -> Dataset[MicroBatch] | DataLoader[MicroBatch]:
        """Return this rank's forwards over the whole run."""
        return self._loader(
            TrainMicroBatches(
                self.source,
                layout=self.plan.layout,
                rank=self._rank(),
                num_steps=self.plan.stop_steps,
                seed=self.seed,
            )
        )

    def val_dataloader(self) -> Dataset[MicroBatch] | DataLoader[MicroBatch]:
        """Return this rank's forwards over its share of the validation set."""
        return self._loader(
            ValidationMicroBatches(
                self.source,
                world_size=self.plan.layout.world_size,
                rank=self._rank(),
                batch_size=self._max_per_device_batch_size,
            )
        )

    def _rank(self) -> int:
        assert self.trainer is not None
        return self.trainer.global_rank

    def _loader(
        self, batches: TrainMicroBatches | ValidationMicroBatches
    ) -> Dataset[MicroBatch] | DataLoader[MicroBatch]:
        if not self._num_workers:
            return batches
        return DataLoader(
            batches,
            batch_size=None,
            sampler=range(len(batches)),
            num_workers=self._num_workers,
            persistent_workers=True,
            pin_memory=torch.cuda.is_available(),
        )

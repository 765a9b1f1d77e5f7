"""The LightningDataModule: the whole run as one stream, cut exactly over processes and forwards."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from lightning.pytorch import LightningDataModule, Trainer

from fullscale.batch_growth import BatchGrowth, parse_table
from fullscale.batch_layout import BatchLayout
from fullscale.data.image_source import ImageSource, SourceOptions, open_image_source
from fullscale.data.loaders import RunLoaders
from fullscale.data.memory_sets import MEMORY_SETS
from fullscale.data.micro_batches import MicroBatch
from fullscale.data.mixup import check_mixup
from fullscale.data.planned import is_here, planned_data
from fullscale.run_plan import plan_run
from fullscale.strategies import processes_per_share
from models_of_scaling.errors import InputError

# Examples in one forward until it is known what a device holds: more than any step has.
_EVERYTHING = 1 << 40


class ImageData(RunLoaders, LightningDataModule):
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
        max_per_device_batch_size: int | Literal["auto"] = 1024,
        evaluate_every: str = "1 epochs",
        num_workers: int = 0,
        image_size: int = 224,
        train_duration: str = "20 epochs",
        batch_norm_span: int | None = None,
        num_classes: int | None = None,
        num_examples: int | None = None,
        classes: Path | None = None,
        images: Path | None = None,
        max_damaged_share: float = 0.0,
        scaled_decoding: bool = False,
        mixup_alpha: float = 0.0,
        grow_with_decay: bool = False,
        batch_phases: list[str] | None = None,
        grow_by_noise: bool = False,
        max_global_batch_size: int | None = None,
        schedule_pieces: dict[str, tuple[float, ...]] | None = None,
        adapt_regime_from: int | None = None,
    ) -> None:
        """Describe the data; nothing is read yet.

        Args:
            global_batch_size: examples per optimizer step, over all devices.
            name: digits, mnist, fashion_mnist, cifar10, cifar100, image_folder, tar_shards,
                litdata, uint8_shards or synthetic.
            root: folder with train and val: a tree of class folders, or what
                `python -m fullscale.data.prepare` wrote.
            seed: of the data order, the augmentation and the initialisation.
            max_per_device_batch_size: examples that a device can hold in one forward; auto tries
                out the largest power of two that fits on every device.
            evaluate_every: time between evaluations, for example "1 epochs" or "100 steps".
            num_workers: processes per device that prepare batches; 0 prepares them in line.
            image_size: side of the training images, pixels, to which pictures are resized; digits,
                mnist and the other small sets keep their own.
            train_duration: the run's length; follows --model.train_duration.
            batch_norm_span: examples per statistic; follows --model.batch_norm_span.
            num_classes: that the data must have, 1000 for ImageNet; of synthetic images, how many.
            num_examples: of synthetic training images, or of a dry run's data that are not here;
                ImageNet's 1,281,167 when not given.
            classes: list of the classes to read, one a line; line k is label k.
            images: list of the pictures to read, one a line: train/CLASS/FILE or val/CLASS/FILE.
            max_damaged_share: of each split, that is named and skipped where it can't be decoded;
                more is an error.
            scaled_decoding: decode a JPEG no larger than its crop needs: quicker, another picture.
            mixup_alpha: blend each training example with a second one by a share from
                Beta(alpha, alpha) (Zhang et al. 2017); 0 for none.
            grow_with_decay: where the schedule divides the rate, multiply the batch instead (Smith
                et al. 2017); for step, slow_start and piecewise.
            batch_phases: larger batches and where they begin, for example ["30 epochs: 65536"].
            grow_by_noise: enlarge the batch by the measured noise scale; see --grow_by_noise.share.
            max_global_batch_size: that a batch may grow to; the training set when not given.
            schedule_pieces: where the schedule drops; follows --model.schedule.
            adapt_regime_from: follows --model.adapt_regime_from.

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
        self._batch_norm_span = batch_norm_span
        self.num_workers = num_workers
        self._image_size = image_size
        self._source_options = SourceOptions(
            num_classes=num_classes,
            num_examples=num_examples,
            classes=classes,
            images=images,
            max_damaged_share=max_damaged_share,
            scaled_decoding=scaled_decoding,
        )
        check_mixup(mixup_alpha)
        self.mixup_alpha = mixup_alpha
        self._growth = BatchGrowth(
            with_decay=grow_with_decay,
            table=parse_table(batch_phases or ()),
            by_noise=grow_by_noise,
            largest=max_global_batch_size,
            **(schedule_pieces or {}),
        )
        self._adapted_from = adapt_regime_from
        self.evaluate_every = evaluate_every
        self.train_duration = train_duration
        self.copies = 1
        self.assumed = ""  # of a dry run's data that are not here, in words

    @property
    def choices(self) -> dict[str, str]:
        """What the trial's settings say of the data beside their name and seed."""
        chosen = self._source_options.choices()
        if self.dataset not in {"digits", *MEMORY_SETS}:
            chosen["image_size"] = str(self._image_size)
        if self.mixup_alpha:
            chosen["mixup_alpha"] = f"{self.mixup_alpha:g}"
        if self._adapted_from is not None:
            chosen["adapt_regime_from"] = str(self._adapted_from)
        chosen |= self.noise_growth
        if self._growth.grows and not self._growth.by_noise:
            # The steps at which batches begin follow from the run's settings.
            chosen["batch_phases"] = self.plan.phases.describe()
        return chosen

    def prepare_run(self, trainer: Trainer) -> None:
        """Open the data, plan the run and tell the trainer about its forwards.

        Called before any process is started or joined, so that wrong input ends the run at once,
        in an InputError.

        Args:
            trainer: its devices and nodes give the world size, its limits shorten the run.
        """
        self.copies = processes_per_share(trainer)
        layout = self._layout(trainer.num_nodes * trainer.num_devices // self.copies)
        limits = (trainer.max_steps, trainer.max_epochs)
        self._plan_with(self._open(), layout=layout, limits=limits)
        self._tell(trainer)
        # Lightning's epoch is the whole run; the user's limits are in the plan now.
        trainer.fit_loop.max_epochs = 1

    def prepare_dry_run(
        self, *, processes: int, copies: int, limits: tuple[int | None, int | None]
    ) -> None:
        """Plan a run whose data and devices need not be here.

        Where the data are not here, they are planned by their size: see `planned_data`.

        Args:
            processes: of the run.
            copies: of them that see the same examples.
            limits: the Trainer's max_steps and max_epochs.
        """
        self.copies = copies
        layout = self._layout(processes // copies)
        options, name = self._source_options, self.dataset
        source: ImageSource
        if is_here(name, root=self._root, options=options):
            source = self._open()
        else:
            planned = planned_data(name, image_size=self._image_size, options=options)
            source, self.assumed = planned.source, planned.assumed
        self._plan_with(source, layout=layout, limits=limits)

    def _open(self) -> ImageSource:
        return open_image_source(
            self.dataset,
            root=self._root,
            image_size=self._image_size,
            seed=self.seed,
            options=self._source_options,
        )

    def _plan_with(
        self,
        source: ImageSource,
        *,
        layout: BatchLayout,
        limits: tuple[int | None, int | None],
    ) -> None:
        self._source = source
        max_steps, max_epochs = (
            limit if limit is not None and limit >= 0 else None for limit in limits
        )
        self._plan = plan_run(
            layout=layout,
            num_train_examples=self._source.num_train_examples,
            train_duration=self.train_duration,
            evaluate_every=self.evaluate_every,
            max_steps=max_steps,
            max_epochs=max_epochs,
            growth=self._growth,
            adapted_from=self._adapted_from,
        )

    def _layout(self, world_size: int) -> BatchLayout:
        """Return the cut of a step; until a device's limit is known, one forward holds all."""
        limit = self._max_per_device_batch_size
        return BatchLayout(
            global_batch_size=self._global_batch_size,
            world_size=world_size,
            max_per_device_batch_size=_EVERYTHING if limit == "auto" else limit,
            batch_norm_span=self._batch_norm_span,
        )

    @property
    def probes_memory(self) -> bool:
        """Whether the limit of a device is still to be found."""
        return self._max_per_device_batch_size == "auto"

    def set_per_device_limit(self, trainer: Trainer, limit: int) -> None:
        """Cut the steps anew, once it is known what a device can hold.

        Args:
            trainer: not yet training.
            limit: the same on all ranks.
        """
        self._max_per_device_batch_size = limit
        self._plan = replace(self.plan, layout=self._layout(self.plan.layout.world_size))
        self._tell(trainer)

    def _tell(self, trainer: Trainer) -> None:
        """Set what Lightning counts in forwards."""
        layout = self.plan.layout
        trainer.accumulate_grad_batches = layout.accumulate_grad_batches
        trainer.val_check_interval = self.plan.evaluate_every_steps * layout.accumulate_grad_batches
        trainer.check_val_every_n_epoch = None
        if getattr(trainer, "fast_dev_run", False):
            # Lightning counts forwards there; the plan has counted optimizer steps.
            trainer.limit_train_batches = 1.0

    def on_after_batch_transfer(self, batch: MicroBatch, dataloader_idx: int) -> MicroBatch:
        """Normalise uint8 images where the network is; the weights have the run's precision."""
        images, labels, weights = batch
        normalization = self.source.normalization
        if normalization is not None:
            images = normalization.apply(images, dtype=weights.dtype)
        return images, labels, weights

    @property
    def rank(self) -> int:
        """Whose share of the examples this process has."""
        assert self.trainer is not None
        return self.trainer.global_rank // self.copies

    @property
    def steps_done(self) -> int:
        """Optimizer steps of the run so far."""
        assert self.trainer is not None
        return self.trainer.global_step

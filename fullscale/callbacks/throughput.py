"""Images a second and seconds a step, of training alone.

The clock runs while steps are done, waiting for data included; it stands still in evaluations and
while other callbacks save or write. Examples are counted as they pass, so the figure is right
whatever the batch of a step was.
"""

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from fullscale.data.micro_batches import MicroBatch
from fullscale.module import Classifier
from models_of_scaling.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What was done in a time.

    Attributes:
        steps: optimizer steps.
        examples: processed in them, on all devices together.
        seconds: of training.
        num_devices: of the run.
    """

    steps: int = 0
    examples: int = 0
    seconds: float = 0.0
    num_devices: int = 1

    @property
    def images_per_s(self) -> float:
        """On all devices together; NaN before the first step that counts."""
        return self.examples / self.seconds if self.seconds else math.nan

    @property
    def images_per_s_per_device(self) -> float:
        """On each device."""
        return self.images_per_s / self.num_devices

    @property
    def step_time_s(self) -> float:
        """Mean over the steps; NaN before the first that counts."""
        return self.seconds / self.steps if self.steps else math.nan


class Throughput(Callback):
    """Counts and times. It must come after what judges a step and before what saves.

    Attributes:
        latest: since the evaluation before; empty where no step since then counts.
        total: since the start of this part of the run, without its first steps.
    """

    def __init__(self, *, warmup_steps: int = 10) -> None:
        """Set what is left out.

        Args:
            warmup_steps: first optimizer steps, here or after a resumption, that are not timed.

        Raises:
            InputError: where it is negative.
        """
        if warmup_steps < 0:
            raise InputError(f"--throughput.warmup_steps {warmup_steps} must not be negative")
        self.warmup_steps = warmup_steps
        self.latest = Speed()
        self.total = Speed()
        self._steps_seen = 0
        self._to_skip = 0
        self._examples_of_step = 0
        self._clear()

    def _clear(self) -> None:
        self._steps = self._examples = 0
        self._seconds = self._seconds_of_step = 0.0
        self.resume_clock()

    def resume_clock(self) -> None:
        """Let the clock run on, after something that is not training."""
        self._since = time.perf_counter()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin."""
        self._steps_seen = trainer.global_step
        self._to_skip = self.warmup_steps
        self._clear()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: MicroBatch,
        batch_idx: int,
    ) -> None:
        """Count one forward; at the end of a step, the step."""
        self._seconds_of_step += time.perf_counter() - self._since
        _, labels, weights = batch
        # A filler comes alone. Only there a weight is looked at: on a GPU that waits for it.
        examples = labels.shape[0]
        self._examples_of_step += examples if examples > 1 else int(weights.sum().item() > 0)
        steps = trainer.global_step
        if steps == self._steps_seen:
            return
        self._steps_seen = steps
        if self._to_skip:
            self._to_skip -= 1
        else:
            self._steps += 1
            self._examples += self._examples_of_step
            self._seconds += self._seconds_of_step
        self._examples_of_step, self._seconds_of_step = 0, 0.0

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sum up what came since the evaluation before: all ranks together."""
        if not trainer.sanity_checking:
            self._sum_up(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sum up the rest."""
        self._sum_up(trainer, pl_module)

    def _sum_up(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, Classifier)
        if not self._steps:
            # Alike on all ranks.
            self.latest = Speed()
            return
        examples = self._examples
        if trainer.world_size > 1:
            counted = torch.tensor(examples, device=module.device, dtype=torch.int64)
            torch.distributed.all_reduce(counted)
            examples = int(counted.item()) // module.data.copies
        self.latest = Speed(
            steps=self._steps,
            examples=examples,
            seconds=self._seconds,
            num_devices=trainer.world_size,
        )
        self.total = Speed(
            steps=self.total.steps + self.latest.steps,
            examples=self.total.examples + self.latest.examples,
            seconds=self.total.seconds + self.latest.seconds,
            num_devices=trainer.world_size,
        )
        self._clear()


class ResumeClock(Callback):
    """Lets the clock run on, after all that others do at the end of a step or an evaluation."""

    def __init__(self, throughput: Throughput) -> None:
        """Know the clock.

        Args:
            throughput: whose it is; this callback must be the last one.
        """
        self._throughput = throughput

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After a resumed run's preparations."""
        self._throughput.resume_clock()

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        """After a checkpoint."""
        self._throughput.resume_clock()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After an evaluation and what is written with it."""
        self._throughput.resume_clock()

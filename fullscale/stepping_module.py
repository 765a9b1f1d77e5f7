"""A LightningModule's optimizer step: its forwards, their loss, and the rate that it is taken at.

Every example of the global batch weighs 1/B, on any number of processes and forwards.
"""

import contextlib
from collections.abc import Generator
from typing import Any

import torch
from torch import Tensor, nn

from fullscale.asked_batch import AskedBatch
from fullscale.data.micro_batches import MicroBatch
from fullscale.growing_module import GrowingModule
from fullscale.learning_rate import LearningRate
from fullscale.loss import ClassifierLoss
from fullscale.measured_module import MeasuredModule
from fullscale.network_setup import NetworkSettings
from fullscale.schedules import Schedule


class SteppingModule(GrowingModule, MeasuredModule):
    """A module that knows its network, its loss and its learning rate."""

    network: nn.Module
    loss: ClassifierLoss
    rate: LearningRate
    settings: NetworkSettings
    _asked: AskedBatch | None  # by rules that need more than the gradient
    _schedule: Schedule

    def training_step(self, batch: MicroBatch) -> Tensor:
        """Return the loss whose gradient, summed by DDP and Lightning, weighs each example 1/B.

        Args:
            batch: images, labels, weights.

        Returns:
            The scalar loss of this forward.
        """
        images, labels, weights = batch
        if self._batch_norm is not None:
            self._batch_norm.begin_forward(self._forwards_in_step)
        self._forwards_in_step += 1
        if self._asked is not None:
            scores = self._asked.scores(batch, forward=self._forwards_in_step - 1)
        else:
            scores = self.scores(images)
        losses = self.loss.per_example(scores, labels)
        if losses.dtype.itemsize < torch.float32.itemsize:
            losses = losses.float()  # a sum in bfloat16 has three digits at most
        total = (losses * weights).sum()
        self._weighted_loss.add_(total.detach())
        return total * self.layout.loss_scale

    def examples_and_loss_factor(self, batch: MicroBatch) -> tuple[float, float]:
        """Return a forward's examples, and its loss as a multiple of their mean loss.

        Args:
            batch: images, labels, weights.
        """
        weights = batch[2]
        # A filler comes alone. Only there a weight is looked at: on a GPU that waits for it.
        examples = len(weights) if len(weights) > 1 else float(weights.sum())
        return examples, examples * self.layout.loss_scale

    def scores(self, images: Tensor) -> Tensor:
        """Return the network's logits.

        Args:
            images: shape (B, channels, height, width).
        """
        if self.settings.channels_last:
            images = images.to(memory_format=torch.channels_last)
        scores: Tensor = self.network(images)
        return scores

    @contextlib.contextmanager
    def without_counting(self) -> Generator[None]:
        """Run forwards of the step again, from its first, which count for nothing.

        Yields:
            Nothing.
        """
        loss, forwards = self._weighted_loss.clone(), self._forwards_in_step
        self._forwards_in_step = 0
        yield
        self._weighted_loss.copy_(loss)
        self._forwards_in_step = forwards

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        """Let the optimizer step at this step's rate, then finish its batch-norm statistics.

        Args:
            *arguments: Lightning's.
            **named: Lightning's.
        """
        rate = self.rate.at(self.global_step, plan=self.data.plan, schedule=self._schedule)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = rate
        super().optimizer_step(*arguments, **named)
        self._forwards_in_step = 0
        if self._batch_norm is not None:
            self._batch_norm.finish_step()

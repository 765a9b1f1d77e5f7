"""A LightningModule's side of what is measured: losses of steps, evaluations; over all ranks."""

import math
import signal
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from fullscale.batch_layout import BatchLayout
from fullscale.data.micro_batches import MicroBatch
from fullscale.evaluation import Evaluation
from fullscale.lean_module import LeanModule
from fullscale.optimizers.rule_optimizer import RuleOptimizer
from fullscale.sharding import forget_gathered_weights
from models_of_scaling.errors import InputError

# What ends a run after the step at hand; the first of them counts where ranks got different ones.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class MeasuredModule(LeanModule):
    """A module that leaves each evaluation in `evaluation`."""

    stop_signal: int

    def __init__(self) -> None:
        """Begin with nothing measured."""
        super().__init__()
        self.evaluation: Evaluation | None = None
        self._weighted_loss = torch.zeros(())
        self._train_losses: list[float] = []  # means over the batches of steps,
        self._train_batches: list[int] = []  # which have so many examples
        self._validation_sums = torch.zeros(3, dtype=torch.float64)
        # Called before an evaluation, with the weights to evaluate in place.
        self.refresh_batch_norm: Callable[[Any], None] | None = None

    @property
    def layout(self) -> BatchLayout:
        """How the step at hand is cut."""
        raise NotImplementedError

    def on_train_start(self) -> None:
        """Put the running sum on the device."""
        super().on_train_start()
        self._weighted_loss = torch.zeros((), device=self.device, dtype=torch.float64)

    def finish_step(self) -> tuple[float, int]:
        """Agree on the step that was just done: one collective, none where there is one process.

        Returns:
            The mean loss over the global batch; the stop signal that some rank got, 0 for none.
        """
        batch_size = self.layout.global_batch_size
        self._train_batches.append(batch_size)
        if self.trainer.world_size == 1:
            mean = self._weighted_loss.item() / batch_size
            self._weighted_loss.zero_()
            self._train_losses.append(mean)
            return mean, self.stop_signal
        got = [float(self.stop_signal == number) for number in STOP_SIGNALS]
        ours = torch.cat([self._weighted_loss[None], self._weighted_loss.new_tensor(got)])
        self._weighted_loss.zero_()
        loss, *ranks = self.sum_over_ranks(ours).tolist()
        mean = loss / (batch_size * self.data.copies)
        self._train_losses.append(mean)
        received = [number for number, count in zip(STOP_SIGNALS, ranks, strict=True) if count]
        return mean, received[0] if received else 0

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the next evaluation reports; other sums are empty at a step's boundary."""
        checkpoint["train_losses"] = list(self._train_losses)
        checkpoint["train_batches"] = list(self._train_batches)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from there."""
        self._train_losses = list(checkpoint["train_losses"])
        self._train_batches = list(checkpoint["train_batches"])

    def scores(self, images: Tensor) -> Tensor:
        """Return the network's logits.

        Args:
            images: shape (B, channels, height, width).

        Returns:
            Shape (B, classes).
        """
        raise NotImplementedError

    def sum_over_ranks(self, values: Tensor) -> Tensor:
        """Sum in place. Lightning's `strategy.reduce` would add a barrier, so twice the wait.

        Args:
            values: of this rank.

        Returns:
            The same tensor.
        """
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(values)
        return values

    def on_validation_epoch_start(self) -> None:
        """Start the sums anew: loss, correct, count; with the weights that are evaluated."""
        for optimizer in self._rule_optimizers():
            optimizer.show_evaluation_parameters()
        forget_gathered_weights(self)
        if self.refresh_batch_norm is not None:
            self.refresh_batch_norm(self)
        self._validation_sums = torch.zeros(3, device=self.device, dtype=torch.float64)

    def _rule_optimizers(self) -> list[RuleOptimizer]:
        return [each for each in self.trainer.optimizers if isinstance(each, RuleOptimizer)]

    def validation_step(self, batch: MicroBatch) -> None:
        """Add one batch of the validation set.

        Args:
            batch: images, labels, weights.
        """
        images, labels, weights = batch
        logits = self.scores(images)
        losses = cross_entropy(logits, labels, reduction="none")
        correct = (logits.argmax(dim=1) == labels).to(weights.dtype)
        sums = torch.stack([losses * weights, correct * weights, weights]).double().sum(dim=1)
        self._validation_sums += sums

    def on_validation_epoch_end(self) -> None:
        """Sum over ranks and keep the evaluation.

        Raises:
            InputError: on every rank, where no picture could be decoded.
        """
        for optimizer in self._rule_optimizers():
            optimizer.show_trained_parameters()
        forget_gathered_weights(self)
        loss, correct, count = self.sum_over_ranks(self._validation_sums).tolist()
        if not count:
            # Each process may have met fewer than it bears.
            raise InputError(
                f"{self.data.dataset}: none of the {self.data.source.num_validation_examples} "
                "validation pictures can be decoded"
            )
        self.evaluation = Evaluation(
            steps=self.global_step,
            train_loss=_mean(self._train_losses, self._train_batches),
            validation_loss=loss / count,
            validation_accuracy=correct / count,
        )
        if not self.trainer.sanity_checking:
            self._train_losses, self._train_batches = [], []
        # The same on every rank already: the mean over ranks is for loggers' peace only.
        for metric in ("train_loss", "validation_loss", "validation_accuracy"):
            self.log(metric, getattr(self.evaluation, metric), sync_dist=True)


def _mean(means: list[float], counts: list[int]) -> float:
    """Return the mean over all examples of means over some; NaN without any."""
    if not means:
        return math.nan
    if len(set(counts)) == 1:
        return math.fsum(means) / len(means)
    return math.fsum(m * count for m, count in zip(means, counts, strict=True)) / sum(counts)

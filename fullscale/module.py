"""The LightningModule: a classifier whose update is the same on any number of processes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR

from fullscale.data.micro_batches import MicroBatch
from fullscale.data.modules import ImageData
from fullscale.durations import Duration
from fullscale.models import NETWORKS, build_network
from fullscale.optimizers.registry import get_update_rule
from fullscale.optimizers.rule_optimizer import RuleOptimizer
from fullscale.schedules import WarmupPolynomial
from models_of_scaling.errors import InputError
from models_of_scaling.targets import Target
from models_of_scaling.trials import Status


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One point of the curve.

    Attributes:
        steps: optimizer steps done.
        train_loss: mean over all examples processed since the evaluation before, as the network
            was when it met them; NaN where there was none.
        validation_loss: mean over the validation set, without label smoothing.
        validation_accuracy: share in [0, 1], exact to the last image.
    """

    steps: int
    train_loss: float
    validation_loss: float
    validation_accuracy: float


class Classifier(LightningModule):
    """An image classifier with its optimizer, schedule and target.

    Callbacks read and write how the run stands: `status`, `stop_signal`, `evaluation`.
    """

    def __init__(  # noqa: PLR0913 - each argument is a flag of the command line
        self,
        *,
        name: str = "mlp",
        optimizer: str = "momentum",
        learning_rate: float = 0.1,
        momentum: float | None = None,
        weight_decay: float | None = None,
        optimizer_numbers: dict[str, float] | None = None,
        warmup: str = "0 steps",
        decay_power: float = 2.0,
        end_learning_rate: float = 0.0,
        train_duration: str = "20 epochs",
        label_smoothing: float = 0.0,
        target: str = "validation_accuracy>=0.95",
        seed: int = 0,
    ) -> None:
        """Check the settings; the network is built when the data are known.

        Args:
            name: of the network: mlp, mlp_wide, small_cnn or resnet50.
            optimizer: momentum or lars.
            learning_rate: its peak, at the end of the warm-up.
            momentum: the optimizer's default when not given.
            weight_decay: the optimizer's default when not given.
            optimizer_numbers: the optimizer's other numbers, for example trust_coefficient.
            warmup: length of the linear warm-up, for example "5 epochs".
            decay_power: 2 is the usual polynomial decay, 1 linear, 0 keeps the peak.
            end_learning_rate: where the decay ends.
            train_duration: the run's length, for example "20 epochs" or "500 steps".
            label_smoothing: share of the label spread over all classes, in [0, 1).
            target: stops the run when met, for example validation_accuracy>=0.95.
            seed: of the initialisation; follows --data.seed.

        Raises:
            InputError: naming the flag, the value and the rule.
        """
        super().__init__()
        if name not in NETWORKS:
            raise InputError(f"--model.name {name!r} is not one of {', '.join(NETWORKS)}")
        if not 0 < learning_rate < math.inf:
            raise InputError(f"--model.learning_rate {learning_rate} must be positive and finite")
        if not 0 <= end_learning_rate <= learning_rate:
            raise InputError(
                f"--model.end_learning_rate {end_learning_rate} must be between 0 and the peak "
                f"{learning_rate}"
            )
        if not 0 <= label_smoothing < 1:
            raise InputError(f"--model.label_smoothing {label_smoothing} must be in [0, 1)")
        self.name = name
        self.learning_rate = learning_rate
        self.label_smoothing = label_smoothing
        self.target = Target.parse(target)
        self.train_duration = Duration.parse(train_duration, flag="--model.train_duration")
        self.warmup = Duration.parse(warmup, flag="--model.warmup")
        self.decay_power = decay_power
        self._end_factor = end_learning_rate / learning_rate
        self._seed = seed
        self.rule = get_update_rule(optimizer)
        self.numbers = _numbers(
            self.rule.defaults,
            {"momentum": momentum, "weight_decay": weight_decay, **(optimizer_numbers or {})},
        )
        # How the run stands.
        self.status: Status = "not_reached"
        self.stop_signal = 0
        self.evaluation: Evaluation | None = None
        self._train_losses: list[float] = []

    @property
    def data(self) -> ImageData:
        """The data module of the run."""
        data: ImageData = self.trainer.datamodule  # type: ignore[attr-defined]
        return data

    @property
    def schedule(self) -> WarmupPolynomial:
        """The learning rate's course over the run's steps."""
        plan = self.data.plan
        return WarmupPolynomial(
            warmup_steps=self.warmup.to_steps(
                batch_size=plan.layout.global_batch_size,
                num_train_examples=plan.num_train_examples,
            ),
            num_train_steps=plan.num_train_steps,
            decay_power=self.decay_power,
            end_factor=self._end_factor,
        )

    def prepare_run(self, data: ImageData) -> None:
        """Build the network for the data, in single precision and before any process starts.

        Where the network can't take the images, it ends in an InputError.

        Args:
            data: prepared.
        """
        self.network: nn.Module = build_network(
            self.name,
            image_shape=data.source.image_shape,
            num_classes=data.source.num_classes,
            seed=self._seed,
        )
        self._weighted_loss = torch.zeros(())
        self._validation_sums = torch.zeros(3, dtype=torch.float64)

    def configure_optimizers(self) -> Any:
        """Return the update rule's optimizer and its schedule, one tick per optimizer step."""
        optimizer = RuleOptimizer(
            self.network.parameters(),
            rule=self.rule,
            learning_rate=self.learning_rate,
            **self.numbers,
        )
        scheduler = LambdaLR(optimizer, self.schedule.factor)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    def on_train_start(self) -> None:
        """Put the running sums on the device."""
        self._weighted_loss = torch.zeros((), device=self.device, dtype=torch.float64)

    def on_train_batch_start(self, batch: MicroBatch, batch_idx: int) -> int | None:
        """Leave the run, without another evaluation, where it has no future."""
        return -1 if self.status in {"diverged", "interrupted"} else None

    def training_step(self, batch: MicroBatch) -> Tensor:
        """Return the loss whose gradient, summed by DDP and Lightning, weighs each example 1/B.

        Args:
            batch: images, labels, weights.

        Returns:
            The scalar loss of this forward.
        """
        images, labels, weights = batch
        losses = cross_entropy(
            self.network(images), labels, reduction="none", label_smoothing=self.label_smoothing
        )
        total = (losses * weights).sum()
        self._weighted_loss += total.detach()
        return total * self.data.plan.layout.loss_scale

    def finish_step(self) -> tuple[float, int]:
        """Agree on the step that was just done: one collective.

        Returns:
            The mean loss over the global batch; the sum of all ranks' stop signals, 0 for none.
        """
        ours = torch.stack([self._weighted_loss, torch.zeros_like(self._weighted_loss)])
        ours[1] = float(self.stop_signal)
        self._weighted_loss.zero_()
        loss, signals = self._sum_over_ranks(ours).tolist()
        mean = loss / self.data.plan.layout.global_batch_size
        self._train_losses.append(mean)
        return mean, round(signals)

    def _sum_over_ranks(self, values: Tensor) -> Tensor:
        """Sum in place. Lightning's `strategy.reduce` would add a barrier, so twice the wait."""
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(values)
        return values

    def on_validation_epoch_start(self) -> None:
        """Start the sums anew: loss, correct, count."""
        self._validation_sums = torch.zeros(3, device=self.device, dtype=torch.float64)

    def validation_step(self, batch: MicroBatch) -> None:
        """Add one batch of the validation set.

        Args:
            batch: images, labels, weights.
        """
        images, labels, weights = batch
        logits = self.network(images)
        losses = cross_entropy(logits, labels, reduction="none")
        correct = (logits.argmax(dim=1) == labels).to(weights.dtype)
        sums = torch.stack([losses * weights, correct * weights, weights]).double().sum(dim=1)
        self._validation_sums += sums

    def on_validation_epoch_end(self) -> None:
        """Sum over ranks and keep the evaluation."""
        loss, correct, count = self._sum_over_ranks(self._validation_sums).tolist()
        seen = self._train_losses
        self.evaluation = Evaluation(
            steps=self.global_step,
            train_loss=math.fsum(seen) / len(seen) if seen else math.nan,
            validation_loss=loss / count,
            validation_accuracy=correct / count,
        )
        if not self.trainer.sanity_checking:
            self._train_losses = []
        # The same on every rank already: the mean over ranks is for loggers' peace only.
        for metric in ("train_loss", "validation_loss", "validation_accuracy"):
            self.log(metric, getattr(self.evaluation, metric), sync_dist=True)


def _numbers(defaults: Mapping[str, float], given: Mapping[str, float | None]) -> dict[str, float]:
    """Complete the optimizer's numbers by its defaults, refusing those that it does not have."""
    chosen = {name: float(value) for name, value in given.items() if value is not None}
    for name, value in chosen.items():
        if name not in defaults:
            raise InputError(
                f"--model.optimizer_numbers: {name} is not one of {', '.join(defaults)}"
            )
        if not 0 <= value < math.inf:
            raise InputError(f"--model: {name} {value} must be finite and not negative")
    return {**defaults, **chosen}

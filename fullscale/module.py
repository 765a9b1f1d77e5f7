"""The LightningModule: a classifier whose update is the same on any number of processes."""

import contextlib
import copy
import math
import signal
from collections.abc import Generator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fullscale.asked_batch import AskedBatch, checked_rule
from fullscale.batch_norm import BatchNormSpan, ignored_by_ddp
from fullscale.data.micro_batches import MicroBatch
from fullscale.data.modules import ImageData
from fullscale.durations import Duration
from fullscale.evaluation import Evaluation
from fullscale.lean_module import LeanModule
from fullscale.memory_probe import probe_per_device_limit
from fullscale.models import NETWORKS, build_network
from fullscale.network_setup import NetworkSettings, set_up_network
from fullscale.optimizers.parameter_groups import USUAL, ParameterGroups
from fullscale.optimizers.registry import get_update_rule
from fullscale.optimizers.rule_optimizer import RuleOptimizer
from fullscale.optimizers.update_rule import check_number
from fullscale.schedule_registry import build_schedule
from fullscale.schedules import Schedule
from models_of_scaling.errors import InputError
from models_of_scaling.targets import Target
from models_of_scaling.trials import Status

# What ends a run after the step at hand; the first of them counts where ranks got different ones.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Classifier(LeanModule):
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
        schedule: str = "polynomial",
        schedule_numbers: dict[str, Any] | None = None,
        no_decay: str = USUAL,
        no_trust_ratio: str = USUAL,
        warmup: str = "0 steps",
        warmup_start: float = 0.0,
        decay_power: float = 2.0,
        end_learning_rate: float = 0.0,
        train_duration: str = "20 epochs",
        label_smoothing: float = 0.0,
        batch_norm_span: int | None = None,
        batch_norm_moving_averages: bool = True,
        channels_last: bool = False,
        compile: bool = False,
        target: str = "validation_accuracy>=0.95",
        seed: int = 0,
    ) -> None:
        """Check the settings; the network is built when the data are known.

        Args:
            name: of the network: mlp, mlp_wide, small_cnn, resnet8, resnet18 or resnet50.
            optimizer: by name (docs/optimizers.md lists them), as in lars or lookahead:adam; or
                the class path of your own UpdateRule.
            learning_rate: its peak, at the end of the warm-up.
            momentum: the optimizer's default when not given.
            weight_decay: the optimizer's default when not given.
            optimizer_numbers: the optimizer's other numbers, for example trust_coefficient.
            schedule: after the warm-up: constant, linear, polynomial, sqrt, cosine,
                warm_restarts, triangular, step, slow_start or piecewise.
            schedule_numbers: the schedule's other numbers, for example num_cycles.
            no_decay: tensors without weight decay: norm, bias, head, patterns of names; commas
                between.
            no_trust_ratio: tensors without a layer-wise trust ratio, likewise.
            warmup: length of the linear warm-up, for example "5 epochs".
            warmup_start: where it starts, as a share of the peak.
            decay_power: of the schedule "polynomial"; 2 is usual, 1 linear, 0 keeps the peak.
            end_learning_rate: where the decay ends.
            train_duration: the run's length, for example "20 epochs" or "500 steps".
            label_smoothing: share of the label spread over all classes, in [0, 1).
            batch_norm_span: examples per statistic of batch norm, whatever the devices; not given:
                the examples of each forward, which change with the devices.
            batch_norm_moving_averages: validate with averages over steps; else with the last
                step's statistics.
            channels_last: keep images and weights in that memory order.
            compile: the network by torch.compile.
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
        self.schedule_name = schedule
        self._schedule_numbers = {"warmup_start": warmup_start, **(schedule_numbers or {})}
        if schedule == "polynomial":
            self._schedule_numbers["decay_power"] = decay_power
        if end_learning_rate or schedule == "polynomial":
            self._schedule_numbers["end_factor"] = end_learning_rate / learning_rate
        self._build_schedule(warmup_steps=0, num_train_steps=1)  # refuses what no length would mend
        self.batch_norm_span = batch_norm_span
        self.batch_norm_moving_averages = batch_norm_moving_averages
        self.settings = NetworkSettings(
            batch_norm_span=batch_norm_span,
            batch_norm_moving_averages=batch_norm_moving_averages,
            channels_last=channels_last,
            compile=compile,
        )
        self._seed = seed
        self.rule = checked_rule(get_update_rule(optimizer), compiled=compile)
        self.numbers = _numbers(
            self.rule.defaults,
            {"momentum": momentum, "weight_decay": weight_decay, **(optimizer_numbers or {})},
        )
        self.parameter_groups = ParameterGroups(no_decay=no_decay, no_trust_ratio=no_trust_ratio)
        # How the run stands.
        self.status: Status = "not_reached"
        self.stop_signal = 0
        self.gradient_hook: dict[str, str] = {}  # what one does to the sum over the global batch
        self.evaluation: Evaluation | None = None
        self._train_losses: list[float] = []
        self._data: ImageData | None = None
        self._configured = False
        self._batch_norm: BatchNormSpan | None = None
        self._asked: AskedBatch | None = None  # by rules that need more than the gradient
        self._forwards_in_step = 0

    @property
    def data(self) -> ImageData:
        """The data module of the run, once known by `prepare_run`."""
        assert self._data is not None
        return self._data

    @property
    def schedule(self) -> Schedule:
        """The learning rate's course over the run's steps."""
        plan = self.data.plan
        return self._build_schedule(
            warmup_steps=self.warmup.to_steps(
                batch_size=plan.layout.global_batch_size,
                num_train_examples=plan.num_train_examples,
            ),
            num_train_steps=plan.num_train_steps,
        )

    def _build_schedule(self, **lengths: int) -> Schedule:
        return build_schedule(self.schedule_name, numbers=self._schedule_numbers, **lengths)

    @property
    def batch_norm(self) -> BatchNormSpan | None:
        """What the network's batch-norm layers share; None without such layers."""
        return self._batch_norm

    def prepare_run(self, data: ImageData) -> None:
        """Build the network for the data, in single precision and before any process starts.

        Where the network can't take the images, or the span, it ends in an InputError.

        Args:
            data: prepared.
        """
        self._data = data
        self.network: nn.Module = build_network(
            self.name,
            image_shape=data.source.image_shape,
            num_classes=data.source.num_classes,
            seed=self._seed,
        )
        self.settings.check(self.network, name=self.name)
        self._traits = self.parameter_groups.traits(self.network)
        if self.rule.gradient_rule is not None:
            self._asked = AskedBatch(self, self.rule.gradient_rule, self.network)
        self._weighted_loss = torch.zeros(())
        self._validation_sums = torch.zeros(3, dtype=torch.float64)

    def setup(self, stage: str) -> None:
        """Find out what a device can hold, where that was asked for: all ranks together.

        Args:
            stage: Lightning's.
        """
        if self.data.probes_memory:
            self.data.set_per_device_limit(self.trainer, self._probe())

    def _probe(self) -> int:
        precision, device = self.trainer.precision_plugin, self.trainer.strategy.root_device
        return probe_per_device_limit(
            precision.convert_module(copy.deepcopy(self.network)),
            rule=self.rule,
            image_shape=self.data.source.image_shape,
            device=device,
            context=precision.forward_context,
            limit=self.data.plan.layout.per_device_batch_size,
        )

    def configure_model(self) -> None:
        """Give the network what needs all processes: shared statistics, and its cut over them."""
        if self._configured:
            return
        self._configured = True
        self._batch_norm = set_up_network(
            self.network,
            self.settings,
            layout=self.data.plan.layout,
            rank=self.data.rank,
            copies=self.data.copies,
            mesh=self.device_mesh,
        )
        # DDP reads this name on the module that it wraps.
        self._ddp_params_and_buffers_to_ignore = ignored_by_ddp(self)

    def configure_optimizers(self) -> Any:
        """Return the update rule's optimizer; `optimizer_step` gives it each step's rate."""
        self._factor = self.schedule.factor
        return RuleOptimizer(
            self.network.named_parameters(),
            rule=self.rule,
            learning_rate=self.learning_rate,
            traits=list(self._traits.values()),
            batch=self._asked.open() if self._asked is not None else None,
            **self.numbers,
        )

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
        if self._batch_norm is not None:
            self._batch_norm.begin_forward(self._forwards_in_step)
        self._forwards_in_step += 1
        if self._asked is not None:
            scores = self._asked.scores(batch, forward=self._forwards_in_step - 1)
        else:
            scores = self.scores(images)
        losses = cross_entropy(
            scores, labels, reduction="none", label_smoothing=self.label_smoothing
        )
        total = (losses * weights).sum()
        self._weighted_loss.add_(total.detach())
        return total * self.data.plan.layout.loss_scale

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
        rate = self.learning_rate * self._factor(self.global_step)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = rate
        super().optimizer_step(*arguments, **named)
        self._forwards_in_step = 0
        if self._batch_norm is not None:
            self._batch_norm.finish_step()

    def finish_step(self) -> tuple[float, int]:
        """Agree on the step that was just done: one collective, none where there is one process.

        Returns:
            The mean loss over the global batch; the stop signal that some rank got, 0 for none.
        """
        if self.trainer.world_size == 1:
            mean = self._weighted_loss.item() / self.data.plan.layout.global_batch_size
            self._weighted_loss.zero_()
            self._train_losses.append(mean)
            return mean, self.stop_signal
        got = [float(self.stop_signal == number) for number in STOP_SIGNALS]
        ours = torch.cat([self._weighted_loss[None], self._weighted_loss.new_tensor(got)])
        self._weighted_loss.zero_()
        loss, *ranks = self._sum_over_ranks(ours).tolist()
        mean = loss / (self.data.plan.layout.global_batch_size * self.data.copies)
        self._train_losses.append(mean)
        received = [number for number, count in zip(STOP_SIGNALS, ranks, strict=True) if count]
        return mean, received[0] if received else 0

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the next evaluation reports; other sums are empty at a step's boundary."""
        checkpoint["train_losses"] = list(self._train_losses)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from there."""
        self._train_losses = list(checkpoint["train_losses"])

    def _sum_over_ranks(self, values: Tensor) -> Tensor:
        """Sum in place. Lightning's `strategy.reduce` would add a barrier, so twice the wait."""
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(values)
        return values

    def on_validation_epoch_start(self) -> None:
        """Start the sums anew: loss, correct, count; with the weights that are evaluated."""
        for optimizer in self._rule_optimizers():
            optimizer.show_evaluation_parameters()
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
        """Sum over ranks and keep the evaluation."""
        for optimizer in self._rule_optimizers():
            optimizer.show_trained_parameters()
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
        check_number(f"--model: {name}", value)
    return {**defaults, **chosen}

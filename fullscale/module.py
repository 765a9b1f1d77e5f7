"""The LightningModule: a classifier whose update is the same on any number of processes."""

import copy
from typing import Any

from torch import nn

from fullscale.asked_batch import AskedBatch, checked_rule
from fullscale.batch_norm import BatchNormSpan, has_batch_norm, ignored_by_ddp
from fullscale.data.micro_batches import MicroBatch
from fullscale.data.modules import ImageData
from fullscale.durations import Duration
from fullscale.learning_rate import LearningRate
from fullscale.learning_rate_scaling import RateScaling
from fullscale.loss import ClassifierLoss
from fullscale.memory_probe import probe_per_device_limit
from fullscale.models import NETWORKS, build_network
from fullscale.network_setup import NetworkSettings, set_up_network
from fullscale.optimizer_flags import rule_numbers
from fullscale.optimizers.parameter_groups import USUAL, ParameterGroups
from fullscale.optimizers.registry import get_update_rule
from fullscale.optimizers.rule_optimizer import RuleOptimizer
from fullscale.schedules import Schedule
from fullscale.stepping_module import SteppingModule
from models_of_scaling.errors import InputError
from models_of_scaling.targets import Target
from models_of_scaling.trials import Status


class Classifier(SteppingModule):
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
        adapt_regime_from: int | None = None,
        growth_scaling: RateScaling = "none",
        label_smoothing: float = 0.0,
        confidence_penalty: float = 0.0,
        zero_init_last_batch_norm: bool = False,
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
            adapt_regime_from: batch size for which rate and lengths were chosen: the rate is
                multiplied by the square root of the batches' ratio, lengths in epochs or examples
                by the ratio (Hoffer et al. 2017).
            growth_scaling: how the rate follows a batch that grows by --data.batch_phases or
                measured noise: none, sqrt or linear.
            label_smoothing: share of the label spread over all classes, in [0, 1).
            confidence_penalty: weight of the entropy that is rewarded (Pereyra et al. 2017).
            zero_init_last_batch_norm: start the scale of each residual block's last batch norm at
                0 (Goyal et al. 2017).
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
        self.name = name
        self.loss = ClassifierLoss(
            label_smoothing=label_smoothing, confidence_penalty=confidence_penalty
        )
        self.target = Target.parse(target)
        self.train_duration = Duration.parse(train_duration, flag="--model.train_duration")
        self.warmup = Duration.parse(warmup, flag="--model.warmup")
        self.schedule_name = schedule
        powers = {"decay_power": decay_power} if schedule == "polynomial" else {}
        self.rate = LearningRate(
            given_peak=learning_rate,
            end=end_learning_rate,
            schedule_name=schedule,
            schedule_numbers={"warmup_start": warmup_start, **(schedule_numbers or {}), **powers},
            warmup=self.warmup,
            adapted_from=adapt_regime_from,
            growth_scaling=growth_scaling,
        )
        self.batch_norm_span = batch_norm_span
        self.batch_norm_moving_averages = batch_norm_moving_averages
        self.settings = NetworkSettings(
            batch_norm_span=batch_norm_span,
            batch_norm_moving_averages=batch_norm_moving_averages,
            channels_last=channels_last,
            compile=compile,
            zero_init_last_batch_norm=zero_init_last_batch_norm,
        )
        self._seed = seed
        self.rule = checked_rule(get_update_rule(optimizer), compiled=compile)
        self.numbers = rule_numbers(
            self.rule,
            {"momentum": momentum, "weight_decay": weight_decay, **(optimizer_numbers or {})},
        )
        self.parameter_groups = ParameterGroups(no_decay=no_decay, no_trust_ratio=no_trust_ratio)
        # How the run stands.
        self.status: Status = "not_reached"
        self.stop_signal = 0
        self.gradient_hook: dict[str, str] = {}  # what one does to the sum over the global batch
        self.averaging: dict[str, str] = {}  # what an average of weights is evaluated with
        self.averages_workers = False  # processes train apart, and only their mean is evaluated,
        self.workers_apart_after = 0  # after so many steps
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
        """The learning rate's course over the run's steps; where the batch grows, the first's."""
        return self.rate.schedule(self.data.plan)

    @property
    def learning_rate(self) -> float:
        """Its peak, at the run's batch."""
        return self.rate.peak(self.data.plan)

    def rate_of_step(self, step: int) -> float:
        """Return the learning rate of a step.

        Args:
            step: from 0.
        """
        return self.rate.at(step, plan=self.data.plan, schedule=self.schedule)

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
        self.settings.initialise(self.network)
        self.rate.check_adaptation(data.plan, has_batch_norm=has_batch_norm(self.network))
        self._traits = self.parameter_groups.traits(self.network)
        if self.rule.gradient_rule is not None:
            self._asked = AskedBatch(self, self.rule.gradient_rule, self.network)

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
            limit=self.data.plan.largest_layout.per_device_batch_size,
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
        self._schedule = self.schedule
        return RuleOptimizer(
            self.network.named_parameters(),
            rule=self.rule,
            learning_rate=self.learning_rate,
            traits=list(self._traits.values()),
            batch=self._asked.open() if self._asked is not None else None,
            **self.numbers,
        )

    def on_train_batch_start(self, batch: MicroBatch, batch_idx: int) -> int | None:
        """Leave the run, without another evaluation, where it has no future."""
        return -1 if self.status in {"diverged", "interrupted"} else None

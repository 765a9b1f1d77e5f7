"""Grows the global batch by the measured gradient noise scale.

Source: McCandlish et al. 2018, arXiv:1812.06162, section 2.2 and appendix D: below the noise scale
a larger batch saves steps at little cost in examples, beyond it the other way round; and the noise
scale grows as the loss falls. Here, at a stated rhythm, the batch is multiplied by a whole factor
as often as it stays within a share of the last estimate. It never shrinks. Differs from the source:
appendix D derives sqrt(r B_noise) from a price r of a step in examples; a share needs no price.

What measures is another callback, any with the method of `NoiseScaleSource`. The next step is the
first of the larger batch, whatever loaders have prepared: the run is the same on any hardware.
"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from lightning.pytorch import Callback, LightningModule, Trainer

from fullscale.batch_norm import has_batch_norm
from fullscale.callbacks.gradient_noise import GradientNoiseScale
from fullscale.durations import Duration
from fullscale.module import Classifier
from models_of_scaling.errors import InputError


class MeasuredNoise(Protocol):
    """An estimate of the gradient noise scale."""

    @property
    def estimate(self) -> float:
        """B_noise, in examples."""
        ...

    @property
    def valid(self) -> bool:
        """Whether it may be used."""
        ...


@runtime_checkable
class NoiseScaleSource(Protocol):
    """A callback that measures the noise scale of the run at hand."""

    def noise_scale(self) -> MeasuredNoise:
        """Return the present estimate; it may be asked for after any step."""
        ...


class GrowByNoise(Callback):
    """Decides on rank zero; it must come before what saves."""

    def __init__(self, *, factor: int = 2, share: float = 1.0, every: str = "1 epochs") -> None:
        """Say how; it works with --data.grow_by_noise only.

        Args:
            factor: by which the batch is multiplied, once or several times.
            share: of the measured noise scale that the batch may have.
            every: time between decisions.

        Raises:
            InputError: naming the flag, the value and the rule.
        """
        if factor < 2:
            raise InputError(f"--grow_by_noise.factor {factor} must be at least 2")
        if not 0 < share < float("inf"):
            raise InputError(f"--grow_by_noise.share {share} must be positive and finite")
        self._factor = factor
        self._share = share
        self._every = Duration.parse(every, flag="--grow_by_noise.every")
        self._bound = 0
        self._source: NoiseScaleSource | None = None
        self._steps_seen = 0
        self._is_waiting = False  # for a valid noise scale, and has said so

    def prepare_run(self, callbacks: Sequence[Callback], module: Classifier) -> None:
        """Find what measures, and try out every batch size that the run may come to.

        Args:
            callbacks: all of the run.
            module: prepared.

        Raises:
            InputError: where nothing measures, a device's limit is not known, a batch size can't be
                cut, or the noise scale would never be valid.
        """
        data, flag = module.data, "--data.grow_by_noise"
        if not data.plan.growth.by_noise:
            vars(self)["on_train_batch_end"] = None
            return
        if data.probes_memory:
            raise InputError(f"{flag} needs a number for --data.max_per_device_batch_size")
        if self._every.amount == 0:
            raise InputError(f"--grow_by_noise.every '{self._every}' must be longer")
        sources = [each for each in callbacks if isinstance(each, NoiseScaleSource)]
        if not sources:
            raise InputError(
                f"{flag} needs a callback that measures the noise scale: "
                "--trainer.callbacks+=CLASS with a method noise_scale"
            )
        self._source = sources[0]
        depends_on_cut = (
            isinstance(sources[0], GradientNoiseScale)
            and has_batch_norm(module.network)
            and data.plan.layout.batch_norm_span is None
        )
        if depends_on_cut:
            raise InputError(
                f"{flag}: under batch norm the noise scale depends on how a step is cut, unless "
                "--model.batch_norm_span says over how many examples its statistics are"
            )
        self._bound = data.plan.growth.bound(data.plan.num_train_examples)
        size = data.plan.layout.global_batch_size
        while size <= self._bound:
            data.plan.layout_of(size)
            size *= self._factor
        data.noise_growth = {
            "grow_by_noise": f"by {self._factor} within {self._share:g} of the noise scale and"
            f" {self._bound}, every {self._every}"
        }

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the steps of an earlier part."""
        self._steps_seen = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        """At the end of a step, where it is time: ask, decide, tell the data."""
        steps = trainer.global_step
        if steps == self._steps_seen:
            return
        self._steps_seen = steps
        assert isinstance(pl_module, Classifier)
        data = pl_module.data
        if not data.plan.is_due(steps, self._every) or steps >= data.plan.stop_steps:
            return
        before = data.plan.phases.phases[-1].batch_size
        size, estimate, reason = trainer.strategy.broadcast(self._wanted(before))
        if reason and not self._is_waiting and trainer.is_global_zero:
            print(f"growth  batch stays {before}: {reason}", flush=True)
        self._is_waiting = bool(reason)
        if size > before:
            first_step = data.grow(size)
            if trainer.is_global_zero:
                print(
                    f"growth  noise scale {estimate:,.0f}: batch {before} -> {size} from step"
                    f" {first_step}",
                    flush=True,
                )

    def _wanted(self, size: int) -> tuple[int, float, str]:
        """Return the batch size that the last estimate allows, it, and why it says nothing."""
        assert self._source is not None
        found = self._source.noise_scale()
        if not found.valid:
            reason = getattr(found, "reason", "") or "the noise scale is not valid"
            return size, found.estimate, reason
        while size * self._factor <= min(self._share * found.estimate, self._bound):
            size *= self._factor
        return size, found.estimate, ""

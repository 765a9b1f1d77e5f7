"""Measures the gradient noise scale while any Lightning Trainer trains; changes nothing of the run.

    from fullscale.callbacks.gradient_noise import GradientNoiseScale
    noise = GradientNoiseScale()
    trainer = Trainer(..., callbacks=[noise])
    trainer.fit(...)
    print(noise.noise_scale())

Where a step has several microbatches (processes, accumulation) their norms come for the price of
one pass over each gradient. With a single one (one device, no accumulation) every tenth step runs
`training_step` once more on an eighth of the batch: about 1 % of the time; its logging, buffers and
random numbers are put back. docs/noise_scale.md: formulas, validity, what is not supported.
"""

from dataclasses import replace
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, SingleDeviceStrategy
from torch.optim import LBFGS, Optimizer

from fullscale.batch_norm import batch_norm_layers
from fullscale.gradient_noise.batch_reading import (
    BatchReading,
    OfBatch,
    batch_norm_couples,
    copies_of_a_batch,
    knows_its_microbatches,
)
from fullscale.gradient_noise.meter import NoiseMeter
from fullscale.gradient_noise.preconditioners import PRECONDITIONERS
from fullscale.gradient_noise.probe import probe_gradient, some_examples
from fullscale.gradient_noise.step_norms import Microbatch
from models_of_scaling.errors import InputError
from models_of_scaling.noise_scale import NoiseScale, Problem
from models_of_scaling.noise_stream import Average, NoiseStream, Window

_PROBE_SHARE = 8  # of the batch's examples one, and at least two where there is batch norm


class GradientNoiseScale(Callback):
    """tr(Sigma) / |G|^2 in examples, over the last steps, with an interval; whole and by layer.

    `noise_scale()` is what other callbacks and your own code read; it costs no communication.
    """

    def __init__(  # noqa: PLR0913 - each argument is a flag of the command line
        self,
        *,
        window_steps: int = 256,
        blocks: int = 32,
        half_life_steps: float | None = None,
        level: float = 0.9,
        average: Average = "blocks",
        every_n_steps: int = 1,
        probe_every_n_steps: int = 10,
        reduce_every_n_steps: int = 8,
        preconditioner: str = "none",
        examples_of: OfBatch | None = None,
        loss_factor_of: OfBatch | None = None,
    ) -> None:
        """Say what is measured and how it is averaged.

        Args:
            window_steps: measured steps that count, the last ones.
            blocks: that they are cut into; groups of the jackknife.
            half_life_steps: of the exponential average; an eighth of the window when not given.
            level: of the intervals.
            average: which one `noise_scale()` gives: over equal blocks, or exponential.
            every_n_steps: of which one is measured.
            probe_every_n_steps: likewise, where a step has a single microbatch.
            reduce_every_n_steps: measured steps that processes add up at once.
            preconditioner: whose gradient is measured too: none, adam or lars.
            examples_of: batch -> its examples; the length of its tensors when not given.
            loss_factor_of: batch -> what `training_step` returns as a multiple of the mean loss of
                the batch's examples; 1 when not given, the number of examples for a sum.

        Raises:
            InputError: naming the number and the rule.
        """
        self.window = Window(steps=window_steps, blocks=blocks, half_life_steps=half_life_steps)
        for name, value in (
            ("every_n_steps", every_n_steps),
            ("probe_every_n_steps", probe_every_n_steps),
            ("reduce_every_n_steps", reduce_every_n_steps),
        ):
            if value < 1:
                raise InputError(f"{name} {value} must be at least 1")
        if not 0 < level < 1:
            raise InputError(f"level {level:g} must be between 0 and 1")
        if preconditioner not in PRECONDITIONERS:
            known = ", ".join(PRECONDITIONERS)
            raise InputError(f"preconditioner {preconditioner!r} is not one of {known}")
        self.level, self.average, self.preconditioner = level, average, preconditioner
        self._every, self._reduce_every = every_n_steps, reduce_every_n_steps
        self._probe_every = probe_every_n_steps
        self._reading = BatchReading(examples_of=examples_of, loss_factor_of=loss_factor_of)
        self._loaded: dict[str, Any] = {}
        self._meter: NoiseMeter | None = None
        self._microbatch: Microbatch | None = None
        self._problems = self._of_the_run = list[Problem]()

    def noise_scale(self, *, average: Average | None = None) -> NoiseScale:
        """Return the noise scale of the whole gradient; on every rank, without communication.

        Args:
            average: over equal blocks or exponential; the callback's own when not given.

        Returns:
            The estimate, its interval, and whether it is valid; it lags by a block at most.
        """
        return self._estimate(self._meter.stream if self._meter else None, -1, average)

    def preconditioned_noise_scale(self, *, average: Average | None = None) -> NoiseScale:
        """Return the noise scale of the preconditioned gradient.

        Args:
            average: as in `noise_scale`.

        Returns:
            The estimate.

        Raises:
            InputError: where the callback has no preconditioner.
        """
        if self.preconditioner == "none":
            raise InputError("preconditioner 'none': give adam or lars")
        stream = self._meter.preconditioned if self._meter else None
        return self._estimate(stream, -1, average)

    def layer_noise_scales(self, *, average: Average | None = None) -> dict[str, NoiseScale]:
        """Return the noise scale of each parameter tensor, by name.

        Args:
            average: as in `noise_scale`.
        """
        if self._meter is None:
            return {}
        stream, names = self._meter.stream, self._meter.norms.names
        return {name: self._estimate(stream, i, average) for i, name in enumerate(names)}

    def measurements(self) -> dict[str, float]:
        """Return what goes into metrics.csv and the trial record."""
        found = _as_numbers("gradient_noise_scale", self.noise_scale())
        if self.preconditioner != "none":
            found |= _as_numbers(
                f"{self.preconditioner}_gradient_noise_scale", self.preconditioned_noise_scale()
            )
        return found

    def _estimate(
        self, stream: NoiseStream | None, layer: int, average: Average | None
    ) -> NoiseScale:
        stream = stream or NoiseStream(self.window, layers=1)
        return stream.noise_scale(
            layer,
            average=average or self.average,
            level=self.level,
            problems=self._problems,
        )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse what can't be measured, before hours are spent."""
        strategy = trainer.strategy
        if not isinstance(strategy, SingleDeviceStrategy | DDPStrategy | ModelParallelStrategy):
            raise InputError(
                f"GradientNoiseScale: strategy {type(strategy).__name__} is not supported; one "
                "device, ddp, or FSDP2 by ModelParallelStrategy"
            )
        if not pl_module.automatic_optimization:
            raise InputError("GradientNoiseScale needs automatic optimization")
        if _is_alone(trainer) and knows_its_microbatches(pl_module):
            raise InputError(
                "GradientNoiseScale: each step has a single forward; give "
                "--data.max_per_device_batch_size half the batch or less: the update stays the same"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hook the parameters."""
        (optimizer,) = trainer.optimizers
        if isinstance(optimizer, LBFGS):
            raise InputError("GradientNoiseScale: LBFGS takes several gradients a step")
        self._meter = NoiseMeter(
            pl_module,
            optimizer,
            window=self.window,
            preconditioner=self.preconditioner,
            world_size=trainer.world_size,
            copies=copies_of_a_batch(pl_module),
        )
        self._microbatch, self._probes, self._of_the_run = None, 0, list[Problem]()
        self._batch_norms, self._coupled = batch_norm_layers(pl_module), False
        if getattr(trainer.strategy.model, "_comm_hooks", None):
            words = "a communication hook changes the sum over processes: |g|^2 is not exact"
            self._of_the_run = [Problem(code="communication_hook", words=words)]
        self._problems = self._of_the_run
        if self._loaded:
            self._meter.load_state_dict(self._loaded)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Look at a microbatch before its gradient comes."""
        assert self._meter is not None
        self._microbatch = None
        alone = _is_alone(trainer)
        if trainer.global_step % (self._probe_every if alone else self._every):
            return
        self._coupled = batch_norm_couples(pl_module, self._batch_norms)
        if alone:
            self._probe(trainer, pl_module, batch, batch_idx)
        self._microbatch = self._reading.microbatch(trainer, pl_module, batch)
        if not alone:
            self._meter.begin()

    def _probe(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Draw a gradient of fewer examples beside the step's only microbatch."""
        assert self._meter is not None
        whole = int(self._reading.examples(batch))
        count = max(whole // _PROBE_SHARE, 2 if self._batch_norms else 1)
        if count >= whole:
            return
        part = some_examples(batch, whole, first=(self._probes * count) % whole, count=count)
        self._probes += 1
        self._meter.begin()
        probe_gradient(trainer, module, part, batch_idx, weight=count / whole)
        sample = self._reading.microbatch(trainer, module, part)
        self._meter.sample(replace(sample, factor=sample.factor * count / whole))

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the microbatch's norms to the step's sums."""
        if self._microbatch is not None and not _is_alone(trainer):
            assert self._meter is not None
            self._meter.add(self._microbatch)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Complete the step by the gradient as it is before clipping, already unscaled."""
        if self._microbatch is None:
            return
        assert self._meter is not None
        scaled = bool(getattr(optimizer, "_step_supports_amp_scaling", False))
        self._meter.finish_step(self._microbatch, scaled=scaled)
        if self._meter.pending >= self._reduce_every:
            self._reduce()

    def _reduce(self) -> None:
        """Bring the pending steps into the streams, all ranks together, and judge them."""
        meter = self._meter
        if meter is None:
            return
        meter.reduce()
        self._problems = [*self._of_the_run, *meter.problems(batch_norm=self._coupled)]

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring in what is pending, before others report."""
        if not trainer.sanity_checking:
            self._reduce()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring in the rest and take the hooks away."""
        self._reduce()
        self._close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Take the hooks away."""
        self._close()

    def _close(self) -> None:
        if self._meter is not None:
            self._meter.close()

    def state_dict(self) -> dict[str, Any]:
        """Return the streams; steps that processes have not added up yet are left out."""
        return {} if self._meter is None else self._meter.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the streams of an earlier part of the run.

        Args:
            state_dict: of that part.
        """
        self._loaded = dict(state_dict)
        if self._meter is not None and self._loaded:
            self._meter.load_state_dict(self._loaded)


def _as_numbers(name: str, found: NoiseScale) -> dict[str, float]:
    ends = {f"{name}_low": found.low, f"{name}_high": found.high}
    return {name: found.estimate, **ends, f"{name}_valid": float(found.valid)}


def _is_alone(trainer: Trainer) -> bool:
    """Return whether a step has a single microbatch."""
    return trainer.world_size * trainer.accumulate_grad_batches == 1

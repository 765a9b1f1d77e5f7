"""The Hessian along a run, of any Lightning module: top eigenvalues, trace, density, index.

    from fullscale.callbacks.sharpness import Sharpness
    trainer = Trainer(callbacks=[Sharpness(path="sharpness.csv")])

Two files: PATH with a row per point and mode, and beside it PATH's name with `.spectrum.csv`, the
Lanczos quadratures (docs/sharpness.md). It needs pip install "batch-size-limit[diagnostics]".

Sources: edge of stability, Cohen et al. 2021, arXiv:2103.00065; density, Ghorbani et al. 2019,
arXiv:1901.10159; index against loss, Bray & Dean 2007 and Dauphin et al. 2014, arXiv:1406.2572;
sharpness in a box, Keskar et al. 2017, arXiv:1609.04836.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer

from fullscale.callbacks.edge_of_stability import limit_of
from fullscale.callbacks.point_callback import PointCallback, global_batch_size, optimizer_name
from fullscale.callbacks.point_file import PointFile
from fullscale.diagnostic_loss import fixed_batches, has_two_modes, held_still, loss_parts
from fullscale.log_spaced import LogSpacedSteps
from fullscale.weight_moves import is_cut, named_weights
from models_of_scaling.errors import InputError

_SEED = 0
Row = dict[str, float | str]


@dataclass(frozen=True, kw_only=True)
class SharpnessCost:
    """What is spent on one point and mode, in Hessian-vector products over the examples.

    Attributes:
        num_examples: of the training set, fixed.
        examples_per_forward: of them at a time: memory, and the span of batch norm in training
            mode.
        num_eigenvalues: largest ones; some 10 to 30 products each, but 0 costs nothing.
        tolerance: relative, of the eigenvalues.
        num_probes: random vectors of the density.
        lanczos_steps: products from each.
        trace_products: of Hutch++, a multiple of 3; 0 leaves the trace to the probes.
        flat_tolerance: eigenvalues below this share of the largest in size are flat, neither
            negative nor positive.
        keskar_epsilon: of the box; 0 leaves it out. Costs some 12 gradients.
    """

    num_examples: int = 1024
    examples_per_forward: int = 256
    num_eigenvalues: int = 3
    tolerance: float = 1e-3
    num_probes: int = 2
    lanczos_steps: int = 30
    trace_products: int = 0
    flat_tolerance: float = 1e-2
    keskar_epsilon: float = 1e-3

    def __post_init__(self) -> None:
        """Check each field.

        Raises:
            InputError: naming the field that breaks its rule.
        """
        least = {
            **dict.fromkeys(("num_examples", "examples_per_forward", "num_probes"), 1),
            **dict.fromkeys(("num_eigenvalues", "trace_products", "tolerance"), 0),
            **{"lanczos_steps": 2, "flat_tolerance": 0, "keskar_epsilon": 0},
        }
        for name, value in least.items():
            if not getattr(self, name) >= value:
                raise InputError(f"{name} {getattr(self, name)} must be at least {value}")
        if self.trace_products % 3:
            raise InputError(f"trace_products {self.trace_products} must be a multiple of 3")


class Sharpness(PointCallback):
    """Measures between steps and writes by rank zero; the run goes on as if it had not.

    All processes multiply together, each its share of the examples. A network cut by FSDP2 is
    refused: its gathers have no second derivative.
    """

    def __init__(
        self,
        *,
        path: Path,
        every_steps: int | None = None,
        points_per_octave: int = 1,
        cost: SharpnessCost | None = None,
        batches: Sequence[Any] | None = None,
    ) -> None:
        """Say where to, how often and at what cost.

        Args:
            path: of the CSV file.
            every_steps: optimizer steps between points; log-spaced points when not given.
            points_per_octave: of those.
            cost: of a point.
            batches: the examples, where they are not to be drawn from the training set; as the
                training step takes them.

        Raises:
            InputError: where a number is below 1, or curvlinops is missing.
        """
        if every_steps is not None and every_steps < 1:
            raise InputError(f"every_steps {every_steps} must be at least 1")
        try:
            import curvlinops  # noqa: F401 - wanted before hours are spent
        except ImportError as error:
            raise InputError(
                'the sharpness needs curvlinops: pip install "batch-size-limit[diagnostics]"'
            ) from error
        self._every_steps = every_steps
        self._points = LogSpacedSteps(points_per_octave)
        self.cost = cost or SharpnessCost()
        self._batches = batches
        path = Path(path)
        super().__init__(path)
        self._spectrum_file = PointFile(path.with_name(f"{path.stem}.spectrum.csv"))
        self._steps_seen = -1
        self._latest = dict.fromkeys(("sharpness", "sharpness_over_limit"), math.nan)

    def state_dict(self) -> dict[str, Any]:
        """Return the last step that was looked at."""
        return {"steps_seen": self._steps_seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Measure on after that step.

        Args:
            state_dict: of an earlier part of the run.
        """
        self._steps_seen = state_dict["steps_seen"]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure where the run starts.

        Raises:
            InputError: where the network is cut by FSDP2.
        """
        if is_cut(pl_module.parameters()):
            raise InputError(
                "the sharpness can't be measured under FSDP2, whose gathers have no second "
                "derivative: run it under --trainer.strategy ddp, or on a checkpoint"
            )
        if self._steps_seen < 0:
            self._steps_seen = trainer.global_step
            # Of the first step: our module sets it when that begins, others' schedulers have.
            ours = getattr(pl_module, "rate_of_step", None)
            self._learning_rate = (
                float(trainer.optimizers[0].param_groups[0]["lr"])
                if ours is None
                else float(ours(trainer.global_step))
            )
            self._measure(trainer, pl_module, None)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Measure after an optimizer step, where it is a point."""
        steps = trainer.global_step
        if steps == self._steps_seen:
            return
        before, self._steps_seen = self._steps_seen, steps
        if self._every_steps is None:
            is_point = self._points.after(steps - 1) == steps
        else:
            is_point = steps // self._every_steps > before // self._every_steps
        if is_point:
            self._measure(trainer, pl_module, batch)

    def measurements(self) -> dict[str, float]:
        """Return the largest eigenvalue at the last point, for the run's records."""
        return dict(self._latest)

    def _measure(self, trainer: Trainer, module: LightningModule, batch: Any) -> None:
        if self._batches is None:
            self._batches = fixed_batches(
                trainer,
                module,
                num_examples=self.cost.num_examples,
                per_forward=self.cost.examples_per_forward,
            )
        known: Row = {
            "steps": trainer.global_step,
            "batch_size": 0 if batch is None else global_batch_size(trainer, module, batch),
            "optimizer": optimizer_name(trainer, module),
            "learning_rate": self._learning_rate,
            "stability_limit": limit_of(trainer.optimizers[0], module, self._learning_rate),
        }
        from fullscale.hessian import NotFiniteError

        rows: list[Row] = []
        spectra: list[Row] = []
        self._latest = dict.fromkeys(self._latest, math.nan)
        for mode in ("evaluation", "training") if has_two_modes(module) else ("evaluation",):
            try:
                with held_still(module, batch_norm_trains=mode == "training"):
                    row, nodes = self._point(trainer, module)
            except NotFiniteError:
                return  # the run has diverged, and says so itself
            head: Row = {"steps": trainer.global_step, "batch_norm": mode}
            rows.append(known | {"batch_norm": mode} | row)
            spectra += [head | each for each in nodes]
        # In training mode where there is one: that is the function whose steps are taken.
        sharpness, limit = float(rows[-1]["eigenvalue_1"]), float(known["stability_limit"])
        self._latest = {"sharpness": sharpness, "sharpness_over_limit": sharpness / limit}
        if trainer.is_global_zero:
            self._file.add(*rows)
            self._spectrum_file.add(*spectra)

    def _point(self, trainer: Trainer, module: LightningModule) -> tuple[Row, list[Row]]:
        from fullscale.hessian import HessianOfLoss, NotFiniteError
        from fullscale.spectral import (
            keskar_sharpness,
            lanczos_quadrature,
            top_eigenvalues,
            trace,
        )

        assert self._batches is not None
        parameters = list(named_weights(module).values())
        hessian = HessianOfLoss(
            parameters,
            loss_parts(trainer, module, self._batches),
            over_processes=trainer.world_size > 1,
        )
        cost, size = self.cost, hessian.shape[0]
        loss, gradient = hessian.loss_and_gradient()
        if not torch.stack([each.isfinite().all() for each in (loss, *gradient)]).all():
            raise NotFiniteError("the loss is not finite at these weights: the run has diverged")
        squares = torch.stack([each.square().sum(dtype=torch.float64) for each in gradient])
        devices = [module.device] if module.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(_SEED)  # the same vectors at every point, on every process
            quadrature = lanczos_quadrature(
                hessian, num_probes=cost.num_probes, num_steps=min(cost.lanczos_steps, size - 1)
            )
            hutch = (
                trace(hessian, num_products=cost.trace_products) if cost.trace_products else None
            )
        largest: Sequence[float] = [float(quadrature.nodes.max())]
        if cost.num_eigenvalues:
            count = min(cost.num_eigenvalues, size - 2)
            found = top_eigenvalues(hessian, count=count, tolerance=cost.tolerance, seed=_SEED)
            largest = found.tolist()
        flat = cost.flat_tolerance * max(abs(largest[0]), abs(float(quadrature.nodes.min())))
        mean, negative = quadrature.moment(1), quadrature.share_below(-flat)
        low, high = quadrature.bounds_below(-flat)
        keskar = math.nan
        if cost.keskar_epsilon:
            keskar = keskar_sharpness(hessian, parameters, epsilon=cost.keskar_epsilon)
        row: Row = {
            "loss": float(loss.item()),
            "gradient_norm": math.sqrt(float(squares.sum().item())),
            **{f"eigenvalue_{place + 1}": value for place, value in enumerate(largest)},
            "smallest_node": float(quadrature.nodes.min()),
            "trace": size * mean.value if hutch is None else hutch,
            "trace_probes_standard_error": size * mean.standard_error,
            "negative_share": negative.value,
            "negative_share_standard_error": negative.standard_error,
            "negative_share_low": low,
            "negative_share_high": high,
            "flat_share": quadrature.share_within(flat).value,
            "flat_below": flat,
            "keskar_sharpness": keskar,
            "num_parameters": size,
            "num_products": hessian.num_products,
        }
        nodes: list[Row] = [
            {"probe": probe, "node": float(node), "weight": float(weight)}
            for probe, pairs in enumerate(zip(quadrature.nodes, quadrature.weights, strict=True))
            for node, weight in zip(*pairs, strict=True)
        ]
        return row, nodes

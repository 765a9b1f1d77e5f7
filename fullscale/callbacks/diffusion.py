"""How far the weights are from where they started, at log-spaced steps, of any Lightning run.

    from fullscale.callbacks.diffusion import Diffusion
    trainer = Trainer(callbacks=[Diffusion(path="walk.csv")])

One row a point, read by `python -m models_of_scaling diffusion walk.csv`; docs/diffusion.md has the
columns. Source of the quantity: Hoffer, Hubara & Soudry 2017, arXiv:1705.08741, section 3.

The start w_0 is kept, on the device and in the checkpoint, rather than made anew from the seed: a
user's own module need not give the same weights twice, and a distance from the wrong start would be
wrong unseen. That is two more copies of the weights in a checkpoint (the start and the last point)
and up to two more in the two steps before a point.
"""

import math
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.data import extract_batch_size
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.optim import Optimizer

from fullscale import weight_moves
from fullscale.callbacks.point_file import PointFile
from fullscale.log_spaced import LogSpacedSteps
from fullscale.sharding import whole
from models_of_scaling.errors import InputError

Weights = list[Tensor]
# An update is remembered while a point is at most so many steps away: two updates end there.
_NEAR = 2


class Diffusion(Callback):
    """Measures and writes; rank zero writes. Nothing of the run is changed.

    Under DDP all processes hold the same weights, and rank zero measures alone; under FSDP2 each
    sums its parts, and one collective a point makes whole norms of them.
    """

    def __init__(
        self, *, path: Path, points_per_octave: int = 8, batch_size: int | None = None
    ) -> None:
        """Say where to, and how often.

        Args:
            path: of the CSV file.
            points_per_octave: points between a step and its double.
            batch_size: examples per optimizer step over all devices, where it can't be seen from
                the module or the first batch.

        Raises:
            InputError: where a number is below 1.
        """
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size {batch_size} must be at least 1")
        self._points = LogSpacedSteps(points_per_octave)
        self._file = PointFile(Path(path))
        self._batch_size = batch_size
        self._steps_seen = 0
        self._learning_rate = math.nan
        self._learning_rate_sum = 0.0
        self._next = self._points.after(0)
        self._measures = False
        self._names: list[str] = []
        self._parameters: Weights = []
        self._holders: list[int] = []
        self._start: Weights = []
        self._last: Weights = []
        self._recent: list[Weights] = []  # after the last step and the one before it
        self._loaded: dict[str, Any] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the folder."""
        if trainer.is_global_zero:
            self._file.check()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Once, when the weights are those that training starts or goes on from.

        Raises:
            InputError: where training goes on from a checkpoint that knows no start.
        """
        if self._parameters:
            return
        found = weight_moves.named_weights(pl_module)
        self._names, self._parameters = list(found), list(found.values())
        cut = weight_moves.is_cut(self._parameters)
        self._measures = cut or trainer.is_global_zero
        self._holders = [weight_moves.holders(each) for each in self._parameters] if cut else []
        if not self._measures:
            return
        if self._loaded is not None:
            self._restore(self._loaded)
            self._loaded = None
        elif trainer.global_step:
            raise InputError(
                f"the checkpoint of step {trainer.global_step} was saved without a Diffusion "
                "callback: the distance from the start can't be measured from it"
            )
        else:
            self._start = self._last = self._copy()
            self._recent = [self._start]

    def _copy(self) -> Weights:
        return [each.detach().clone() for each in self._parameters]

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Know the step's learning rate: when the step ends, it may be the next one's already."""
        if optimizer is trainer.optimizers[0]:
            self._learning_rate = float(optimizer.param_groups[0]["lr"])

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """After an optimizer step: a comparison of two numbers, but near a point."""
        steps = trainer.global_step
        if steps == self._steps_seen or not self._measures:
            return
        self._steps_seen = steps
        self._learning_rate_sum += self._learning_rate
        if self._next - steps > _NEAR:
            return
        if steps >= self._next:
            row = self._row(trainer, pl_module, batch, steps)
            if trainer.is_global_zero:
                self._file.add(row)
            self._next = self._points.after(steps)
            self._last = self._copy()
            here = self._last
        else:
            here = self._copy()
        self._recent = [here, *self._recent[:1]] if self._next - steps <= _NEAR else []

    @torch.no_grad()
    def _row(
        self, trainer: Trainer, module: LightningModule, batch: Any, steps: int
    ) -> dict[str, float | str]:
        squares = self._squares()
        layers: dict[str, float] = {}
        for name, square in zip(self._names, squares["start"], strict=True):
            layer = weight_moves.layer_of(name)
            layers[layer] = layers.get(layer, 0.0) + square
        totals = {kind: math.fsum(values) for kind, values in squares.items()}
        norms = math.sqrt(totals["update"] * totals["update_before"]) if self._recent[1:] else 0.0
        if self._batch_size is None:
            self._batch_size = global_batch_size(trainer, module, batch)
        return {
            "steps": steps,
            "examples": steps * self._batch_size,
            "batch_size": self._batch_size,
            "optimizer": optimizer_name(trainer, module),
            "seed": str(getattr(getattr(module, "data", None), "seed", "")),
            "learning_rate": self._learning_rate,
            "learning_rate_sum": self._learning_rate_sum,
            "distance": math.sqrt(totals["start"]),
            "distance_from_last": math.sqrt(totals["last"]),
            "weight_norm": math.sqrt(totals["weight"]),
            "update_norm": math.sqrt(totals["update"]) if self._recent else math.nan,
            "cosine": totals["updates"] / norms if norms else math.nan,
            **{f"distance/{layer}": math.sqrt(square) for layer, square in layers.items()},
        }

    def _squares(self) -> dict[str, list[float]]:
        """Return squared norms, and the product of the last two updates, a number a parameter."""
        values: dict[str, list[Tensor]] = {}
        before = self._recent[1] if self._recent[1:] else None
        for place, weight in enumerate(self._parameters):
            here = weight_moves.local_part(weight)
            wide = here.to(torch.promote_types(here.dtype, torch.float32))
            parts = {
                "start": weight_moves.difference(weight, self._start[place]),
                "last": weight_moves.difference(weight, self._last[place]),
                "weight": wide,
            }
            if self._recent:
                parts["update"] = weight_moves.difference(weight, self._recent[0][place])
            if before is not None:
                earlier = weight_moves.difference(self._recent[0][place], before[place])
                parts["update_before"] = earlier
                values.setdefault("updates", []).append(
                    weight_moves.product(parts["update"], earlier)
                )
            for kind, part in parts.items():
                values.setdefault(kind, []).append(weight_moves.product(part, part))
        flat = [value for row in values.values() for value in row]
        summed = weight_moves.sum_over_parts(flat, self._holders * len(values))
        count = len(self._parameters)
        return {
            kind: summed[place * count : (place + 1) * count] for place, kind in enumerate(values)
        } | ({} if self._recent else {"update": []})

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run goes on with, whole and on the CPU: a collective under FSDP2.

        A checkpoint is read on other processes and devices than it was written on.
        """
        if not self._start:
            return {}
        copies = {"start": self._start, "last": self._last}
        copies |= {f"recent{place}": weights for place, weights in enumerate(self._recent)}
        return {
            "steps_seen": self._steps_seen,
            "next": self._next,
            "learning_rate_sum": self._learning_rate_sum,
            "names": self._names,
            **{name: [whole(each).cpu() for each in weights] for name, weights in copies.items()},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the walk of an earlier part.

        Args:
            state_dict: of that part; the weights are put in place when training starts.
        """
        self._loaded = state_dict or None

    def _restore(self, state: dict[str, Any]) -> None:
        if state["names"] != self._names:
            raise InputError("the checkpoint's distances are of other weights than this module's")
        self._steps_seen, self._next = state["steps_seen"], state["next"]
        self._learning_rate_sum = state["learning_rate_sum"]

        def placed(name: str) -> Weights:
            pairs = zip(state[name], self._parameters, strict=True)
            return [weight_moves.like(there, here) for there, here in pairs]

        self._start, self._last = placed("start"), placed("last")
        self._recent = [placed(name) for name in ("recent0", "recent1") if name in state]


def global_batch_size(trainer: Trainer, module: LightningModule, batch: Any) -> int:
    """Return the examples per optimizer step over all devices.

    Args:
        trainer: of the run.
        module: ours, whose plan says it, or another.
        batch: of one forward on this process; counted where the module does not say.

    Returns:
        Examples.

    Raises:
        InputError: where a batch does not say how many examples it has.
    """
    plan = getattr(getattr(module, "data", None), "plan", None)
    if plan is not None:
        return int(plan.layout.global_batch_size)
    try:
        examples = extract_batch_size(batch)
    except MisconfigurationException as error:
        raise InputError(
            "the batch size can't be seen from a batch: give the callback batch_size, examples per "
            "optimizer step over all devices"
        ) from error
    return examples * trainer.world_size * trainer.accumulate_grad_batches


def optimizer_name(trainer: Trainer, module: LightningModule) -> str:
    """Return the optimizer's name as our tables have it, or its class's in small letters.

    Args:
        trainer: of the run.
        module: ours or another.
    """
    rule = getattr(module, "rule", None)
    name = getattr(rule, "name", None) or type(trainer.optimizers[0]).__name__.lower()
    return str(name)

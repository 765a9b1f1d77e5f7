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
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from fullscale import weight_moves
from fullscale.callbacks.point_callback import (
    PointCallback,
    examples_after,
    global_batch_size,
    optimizer_name,
)
from fullscale.log_spaced import LogSpacedSteps
from models_of_scaling.errors import InputError

# An update is remembered while a point is at most so many steps away: two updates end there.
_NEAR = 2


class Diffusion(PointCallback):
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
        super().__init__(Path(path))
        self._batch_size = batch_size
        self._steps_seen = 0
        self._learning_rate_sum = 0.0
        self._distance = math.nan
        self._next = self._points.after(0)
        self._measures = False
        self._names: list[str] = []
        self._parameters: list[Tensor] = []
        self._is_cut = False
        self._layers = self._all = weight_moves.Stretches(sizes=[], labels=[], holders=[])
        # Rows of weights: at the start, at the last point, after the last two steps.
        self._start: Tensor | None = None
        self._last: Tensor | None = None
        self._recent: list[Tensor] = []
        self._loaded: dict[str, Any] | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Once, when the weights are those that training starts or goes on from.

        Raises:
            InputError: where training goes on from a checkpoint that knows no start.
        """
        if self._parameters:
            return
        found = weight_moves.named_weights(pl_module)
        self._names, self._parameters = list(found), list(found.values())
        self._is_cut = weight_moves.is_cut(self._parameters)
        self._measures = self._is_cut or trainer.is_global_zero
        if not self._measures:
            return
        sizes = weight_moves.part_sizes(self._parameters)
        holders = [weight_moves.holders(p) if self._is_cut else 1 for p in self._parameters]
        layers = [weight_moves.layer_of(name) for name in self._names]
        self._layers = weight_moves.Stretches.of(sizes, layers, holders)
        self._all = weight_moves.Stretches.of(sizes, [""] * len(sizes), holders)
        if self._loaded is not None:
            self._restore(self._loaded)
            self._loaded = None
        elif trainer.global_step:
            raise InputError(
                f"the checkpoint of step {trainer.global_step} was saved without a Diffusion "
                "callback: the distance from the start can't be measured from it"
            )
        else:
            self._start = self._last = weight_moves.flat_copy(self._parameters)
            self._recent = [self._start]

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
        here = weight_moves.flat_copy(self._parameters)
        if steps >= self._next:
            row = self._row(trainer, pl_module, batch, here)
            self._distance = float(row["distance"])
            if trainer.is_global_zero:
                self._file.add(row)
            self._next = self._points.after(steps)
            self._last = here
        self._recent = [here, *self._recent[:1]] if self._next - steps <= _NEAR else []

    def measurements(self) -> dict[str, float]:
        """Return the distance from the start at the last point, for the run's records."""
        return {"distance": self._distance}

    def _row(
        self, trainer: Trainer, module: LightningModule, batch: Any, here: Tensor
    ) -> dict[str, float | str]:
        steps = trainer.global_step
        squares = self._squares(here)
        layers: dict[str, float] = {}
        for layer, square in zip(self._layers.labels, squares["distance"], strict=True):
            layers[layer] = layers.get(layer, 0.0) + square
        totals = {kind: math.fsum(values) for kind, values in squares.items()}
        norms = math.sqrt(totals["update"] * totals["update_before"]) if self._recent[1:] else 0.0
        if self._batch_size is None:
            self._batch_size = global_batch_size(trainer, module, batch)
        return {
            "steps": steps,
            "examples": examples_after(module, steps, batch_size=self._batch_size),
            "batch_size": self._batch_size,
            "optimizer": optimizer_name(trainer, module),
            "seed": str(getattr(getattr(module, "data", None), "seed", "")),
            "learning_rate": self._learning_rate,
            "learning_rate_sum": self._learning_rate_sum,
            "distance": math.sqrt(totals["distance"]),
            "distance_from_last": math.sqrt(totals["last"]),
            "weight_norm": math.sqrt(totals["weight"]),
            "update_norm": math.sqrt(totals.get("update", math.nan)),
            "cosine": totals["updates"] / norms if norms else math.nan,
            **{f"distance/{layer}": math.sqrt(square) for layer, square in layers.items()},
        }

    def _squares(self, here: Tensor) -> dict[str, list[float]]:
        """Return squared norms, and the product of the last two updates, in stretches."""
        assert self._start is not None
        assert self._last is not None
        rows = {"last": here - self._last, "weight": here}
        if self._recent:
            rows["update"] = here - self._recent[0]
        if self._recent[1:]:
            rows["update_before"] = self._recent[0] - self._recent[1]
        values = {"distance": self._layers.squares(here - self._start)}
        values |= {kind: self._all.squares(row) for kind, row in rows.items()}
        if self._recent[1:]:
            values["updates"] = self._all.products(rows["update"], rows["update_before"])
        flat = torch.cat(list(values.values()))
        if self._is_cut:
            torch.distributed.all_reduce(flat)
        summed = torch.split(flat.cpu(), [len(each) for each in values.values()])
        return {kind: each.tolist() for kind, each in zip(values, summed, strict=True)}

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run goes on with, whole and on the CPU: a collective under FSDP2.

        A checkpoint is read on other processes and devices than it was written on.
        """
        if self._start is None or self._last is None:
            return {}
        rows = {"start": self._start, "last": self._last}
        rows |= {f"recent{place}": row for place, row in enumerate(self._recent)}
        return {
            "steps_seen": self._steps_seen,
            "next": self._next,
            "learning_rate_sum": self._learning_rate_sum,
            "names": self._names,
            **{
                name: weight_moves.whole_tensors(row, self._parameters)
                for name, row in rows.items()
            },
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

        def placed(name: str) -> Tensor:
            pairs = zip(state[name], self._parameters, strict=True)
            return weight_moves.flat_copy([weight_moves.cut_like(*pair) for pair in pairs])

        self._start, self._last = placed("start"), placed("last")
        self._recent = [placed(name) for name in ("recent0", "recent1") if name in state]

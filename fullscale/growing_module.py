"""A LightningModule whose steps may come to differ in their batch, and so in their forwards.

Lightning counts a step's forwards by a remainder, and evaluations by another; both assume that all
steps are alike. Where the batch grows, its counters start anew at each phase and evaluations are
called at the ends of steps. A run of a constant batch is left to Lightning alone.
"""

import dataclasses
import math
from typing import Any

import torch

from fullscale.batch_layout import BatchLayout
from fullscale.batch_norm import BatchNormSpan
from fullscale.gradient_clipping import clip_by_global_norm
from fullscale.lean_module import LeanModule


class GrowingModule(LeanModule):
    """A module that knows the layout of the step at hand."""

    status: str
    _batch_norm: BatchNormSpan | None
    _forwards_in_step: int
    _layout: BatchLayout | None = None

    @property
    def layout(self) -> BatchLayout:
        """How the step at hand is cut."""
        return self._layout or self.data.plan.layout

    def on_train_start(self) -> None:
        """Take up the phase in which the run starts or goes on."""
        super().on_train_start()
        self._layout = self.data.plan.layout
        if self.data.plan.grows:
            # A count of forwards that is no end: steps are what ends a run.
            self.trainer.fit_loop.max_batches = math.inf
            self.trainer.val_check_batch = math.inf
            self._enter_phase(completed=0)
        else:
            vars(self)["on_train_batch_end"] = None

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """After all callbacks: evaluate where it is time, and go over to the next step's layout.

        Args:
            outputs: Lightning's.
            batch: Lightning's.
            batch_idx: Lightning's.
        """
        steps = self.global_step
        at_boundary = self._forwards_in_step == 0
        ended = self.status in {"diverged", "interrupted"}
        due = at_boundary and not ended and self.data.plan.evaluation_is_due(steps)
        self.trainer.val_check_batch = 1 if due else math.inf
        if at_boundary and self.data.plan.phases.at(steps).first_step == steps:
            # Lightning counts the forward that has just ended after this hook.
            self._enter_phase(completed=-1)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the phases, which may have been decided while the run went on."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["phases"] = [dataclasses.astuple(p) for p in self.data.plan.phases.phases]

    def _enter_phase(self, *, completed: int) -> None:
        batch_size = self.data.plan.phases.at(self.global_step).batch_size
        self._layout = self.data.plan.layout_of(batch_size)
        self.trainer.accumulate_grad_batches = self._layout.accumulate_grad_batches
        forwards: Any = self.trainer.fit_loop.epoch_loop.batch_progress.current
        forwards.ready = forwards.started = forwards.processed = 0
        forwards.completed = completed
        if self._batch_norm is not None:
            self._batch_norm.enter_layout(self._layout)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the step's gradient over the global batch, by its norm over all parameters.

        Args:
            optimizer: of the network.
            gradient_clip_val: the threshold, from --trainer.gradient_clip_val.
            gradient_clip_algorithm: Lightning's other one, value, is left to Lightning.
        """
        if gradient_clip_algorithm == "value":
            super().configure_gradient_clipping(
                optimizer, gradient_clip_val, gradient_clip_algorithm
            )
        elif gradient_clip_val:
            gradients = [p.grad for p in self.parameters() if p.grad is not None]
            clip_by_global_norm(gradients, threshold=gradient_clip_val)

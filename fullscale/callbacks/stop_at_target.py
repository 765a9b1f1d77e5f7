"""Ends a run: at its target, when it diverges, when it is told to, or after its last step."""

import math
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from fullscale.module import Classifier
from models_of_scaling.errors import InputError


class StopAtTarget(Callback):
    """Watches each step's loss and each evaluation; all ranks see the same numbers and agree."""

    def __init__(self, *, max_loss_factor: float = 100.0) -> None:
        """Set the bounds.

        Args:
            max_loss_factor: a step's loss beyond this multiple of the first step's (or of chance,
                log of the number of classes, where that is more) counts as diverged.

        Raises:
            InputError: where the factor is not above 1.
        """
        if not max_loss_factor > 1:
            raise InputError(f"--stop.max_loss_factor {max_loss_factor} must be more than 1")
        self._max_loss_factor = max_loss_factor
        self._max_loss = math.inf
        self._steps_seen = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the bound that the first step set."""
        return {"max_loss": self._max_loss, "steps_seen": self._steps_seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Judge on as an earlier part of the run did.

        Args:
            state_dict: of that part.
        """
        self._max_loss = state_dict["max_loss"]
        self._steps_seen = state_dict["steps_seen"]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        """After an optimizer step: agree on its loss and on whether to go on."""
        steps = trainer.global_step
        if steps == self._steps_seen:
            return
        assert isinstance(pl_module, Classifier)
        loss, stop_signal = pl_module.finish_step()
        if self._steps_seen == 0:
            chance = math.log(pl_module.data.source.num_classes)
            self._max_loss = self._max_loss_factor * max(loss, chance)
        self._steps_seen = steps
        if not math.isfinite(loss) or loss > self._max_loss:
            pl_module.status = "diverged"
            # A target that is met by chance now is not reached.
            trainer.val_check_batch = math.inf
        elif steps >= pl_module.data.plan.stop_steps:
            # Lightning evaluates once more where a stop is asked for: the last step always is.
            trainer.should_stop = True
        elif stop_signal:
            pl_module.status = "interrupted"
            # The signal may have met another rank only: all ranks end with its exit code.
            pl_module.stop_signal = stop_signal
            # Who sends signals kills soon: no evaluation now. A resumed run begins with it.
            trainer.val_check_batch = math.inf

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop at the first evaluation that meets the target."""
        assert isinstance(pl_module, Classifier)
        if trainer.sanity_checking or pl_module.evaluation is None:
            return
        target = pl_module.target
        if target.is_met(getattr(pl_module.evaluation, target.metric)):
            pl_module.status = "reached"
            trainer.should_stop = True

"""Callbacks that the tests of stopping name on the command line."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class PlantWeight(Callback):
    """Put a value into a score's bias after an optimizer step."""

    def __init__(self, step: int, value: str) -> None:
        self._step = step
        self._value = float(value)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        if trainer.global_step == self._step:
            with torch.no_grad():
                [*pl_module.parameters()][-1][0] = self._value

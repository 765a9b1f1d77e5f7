"""Callbacks that tests name on the command line of the trainer."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class DumpWeights(Callback):
    """Save rank zero's final parameters."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            torch.save([p.detach().clone() for p in pl_module.parameters()], self._path)


class FailAtStep(Callback):
    """Raise, or press Ctrl-C, after an optimizer step."""

    def __init__(self, step: int, interrupt: bool = False) -> None:
        self._step = step
        self._interrupt = interrupt

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        if trainer.global_step == self._step:
            raise KeyboardInterrupt if self._interrupt else RuntimeError("planted")

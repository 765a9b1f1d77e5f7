"""Callbacks that tests name on the command line of the trainer."""

import os
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.precision import MixedPrecision


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


class SignalAtStep(Callback):
    """Send this process a signal after an optimizer step: a stop signal, or SIGKILL.

    On the command line it comes before the trainer's own callbacks: a kill falls between the step
    and its checkpoint.
    """

    def __init__(self, step: int, number: int, rank: int = 0) -> None:
        self._step = step
        self._number = number
        self._rank = rank

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        if trainer.global_step == self._step and trainer.global_rank == self._rank:
            self._step = -1
            os.kill(os.getpid(), self._number)


class AddDropout(Callback):
    """Give the network a layer that draws random numbers."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        pl_module.network.append(torch.nn.Dropout(0.2))


class SignalInStep(Callback):
    """Send this process a signal while a step is half done."""

    def __init__(self, step: int, number: int) -> None:
        self._step = step
        self._number = number

    def on_before_zero_grad(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        if trainer.global_step == self._step:
            self._step = -1
            os.kill(os.getpid(), self._number)


class Dawdle(Callback):
    """Take time over each step, so that a signal from outside meets one."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        time.sleep(self._seconds)


class SignalAtStart(Callback):
    """Send this process a signal when training is about to start."""

    def __init__(self, number: int) -> None:
        self._number = number

    def on_fit_start(self, *_: Any) -> None:
        os.kill(os.getpid(), self._number)


class StopInStep(Callback):
    """Ask for the end, as a time limit does, while a step is half done."""

    def __init__(self, forwards: int) -> None:
        self._forwards = forwards

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx + 1 == self._forwards:
            trainer.should_stop = True


class ScaleLosses(Callback):
    """Give the run the scaled fp16 that Lightning refuses on a CPU; the scale grows soon."""

    def __init__(self, init_scale: float = 1024.0, growth_interval: int = 7) -> None:
        self._numbers = {"init_scale": init_scale, "growth_interval": growth_interval}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        scaler = torch.amp.GradScaler("cpu", **self._numbers)
        trainer.strategy.precision_plugin = MixedPrecision("16-mixed", "cpu", scaler)


class NotePid(Callback):
    """Leave a file named after each process of the run."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        (self._folder / str(os.getpid())).touch()

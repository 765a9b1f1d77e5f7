"""What callbacks share that measure a run at points: file, learning rate, names and examples."""

import math
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.data import extract_batch_size
from torch.optim import Optimizer

from fullscale.callbacks.point_file import PointFile
from models_of_scaling.errors import InputError


class PointCallback(Callback):
    """Writes rows of points by rank zero, and knows the learning rate of the step just done."""

    def __init__(self, path: Path) -> None:
        """Say where to.

        Args:
            path: of the CSV file.
        """
        self._file = PointFile(path)
        self._learning_rate = math.nan

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the folder."""
        if trainer.is_global_zero:
            self._file.check()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Know the step's learning rate: when the step ends, it may be the next one's already."""
        if optimizer is trainer.optimizers[0]:
            self._learning_rate = float(optimizer.param_groups[0]["lr"])


def global_batch_size(trainer: Trainer, module: LightningModule, batch: Any) -> int:
    """Return the examples per optimizer step over all devices.

    Args:
        trainer: of the run.
        module: ours, whose plan says it, or another.
        batch: of one forward on this process; counted where the module does not say.

    Returns:
        Examples; of a batch that grows, the first step's.

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


def examples_after(module: LightningModule, steps: int, *, batch_size: int) -> int:
    """Return the examples processed, also where our own plan lets the batch grow.

    Args:
        module: ours or another.
        steps: done.
        batch_size: of the first step.
    """
    plan = getattr(getattr(module, "data", None), "plan", None)
    return steps * batch_size if plan is None else int(plan.examples(steps))


def optimizer_name(trainer: Trainer, module: LightningModule) -> str:
    """Return the optimizer's name as our tables have it, or its class's in small letters.

    Args:
        trainer: of the run.
        module: ours or another.
    """
    rule = getattr(module, "rule", None)
    name = getattr(rule, "name", None) or type(trainer.optimizers[0]).__name__.lower()
    return str(name)

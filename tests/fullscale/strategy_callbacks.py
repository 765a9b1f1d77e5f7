"""Callbacks of the tests of strategies, batch norm and the memory probe."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from fullscale.module import Classifier
from fullscale.sharding import whole


class DumpState(Callback):
    """Save the network's final parameters and moving averages, whole, by rank zero."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        state = {name: whole(t).clone() for name, t in pl_module.network.state_dict().items()}
        if trainer.is_global_zero:
            torch.save(state, self._path)


class RunOutOfMemory(Callback):
    """Make the network of rank r fail beyond so many examples, as a full device does."""

    def __init__(self, limits: list[int]) -> None:
        self._limits = limits

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        assert isinstance(pl_module, Classifier)
        limit = self._limits[trainer.global_rank]

        def check(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            if len(inputs[0]) > limit:
                raise torch.OutOfMemoryError(f"CUDA out of memory (planted above {limit})")

        pl_module.network.register_forward_pre_hook(check)


class ZeroPictures(Callback):
    """Replace the run's pictures by zeros, which cost nothing to make."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        assert isinstance(pl_module, Classifier)
        shape = pl_module.data.source.image_shape

        def zeros(indices: Any, *_: Any) -> tuple[torch.Tensor, torch.Tensor]:
            return torch.zeros(len(indices), *shape), torch.zeros(len(indices), dtype=torch.int64)

        pl_module.data.source.train_batch = zeros  # type: ignore[method-assign]

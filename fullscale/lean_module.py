"""A LightningModule whose steps cost less of Lightning's own time; nothing here changes a result.

What Lightning 2.6 works out anew at every batch (who overrides which hook, a step's signature,
torch's checks of an attribute) takes longer than the forward of a small network. Each method says
what it leaves out. tests/benchmarks/test_step_speed.py measures it.
"""

import inspect
from typing import Any

import torch
from lightning.pytorch import LightningModule

from fullscale.data.micro_batches import MicroBatch
from fullscale.data.modules import ImageData


class LeanModule(LightningModule):
    """A module that knows the data module of its run."""

    @property
    def data(self) -> ImageData:
        """The data module, whose `on_after_batch_transfer` completes a batch on its device."""
        raise NotImplementedError

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Keep the signature of the step: Lightning asks for its arguments at every batch.

        Args:
            **kwargs: Python's.
        """
        super().__init_subclass__(**kwargs)
        step = vars(cls).get("training_step")
        if step is not None:
            vars(step)["__signature__"] = inspect.signature(step)

    def __setattr__(self, name: str, value: Any) -> None:
        """Note plain values without torch's checks: Lightning does so dozens of times a step."""
        if name in {"_current_fx_name", "_forwards_in_step"}:
            vars(self)[name] = value
        else:
            super().__setattr__(name, value)

    def _on_before_batch_transfer(self, batch: MicroBatch, dataloader_idx: int = 0) -> MicroBatch:
        """Nothing comes before; Lightning would look for who overrides what, at every batch."""
        return batch

    def _apply_batch_transfer_handler(
        self, batch: MicroBatch, device: torch.device | None = None, dataloader_idx: int = 0
    ) -> MicroBatch:
        """Move a batch to the device and complete it there; nothing else comes between."""
        return self.on_device(batch, device)

    def on_device(self, batch: MicroBatch, device: torch.device | None = None) -> MicroBatch:
        """Move a batch to a device and let the data module normalise it there.

        Args:
            batch: as it was loaded.
            device: the module's when not given.

        Returns:
            Images, labels, weights there.
        """
        device = device or self.device
        overlaps = device.type != "cpu"
        images, labels, weights = (each.to(device, non_blocking=overlaps) for each in batch)
        return self.data.on_after_batch_transfer((images, labels, weights), 0)

    def optimizer_zero_grad(
        self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer
    ) -> None:
        """Drop the gradients, without the records that torch keeps for its profiler.

        Args:
            epoch: Lightning's.
            batch_idx: Lightning's.
            optimizer: whose they are.
        """
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

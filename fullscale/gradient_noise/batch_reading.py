"""What a Lightning batch brings to a step's gradient: its examples, weight and loss scale."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from fullscale.gradient_noise.probe import count_examples
from fullscale.gradient_noise.step_norms import Microbatch

OfBatch = Callable[[Any], float]
# A module that knows its microbatches better than a callback can guess has this method: batch ->
# (examples, loss as a multiple of their mean loss).
_OWN = "examples_and_loss_factor"


def knows_its_microbatches(module: Any) -> bool:
    """Return whether a module says itself how many examples count, as ours does."""
    return hasattr(module, _OWN)


def copies_of_a_batch(module: Any) -> int:
    """Return how many processes see the same examples: those of tensor parallelism.

    Args:
        module: Lightning's, when its mesh is there.
    """
    mesh = module.device_mesh
    names = () if mesh is None else mesh.mesh_dim_names or ()
    return int(mesh["tensor_parallel"].size()) if mesh and "tensor_parallel" in names else 1


def batch_norm_couples(module: Any, layers: Sequence[nn.Module]) -> bool:
    """Return whether batch norm makes a microbatch's gradient depend on how the step is cut.

    With a stated span of examples for each statistic, as our module can have, a step's groups are
    the same in any cut: whole groups in a microbatch are then what examples are without batch norm.

    Args:
        module: Lightning's.
        layers: its batch-norm layers.
    """
    if not any(layer.training for layer in layers):
        return False
    layout: Any = getattr(module, "layout", None)
    return getattr(layout, "batch_norm_span", None) is None or layout.ranks_per_group > 1


@dataclass(frozen=True, kw_only=True)
class BatchReading:
    """How batches are read.

    Attributes:
        examples_of: batch -> its examples; the length of its tensors when not given.
        loss_factor_of: batch -> its loss as a multiple of the mean loss of its examples; 1 when not
            given.
    """

    examples_of: OfBatch | None
    loss_factor_of: OfBatch | None

    def examples(self, batch: Any) -> float:
        """Return the number of examples, as the user or the batch's tensors say.

        Args:
            batch: as the training step takes it.
        """
        return (self.examples_of or count_examples)(batch)

    def microbatch(self, trainer: Any, module: Any, batch: Any) -> Microbatch:
        """Return what is known of a batch before its gradient comes.

        Args:
            trainer: Lightning's.
            module: on its device.
            batch: as the training step takes it.
        """
        if knows_its_microbatches(module) and not (self.examples_of or self.loss_factor_of):
            examples, factor = getattr(module, _OWN)(batch)
        else:
            examples = self.examples(batch)
            factor = 1.0 if self.loss_factor_of is None else self.loss_factor_of(batch)
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        scale = 1.0 if scaler is None else scaler.scale(torch.ones((), device=module.device))
        return Microbatch(
            examples=float(examples),
            factor=float(factor),
            accumulation=trainer.accumulate_grad_batches,
            scale=scale,
        )

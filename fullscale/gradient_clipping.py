"""Gradient clipping by the norm over all parameters, whole or cut over devices.

Source: Pascanu, Mikolov & Bengio 2012, arXiv:1211.5063, algorithm 1: where |g| >= threshold,
g <- (threshold / |g|) g, with |g| over all parameters together. Differs from the source: nothing;
torch's `clip_grad_norm_` divides by |g| + 1e-6 instead.

It is done once per optimizer step, on the sum over the global batch, so it means the same on any
number of processes and forwards. Under FSDP2 each device adds up the squares of what it holds and
one collective of a single number completes them; also where only the head is cut a second time.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, distributed
from torch.distributed.tensor import DTensor, Replicate
from torch.linalg import vector_norm


def global_norm(gradients: Iterable[Tensor]) -> Tensor:
    """Return the L2 norm over all gradients together.

    Args:
        gradients: at least one; DTensors where they are cut, and then all ranks must call.

    Returns:
        A single number on the gradients' device, in single precision at least; the same on every
        rank.
    """
    squares, anything_cut = [], False
    for gradient in gradients:
        local, share = gradient, 1.0
        if isinstance(gradient, DTensor):
            anything_cut = True
            local, share = gradient.to_local(), 1 / _copies_of_each_part(gradient)
        wide = torch.promote_types(local.dtype, torch.float32)
        squares.append(vector_norm(local, dtype=wide).square() * share)
    total = torch.stack(squares).sum()
    if anything_cut:
        distributed.all_reduce(total)
    return total.sqrt()


def _copies_of_each_part(tensor: DTensor) -> int:
    """Return how many processes hold the same part of a cut tensor."""
    mesh = tensor.device_mesh
    copies = distributed.get_world_size() // mesh.size()
    for dimension, placement in enumerate(tensor.placements):
        if isinstance(placement, Replicate):
            copies *= mesh.size(dimension)
    return copies


@torch.no_grad()
def clip_by_global_norm(gradients: list[Tensor], *, threshold: float) -> Tensor:
    """Scale gradients in place where their norm is not below the threshold.

    Args:
        gradients: of all parameters; all ranks must call where they are cut.
        threshold: positive.

    Returns:
        The norm before.
    """
    norm = global_norm(gradients)
    # No branch on a value: on a GPU that would wait for it.
    factor = torch.clamp(threshold / norm, max=1.0)
    for gradient in gradients:
        local = gradient.to_local() if isinstance(gradient, DTensor) else gradient
        local.mul_(factor.to(local.dtype))
    return norm

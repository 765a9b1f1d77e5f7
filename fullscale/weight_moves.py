"""Norms and products of whole weights, also where each process holds a part; torch only.

What is summed is a parameter's own elements: batch norm's scale and shift are weights, its moving
averages are buffers and no part of any distance.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn


def named_weights(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the trained parameters of a module, by names that no wrapper changes.

    Args:
        module: whole, compiled or cut by FSDP2.
    """
    found = {
        name.replace("_orig_mod.", ""): parameter
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }
    if all(name.startswith("network.") for name in found):  # of our own module
        return {name.removeprefix("network."): weight for name, weight in found.items()}
    return found


def layer_of(name: str) -> str:
    """Return the layer that a parameter belongs to.

    >>> layer_of("layer1.0.conv1.weight"), layer_of("scale")
    ('layer1.0.conv1', 'scale')
    """
    return name.rpartition(".")[0] or name


def is_cut(parameters: Iterable[Tensor]) -> bool:
    """Return whether some parameter is spread over processes."""
    from torch.distributed.tensor import DTensor

    return any(isinstance(each, DTensor) for each in parameters)


def local_part(tensor: Tensor) -> Tensor:
    """Return what this process holds of a tensor, without its gradient's graph."""
    from torch.distributed.tensor import DTensor

    tensor = tensor.detach()
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def holders(tensor: Tensor) -> int:
    """Return how many processes hold the same part of a tensor.

    Args:
        tensor: whole, or cut over one or both dimensions of a mesh.
    """
    from torch.distributed.tensor import DTensor

    world_size = torch.distributed.get_world_size()
    if not isinstance(tensor, DTensor):
        return world_size
    parts = 1
    for dimension, placement in enumerate(tensor.placements):
        if not placement.is_replicate():
            parts *= tensor.device_mesh.size(dimension)
    return world_size // parts


def difference(a: Tensor, b: Tensor) -> Tensor:
    """Return this process's part of a - b, at least in single precision."""
    here, there = local_part(a), local_part(b)
    wide = torch.promote_types(here.dtype, torch.float32)
    return here.to(wide) - there.to(wide)


def product(a: Tensor, b: Tensor) -> Tensor:
    """Return the sum of the products of two parts' elements, in double precision."""
    return (a * b).sum(dtype=torch.float64)


def sum_over_parts(values: Sequence[Tensor], holders_of: Sequence[int]) -> list[float]:
    """Return sums over whole tensors from sums over parts: one collective.

    Args:
        values: of this process, one per tensor, scalars.
        holders_of: how many processes hold the same part of that tensor; empty where each holds
            all of it, and then there is no collective.
    """
    stacked = torch.stack(list(values))
    if holders_of:
        stacked /= torch.tensor(holders_of, dtype=stacked.dtype, device=stacked.device)
        torch.distributed.all_reduce(stacked)
    found: list[float] = stacked.tolist()
    return found


def like(whole_tensor: Tensor, parameter: Tensor) -> Tensor:
    """Return a whole tensor on the device of a parameter, and cut as it is: a collective if so.

    Args:
        whole_tensor: the same on all processes.
        parameter: of the same shape.
    """
    from torch.distributed.tensor import DTensor, distribute_tensor

    here = whole_tensor.to(device=parameter.device, dtype=parameter.dtype)
    if isinstance(parameter, DTensor):
        return distribute_tensor(here, parameter.device_mesh, parameter.placements)
    return here.clone()

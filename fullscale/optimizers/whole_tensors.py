"""Tensors that may be cut over devices: as rules compute with them, and back into the network."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate
from torch.linalg import vector_norm


def working_copy(tensor: Tensor, *, whole: bool = False) -> Tensor:
    """Return a tensor as a rule computes with it: at least single precision.

    Half-precision weights are updated in single precision, by a state in single precision, and
    rounded once; a moment or a count of steps in bfloat16 would stand still after a few steps.

    Args:
        tensor: parameter or gradient, maybe cut over devices.
        whole: gather it; then all ranks must call.
    """
    if whole and isinstance(tensor, DTensor):
        tensor = tensor.full_tensor()
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def settled(tensor: Tensor) -> Tensor:
    """Return a state tensor as it is kept: single numbers (counts, norms) whole on every rank.

    A norm comes as parts of a sum; torch's checkpoints hand back single numbers as plain tensors.

    Args:
        tensor: of a state.
    """
    return tensor.full_tensor() if isinstance(tensor, DTensor) and tensor.ndim == 0 else tensor


def write_tensor(parameter: Tensor, value: Tensor) -> None:
    """Write a new value into a parameter, whole or cut; without communication.

    Args:
        parameter: to write to.
        value: cut as the parameter is, or whole and the same on all ranks.
    """
    if isinstance(parameter, DTensor) and not isinstance(value, DTensor):
        mesh = parameter.device_mesh
        everywhere = DTensor.from_local(value, mesh, [Replicate()] * mesh.ndim, run_check=False)
        value = everywhere.redistribute(mesh, parameter.placements)
    parameter.copy_(value)


def norm_of_all(tensors: Mapping[str, Tensor]) -> Tensor:
    """Return the norm of tensors taken as one vector.

    Args:
        tensors: at least one, maybe cut over devices; then all ranks must call.
    """
    norms = torch.stack([settled(vector_norm(each)) for each in tensors.values()])
    norm: Tensor = vector_norm(norms)
    return norm

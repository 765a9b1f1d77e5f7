"""A network cut over devices by FSDP2, and its classifier head by tensor parallelism.

FSDP2 (torch's `fully_shard`; Zhao et al. 2023, arXiv:2304.11277) keeps 1/n of each parameter, its
gradient and its optimizer state on each of n devices; gradients are averaged as DDP averages them,
so the update is the same. Tensor parallelism (Shoeybi et al. 2019, arXiv:1909.08053, section 3)
cuts the last linear layer by its outputs: for heads of very many classes. The devices that share a
head see the same examples.
"""

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh

from models_of_scaling.errors import InputError

# The names that Lightning gives to the two dimensions of its mesh.
_DATA, _TENSOR = "data_parallel", "tensor_parallel"


def classifier_head(network: nn.Module) -> tuple[str, nn.Linear]:
    """Return a network's last linear layer and its name.

    Args:
        network: a classifier.

    Returns:
        The name, with dots, and the layer.
    """
    found = [(name, m) for name, m in network.named_modules() if isinstance(m, nn.Linear)]
    return found[-1]


def blocks(network: nn.Module) -> list[nn.Module]:
    """Return what is gathered at once: the parts of the network's stages, or its parts."""
    stages = list(network.children())
    parts = [p for s in stages for p in (s.children() if isinstance(s, nn.Sequential) else [s])]
    return [part for part in parts if any(p.ndim > 1 for p in part.parameters())]


def shard_network(network: nn.Module, mesh: DeviceMesh) -> None:
    """Cut a network over a mesh, in place; its weights are the same on all ranks before.

    Args:
        network: not yet cut.
        mesh: two dimensions, data_parallel and tensor_parallel.

    Raises:
        InputError: where the head's outputs do not divide over the devices that share it.
    """
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import Replicate
    from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, parallelize_module

    if mesh[_TENSOR].size() > 1:
        name, head = classifier_head(network)
        if head.out_features % mesh[_TENSOR].size():
            raise InputError(
                f"tensor_parallel_size {mesh[_TENSOR].size()} must divide the "
                f"{head.out_features} outputs of the classifier head"
            )
        plan: dict[str, ParallelStyle] = {name: ColwiseParallel(output_layouts=Replicate())}
        parallelize_module(network, mesh[_TENSOR], plan)
    for block in [*blocks(network), network]:
        fully_shard(block, mesh=mesh[_DATA])


def forget_gathered_weights(network: torch.nn.Module) -> None:
    """Let FSDP2 gather weights anew that were changed from outside; nothing without a cut.

    Outside of training it keeps the outermost weights gathered after a forward, and would go on
    with those.

    Args:
        network: cut or not.
    """
    from torch.distributed.fsdp import FSDPModule

    for module in network.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor's whole value on every rank, also where it is cut.

    Args:
        tensor: cut or not; all ranks must call.
    """
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

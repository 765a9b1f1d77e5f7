"""Squared norms of each microbatch's own gradient, taken as it flows by; nothing is copied.

A tensor hook on a parameter sees the gradient of one backward pass before torch adds it to `.grad`
and before DDP or FSDP2 sum it over processes. Its norm is written into one slot of a vector, a
kernel a tensor. Under FSDP2 the tensor that autograd knows is the gathered parameter, which exists
within a forward only: it is found there, when its layer is called.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Shard
from torch.utils.hooks import RemovableHandle

# (number of the tensor, its gradient, as large as on this process) -> preconditioned gradient.
Precondition = Callable[[int, Tensor], Tensor | None]


def local_part(tensor: Tensor) -> Tensor:
    """Return what this process holds of a tensor, as plain values."""
    tensor = tensor.detach()
    part: Tensor = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    return part.coalesce().values() if part.is_sparse else part


def num_shards(tensor: Tensor) -> int:
    """Return over how many processes a tensor is cut; 1 where each that has it has all of it."""
    if not isinstance(tensor, DTensor):
        return 1
    cut = 1
    for dim, placement in enumerate(tensor.placements):
        cut *= tensor.device_mesh.size(dim) if isinstance(placement, Shard) else 1
    return cut


def write_norm(gradient: Tensor, slot: Tensor) -> None:
    """Write the norm of what this process holds of a gradient into a 0-d tensor."""
    torch.linalg.vector_norm(local_part(gradient), dtype=slot.dtype, out=slot)


class GradientNorms:
    """The norms of the gradient that the last backward pass brought.

    Attributes:
        names: of the trained parameter tensors, in the module's order.
        parameters: likewise.
        norms: of each tensor's gradient, shape (P,): this process's part, zero without a gradient.
        preconditioned: likewise, of the preconditioned gradient.
        shards: over how many processes each tensor's microbatch gradient is cut.
        in_parts: whether a tensor's gradient came in several parts within one pass.
    """

    def __init__(self, module: nn.Module) -> None:
        """Look at the parameters; nothing is hooked yet.

        Args:
            module: on its device, wrapped or cut as it will train.
        """
        trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        self.names = [name for name, _ in trained]
        self.parameters = [parameter for _, parameter in trained]
        device = self.parameters[0].device
        wide = torch.float32
        for parameter in self.parameters:
            wide = torch.promote_types(wide, parameter.dtype)
        self.norms = torch.zeros(len(trained), dtype=wide, device=device)
        self.preconditioned = torch.zeros_like(self.norms)
        self.shards = [1] * len(trained)
        self.in_parts = False
        self.precondition: Precondition | None = None
        self._slots = list(self.norms.unbind())
        self._preconditioned_slots = list(self.preconditioned.unbind())
        self._seen = [0] * len(trained)
        self._on = False
        self._module = module
        self._handles: list[RemovableHandle] = []
        self._gathered: dict[tuple[nn.Module, str], tuple[Tensor, RemovableHandle]] = {}

    def attach(self) -> None:
        """Hook every parameter."""
        place = {id(parameter): i for i, parameter in enumerate(self.parameters)}
        for i, parameter in enumerate(self.parameters):
            if not isinstance(parameter, DTensor):
                self._handles.append(self._hook(i, parameter))
        for layer in self._module.modules():
            cut = {
                name: place[id(p)]
                for name, p in layer.named_parameters(recurse=False)
                if isinstance(p, DTensor) and id(p) in place
            }
            if cut:
                self._handles.append(layer.register_forward_pre_hook(self._find_gathered(cut)))

    def detach(self) -> None:
        """Take all hooks away."""
        for handle in [*self._handles, *(handle for _, handle in self._gathered.values())]:
            handle.remove()
        self._handles, self._gathered = [], {}

    def begin(self) -> None:
        """Forget the last pass and look at the next one."""
        self.norms.zero_()
        if self.precondition is not None:
            self.preconditioned.zero_()
        self._seen = [0] * len(self._seen)
        self._on = True

    def end(self) -> None:
        """Look away."""
        self._on = False

    def _hook(self, i: int, parameter: Tensor) -> RemovableHandle:
        def look(gradient: Tensor) -> None:
            if not self._on:
                return
            self._seen[i] += 1
            self.in_parts = self.in_parts or self._seen[i] > 1
            self.shards[i] = num_shards(gradient)
            write_norm(gradient, self._slots[i])
            if self.precondition is not None:
                changed = self.precondition(i, gradient)
                if changed is not None:
                    write_norm(changed, self._preconditioned_slots[i])

        handle: RemovableHandle = parameter.register_hook(look)  # type: ignore[no-untyped-call]
        return handle

    def _find_gathered(self, cut: dict[str, int]) -> Callable[[nn.Module, Any], None]:
        def find(layer: nn.Module, inputs: Any) -> None:
            for name, i in cut.items():
                parameter = getattr(layer, name)
                known, handle = self._gathered.get((layer, name), (None, None))
                if parameter is known or not parameter.requires_grad:
                    continue
                if handle is not None:
                    handle.remove()
                self._gathered[layer, name] = parameter, self._hook(i, parameter)

        return find

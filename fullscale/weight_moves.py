"""Norms and products of whole weights, also where each process holds a part; torch only.

What is summed is a parameter's own elements: batch norm's scale and shift are weights, its moving
averages are buffers and no part of any distance.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_BLOCK = 1 << 17  # elements whose products are summed in their own precision


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


def flat_copy(parameters: Sequence[Tensor]) -> Tensor:
    """Return this process's parts of all tensors in one row, at least in single precision.

    Args:
        parameters: on one device.
    """
    parts = [local_part(each).flatten() for each in parameters]
    wide = torch.promote_types(parts[0].dtype, torch.float32)
    return torch.cat([part.to(wide) for part in parts])


def part_sizes(parameters: Sequence[Tensor]) -> list[int]:
    """Return how many elements of each tensor this process holds."""
    return [local_part(each).numel() for each in parameters]


@dataclass(frozen=True, kw_only=True)
class Stretches:
    """A row cut into stretches that are summed apart: few, since each costs a kernel.

    Attributes:
        sizes: elements of each.
        labels: of each, for example its layer.
        holders: how many processes hold the same part; 1 throughout where nothing is summed over
            processes.
    """

    sizes: list[int]
    labels: list[str]
    holders: list[int]

    @classmethod
    def of(cls, sizes: Sequence[int], labels: Sequence[str], holders: Sequence[int]) -> "Stretches":
        """Join neighbours of one label and as many holders.

        Args:
            sizes: of each tensor of a row.
            labels: of each.
            holders: of each.

        Returns:
            The stretches.
        """
        joined: list[tuple[str, int]] = []
        lengths: list[int] = []
        for size, key in zip(sizes, zip(labels, holders, strict=True), strict=True):
            if joined and joined[-1] == key:
                lengths[-1] += size
            else:
                joined.append(key)
                lengths.append(size)
        return cls(
            sizes=lengths, labels=[key[0] for key in joined], holders=[key[1] for key in joined]
        )

    def squares(self, row: Tensor) -> Tensor:
        """Return each stretch's squared norm over its holders, summed in double precision.

        Args:
            row: of `flat_copy`, or a difference of two.
        """
        return self.products(row, row)

    def products(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the product of two rows, stretch by stretch over its holders, in double."""
        pairs = zip(a.split_with_sizes(self.sizes), b.split_with_sizes(self.sizes), strict=True)
        dots = [_dots(x, y) for x, y in pairs]
        sums = torch.stack([dot for each in dots for dot in each]).double()
        if len(sums) > len(dots):
            counts = [len(each) for each in dots]
            sums = torch.stack([part.sum() for part in sums.split_with_sizes(counts)])
        return sums / self._holders(a)

    def _holders(self, row: Tensor) -> Tensor | int:
        if all(count == 1 for count in self.holders):
            return 1
        return torch.tensor(self.holders, dtype=torch.float64, device=row.device)


def _dots(a: Tensor, b: Tensor) -> list[Tensor]:
    """Return the parts of a dot product, to be added in double.

    In single precision a CPU adds nearly one by one: torch's norm of ten million weights is off by
    4e-4. Blocks are short enough for six digits, and no copy in double is made.
    """
    if a.device.type != "cpu" or len(a) <= _BLOCK:  # a GPU's threads add apart
        return [torch.dot(a, b)]
    return [
        torch.dot(x, y) for x, y in zip(torch.split(a, _BLOCK), torch.split(b, _BLOCK), strict=True)
    ]


def whole_tensors(row: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Return a row as whole tensors on the CPU, cut as the parameters were: a collective if cut.

    Args:
        row: of `flat_copy`.
        parameters: what it is a row of.
    """
    from torch.distributed.tensor import DTensor

    found = []
    for part, parameter in zip(torch.split(row, part_sizes(parameters)), parameters, strict=True):
        here = part.view_as(local_part(parameter))
        if isinstance(parameter, DTensor):
            here = DTensor.from_local(
                here,
                parameter.device_mesh,
                parameter.placements,
                run_check=False,
                shape=parameter.shape,
                stride=parameter.stride(),
            ).full_tensor()
        found.append(here.to("cpu", copy=True))
    return found


def cut_like(whole_tensor: Tensor, parameter: Tensor) -> Tensor:
    """Return a whole tensor on the device of a parameter, and cut as it is: a collective if so.

    Args:
        whole_tensor: the same on all processes.
        parameter: of the same shape.
    """
    from torch.distributed.tensor import DTensor, distribute_tensor

    here = whole_tensor.to(device=parameter.device)
    if isinstance(parameter, DTensor):
        return distribute_tensor(here, parameter.device_mesh, parameter.placements)
    return here.clone()

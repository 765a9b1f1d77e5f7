"""What one device must hold at the largest forward, counted on the meta device: no GPU, no data.

Activations are the storages that autograd keeps for the backward pass, each counted once. Not
counted: the allocator's gaps, a library's work space, what a compiler saves.
"""

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fullscale.optimizers.layers import layers_of
from fullscale.optimizers.rule_optimizer import initial_states
from fullscale.optimizers.update_rule import UpdateRule
from fullscale.sharding import blocks

_HALF = {"bf16": torch.bfloat16, "16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """Bytes on one device.

    Attributes:
        parameters: with FSDP2 this device's part, and the largest block gathered twice (the one at
            work and the next).
        gradients: likewise without the gathering.
        optimizer_state: likewise.
        reduction: DDP's buckets, as large as the gradients; none for one device or FSDP2.
        activations: kept for the backward pass, with half-precision copies of the weights.
        batch: images, labels and weights of one forward.
    """

    parameters: int
    gradients: int
    optimizer_state: int
    reduction: int
    activations: int
    batch: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(getattr(self, field.name) for field in fields(self))


def _types(precision: str) -> tuple[torch.dtype, torch.dtype]:
    """Return the types of weights and of activations, for Lightning's name of a precision."""
    kind, _, mode = precision.partition("-")
    if kind == "64":
        return torch.float64, torch.float64
    if kind not in _HALF:
        return torch.float32, torch.float32
    return (_HALF[kind] if mode == "true" else torch.float32), _HALF[kind]


def parameter_dtype(precision: str) -> torch.dtype:
    """Return the type that parameters and gradients have under a Trainer's precision."""
    return _types(precision)[0]


def kept_for_backward(network: nn.Module, images: Tensor, labels: Tensor) -> int:
    """Return the bytes that autograd keeps for the backward pass, without parameters.

    Args:
        network: on the meta device, like the rest.
        images: of one forward.
        labels: of one forward.
    """
    own = {
        tensor.untyped_storage()._cdata  # noqa: SLF001 - meta storages have no address
        for tensor in [*network.parameters(), *network.buffers()]
    }
    kept: dict[int, Tensor] = {}

    def note(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage()._cdata, tensor)  # noqa: SLF001
        return tensor

    def give_back(tensor: Any) -> Any:
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, give_back):
        loss = cross_entropy(network(images), labels)
    del loss
    return sum(
        tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in own
    )


def estimate_memory(
    network: nn.Module,
    *,
    rule: UpdateRule,
    images_shape: tuple[int, int, int, int],
    precision: str,
    shards: int,
    world_size: int,
) -> MemoryEstimate:
    """Count what one device holds.

    Args:
        network: on the meta device; converted in place to the activations' type.
        rule: of the optimizer.
        images_shape: examples of the largest forward, channels, height, width.
        precision: as the Trainer names it.
        shards: devices over which FSDP2 cuts the network; 1 without.
        world_size: processes.

    Returns:
        The estimate.
    """
    weights_type, type_ = _types(precision)
    count = sum(parameter.numel() for parameter in network.parameters())
    largest = max(
        (sum(p.numel() for p in block.parameters()) for block in blocks(network)), default=0
    )
    states = sum(
        state.nbytes
        for each in initial_states(
            rule, dict(network.named_parameters()), layers_of(network)
        ).values()
        for state in each.values()
    )
    size = weights_type.itemsize
    part = -(-count // shards)
    network.to(type_).train()
    images = torch.empty(images_shape, dtype=type_, device="meta")
    labels = torch.empty(len(images), dtype=torch.int64, device="meta")
    copies = count * type_.itemsize if type_ != weights_type else 0
    return MemoryEstimate(
        parameters=(part + (2 * largest if shards > 1 else 0)) * size,
        gradients=part * size,
        optimizer_state=states if rule.needs_whole_tensor else -(-states // shards),
        reduction=count * size if shards == 1 and world_size > 1 else 0,
        activations=kept_for_backward(network, images, labels) + copies,
        batch=images.nbytes + labels.nbytes + 4 * len(labels),
    )

"""What a network gets once all processes are there: statistics, memory order, cut, compilation."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh

from fullscale.batch_layout import BatchLayout
from fullscale.batch_norm import BatchNormSpan, has_batch_norm, span_batch_norm
from fullscale.sharding import shard_network
from models_of_scaling.errors import InputError


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """How a network is run; none but the batch norm's changes what it learns, up to rounding.

    Attributes:
        batch_norm_span: examples per statistic; None: those of each forward.
        batch_norm_moving_averages: validate with averages over steps, else with the last step's.
        channels_last: memory order of images, and of weights where FSDP2 does not cut them.
        compile: by torch.compile.
        zero_init_last_batch_norm: start the scale of each residual block's last batch norm at 0.
    """

    batch_norm_span: int | None = None
    batch_norm_moving_averages: bool = True
    channels_last: bool = False
    compile: bool = False
    zero_init_last_batch_norm: bool = False

    def check(self, network: nn.Module, *, name: str) -> None:
        """Refuse a span where there is nothing to span.

        Args:
            network: torch's layers still in it.
            name: of the network.

        Raises:
            InputError: where the network has no batch norm, or no residual block.
        """
        if self.batch_norm_span is not None and not has_batch_norm(network):
            raise InputError(
                f"--model.batch_norm_span {self.batch_norm_span}: {name} has no batch norm"
            )
        if self.zero_init_last_batch_norm and not last_batch_norms(network):
            raise InputError(
                f"--model.zero_init_last_batch_norm: {name} has no residual block with batch norm"
            )

    def initialise(self, network: nn.Module) -> None:
        """Change the start of the weights where that was asked for.

        Args:
            network: as built.
        """
        if self.zero_init_last_batch_norm:
            for norm in last_batch_norms(network):
                nn.init.zeros_(norm.weight)


def last_batch_norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    """Return the last batch norm of each residual block, the one before its addition.

    With its scale at 0 a block begins as the identity (Goyal et al. 2017, arXiv:1706.02677,
    section 5.1). Batch norms are the layers bn1, bn2, ... of a block, as torchvision and we name
    them; the stem's single one is none.

    Args:
        network: torch's layers still in it.
    """
    found = []
    for block in network.modules():
        norms = [getattr(block, f"bn{place}", None) for place in (1, 2, 3)]
        present = [norm for norm in norms if isinstance(norm, nn.BatchNorm2d)]
        if len(present) > 1:
            found.append(present[-1])
    return found


def set_up_network(
    network: nn.Module,
    settings: NetworkSettings,
    *,
    layout: BatchLayout,
    rank: int,
    copies: int,
    mesh: DeviceMesh | None,
) -> BatchNormSpan | None:
    """Prepare a network in place; all ranks must call.

    Args:
        network: as built.
        settings: how it is run.
        layout: how each step is cut.
        rank: whose share of the examples this process has.
        copies: processes that see the same examples.
        mesh: over which the network is cut; None without a cut.

    Returns:
        What the batch-norm layers share; None without such layers.
    """
    span = None
    if has_batch_norm(network):
        span = BatchNormSpan(layout, rank=rank, copies=copies)
        span_batch_norm(network, span=span, moving_averages=settings.batch_norm_moving_averages)
    # FSDP2 refuses weights in another order; there the images' order leads the convolutions.
    if settings.channels_last and mesh is None:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if mesh is not None:
        shard_network(network, mesh)
    if settings.compile:
        # Forwards come in two or three sizes, each worth a program of its own.
        network.compile(dynamic=False)
    return span

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
    """

    batch_norm_span: int | None = None
    batch_norm_moving_averages: bool = True
    channels_last: bool = False
    compile: bool = False

    def check(self, network: nn.Module, *, name: str) -> None:
        """Refuse a span where there is nothing to span.

        Args:
            network: torch's layers still in it.
            name: of the network.

        Raises:
            InputError: where the network has no batch norm.
        """
        if self.batch_norm_span is not None and not has_batch_norm(network):
            raise InputError(
                f"--model.batch_norm_span {self.batch_norm_span}: {name} has no batch norm"
            )


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

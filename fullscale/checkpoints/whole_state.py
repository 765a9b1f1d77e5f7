"""Network and optimizer state gathered whole over ranks, and laid out again over others.

The one way in and out for every strategy: DDP's and a single process's tensors, the DTensors of
`fully_shard` and tensor parallelism, FSDP's flat parameters. What is gathered names its tensors by
parameter, so that it can be laid out over any number of ranks. Every rank must call these
functions: with sharded tensors they are collectives.
"""

from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.optim import Optimizer


def gather_state(model: nn.Module, optimizer: Optimizer) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the model's and the optimizer's state.

    Args:
        model: as the strategy wrapped it.
        optimizer: of its parameters.

    Returns:
        Both with whole tensors on the CPU, on rank 0; empty on other ranks.
    """
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return (
        dict(get_model_state_dict(model, options=options)),
        dict(get_optimizer_state_dict(model, optimizer, options=options)),
    )


def restore_state(
    model: nn.Module,
    optimizer: Optimizer,
    *,
    model_state: dict[str, Any],
    optimizer_state: dict[str, Any],
) -> None:
    """Give model and optimizer the state that `gather_state` returned, whoever gathered it.

    Args:
        model: as the strategy wrapped it.
        optimizer: of its parameters, before its first step.
        model_state: on rank 0; unused on other ranks.
        optimizer_state: likewise.
    """
    several = torch.distributed.is_available() and torch.distributed.is_initialized()
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=several)
    # torch can't broadcast a state without a single tensor of one axis or more (plain SGD's).
    if not several or getattr(optimizer, "keeps_state", True):
        # The optimizer first: torch takes a step of rate 0 to make its state, the model overrides.
        set_optimizer_state_dict(model, optimizer, optimizer_state, options=options)
    set_model_state_dict(model, model_state, options=options)
    optimizer.zero_grad(set_to_none=True)

"""What processes say to each other: torch's gradient hooks for DDP, and bytes per step.

Without a hook the sum over all examples is exact and each weighs 1/B. A hook gives some of it up:

- fp16, bf16: gradients are rounded before they are summed; each example still weighs 1/B up to
  that rounding (2^-11 and 2^-8 relative), fp16 also loses what is below 6e-8.
- powersgd: a low-rank sum with error feedback (Vogels, Karimireddy & Jaggi 2019, arXiv:1905.13727);
  what a step leaves out comes in later ones, so a step's examples weigh 1/B over time only.
- post_local_sgd: exact at first; then gradients are averaged within groups of processes, weights
  over all every so many steps (Lin et al. 2018, arXiv:1808.07217). Then an example moves its own
  group's weights by the learning rate over the group's share of B, and "the step" of the whole
  batch no longer exists between two averages. Momentum stays with each process (the source's local
  momentum).
- swap: exact at first (phase 1); then each group of processes trains a copy of its own on its own
  order of the whole set (phase 2); evaluated, and kept at the end, is the mean of the copies with
  fresh batch-norm statistics (phase 3). Gupta, Serrano & DeCoste 2020, arXiv:2001.02312, algorithm
  1. A group's batch is its share of B; the schedule serves both phases.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import distributed, nn

from models_of_scaling.errors import InputError

Hook = Literal["none", "fp16", "bf16", "powersgd", "post_local_sgd", "swap"]


@dataclass(frozen=True, kw_only=True)
class HookSettings:
    """Which hook, and its numbers.

    Attributes:
        hook: one of `Hook`.
        start_steps: steps with exact sums before powersgd, post_local_sgd or swap begins.
        rank: of powersgd's approximation.
        averaging_period_steps: steps between two averages of post_local_sgd's weights.
        group_size: processes whose gradients post_local_sgd and swap still average at each step.
    """

    hook: Hook = "none"
    start_steps: int = 100
    rank: int = 1
    averaging_period_steps: int = 4
    group_size: int = 1

    def __post_init__(self) -> None:
        """Check each field.

        Raises:
            InputError: naming the flag, the value and the rule.
        """
        for name, lowest in (("rank", 1), ("averaging_period_steps", 2), ("group_size", 1)):
            if getattr(self, name) < lowest:
                raise InputError(f"--comm.{name} {getattr(self, name)} must be at least {lowest}")
        # torch's PowerSGD needs two steps of DDP's own before it.
        lowest = 0 if self.trains_apart else 2
        if self.start_steps < lowest:
            raise InputError(f"--comm.start_steps {self.start_steps} must be at least {lowest}")

    @property
    def trains_apart(self) -> bool:
        """Whether processes come to hold different weights."""
        return self.hook in {"post_local_sgd", "swap"}

    def choices(self) -> dict[str, str]:
        """Return the hook and the numbers that it uses, for a trial's settings."""
        used = {
            "powersgd": ("start_steps", "rank"),
            "post_local_sgd": ("start_steps", "averaging_period_steps", "group_size"),
            "swap": ("start_steps", "group_size"),
        }
        numbers = {f"comm_{name}": str(getattr(self, name)) for name in used.get(self.hook, ())}
        return {"comm_hook": self.hook, **numbers}


@torch.no_grad()
def average_over_processes(network: nn.Module) -> None:
    """Give every process the mean of all processes' weights; all must call.

    torch's `average_parameters` does the same and leaves each weight a view of one buffer, in
    another memory order than `channels_last`.

    Args:
        network: whole on each process.
    """
    parameters = list(network.parameters())
    flat = torch.cat([p.detach().reshape(-1) for p in parameters])
    flat /= distributed.get_world_size()
    distributed.all_reduce(flat)
    for parameter, mean in zip(
        parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True
    ):
        parameter.copy_(mean.view(parameter.shape))


def make_hook(
    settings: HookSettings, *, steps_done: int = 0
) -> tuple[Any, Callable[..., Any]] | None:
    """Return what DDP's `register_comm_hook` takes; all ranks must call, after they joined.

    Args:
        settings: which one.
        steps_done: by an earlier part of the run.

    Returns:
        State and hook; None without one.
    """
    from torch.distributed.algorithms.ddp_comm_hooks import (
        default_hooks,
        post_localSGD_hook,
        powerSGD_hook,
    )

    if settings.hook == "fp16":
        return None, default_hooks.fp16_compress_hook
    if settings.hook == "bf16":
        return None, default_hooks.bf16_compress_hook
    if settings.hook == "powersgd":
        state = powerSGD_hook.PowerSGDState(
            process_group=None,
            matrix_approximation_rank=settings.rank,
            start_powerSGD_iter=settings.start_steps,
        )
        return state, powerSGD_hook.powerSGD_hook
    if settings.trains_apart:
        ours, _ = distributed.new_subgroups(  # type: ignore[no-untyped-call]
            group_size=settings.group_size
        )
        local = post_localSGD_hook.PostLocalSGDState(  # type: ignore[no-untyped-call]
            process_group=None, subgroup=ours, start_localSGD_iter=settings.start_steps
        )
        local.iter = steps_done
        return local, post_localSGD_hook.post_localSGD_hook
    return None


@dataclass(frozen=True, kw_only=True)
class StepTraffic:
    """Bytes that one device sends per optimizer step.

    Attributes:
        gradients: sums of gradients; with FSDP2 reduce-scatters.
        weights: with FSDP2 the gathers of weights, forward and backward.
        batch_norm: statistics.
    """

    gradients: float
    weights: float
    batch_norm: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.gradients + self.weights + self.batch_norm


def step_traffic(  # noqa: PLR0913 - a formula's quantities
    *,
    parameter_bytes: float,
    batch_norm_channels: int,
    ranks_per_statistic: int,
    world_size: int,
    forwards: int,
    fully_sharded: bool,
    gradient_bytes_factor: float = 1.0,
) -> StepTraffic:
    """Count the bytes of one step, by rings (Patarasu & Yuan 2009: 2 n (N - 1) / N).

    Args:
        parameter_bytes: of the whole network.
        batch_norm_channels: over all layers; 0 without batch norm.
        ranks_per_statistic: ranks in a team that shares statistics.
        world_size: N.
        forwards: per step; FSDP2 gathers and reduces at each.
        fully_sharded: FSDP2 instead of DDP.
        gradient_bytes_factor: below 1 where a hook compresses.

    Returns:
        What each device sends; receiving is as much.
    """
    ring = (world_size - 1) / world_size
    # Two numbers per channel: summed over all ranks each step for the moving averages; over a team
    # gathered in each forward (each sends its own once to all others) and summed in each backward.
    values = 8.0 * batch_norm_channels
    team = ranks_per_statistic - 1
    statistics = 2 * values * ring + forwards * values * (team + 2 * team / ranks_per_statistic)
    if fully_sharded:
        once = parameter_bytes * ring * forwards
        return StepTraffic(gradients=once, weights=2 * once, batch_norm=statistics)
    return StepTraffic(
        gradients=2 * parameter_bytes * ring * gradient_bytes_factor,
        weights=0.0,
        batch_norm=statistics,
    )

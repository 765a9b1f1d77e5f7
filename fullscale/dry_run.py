"""What a run would need and say, worked out without its data, its devices or its peers."""

from torch import nn

from fullscale.batch_layout import BatchLayout
from fullscale.communication import Hook, StepTraffic, step_traffic
from fullscale.memory_estimate import MemoryEstimate, estimate_memory, parameter_dtype
from fullscale.optimizers.update_rule import UpdateRule
from fullscale.run_plan import RunPlan

_GIB, _MIB = 2**30, 2**20
# What a hook leaves of single-precision gradients; powersgd depends on the layers' shapes.
_HOOK_BYTES = {"fp16": 2, "bf16": 2}


def count_batch_norm_channels(network: nn.Module) -> int:
    """Return the channels of all batch-norm layers together."""
    return sum(m.num_features for m in network.modules() if isinstance(m, nn.BatchNorm2d))


def describe_needs(  # noqa: PLR0913 - what a run is made of
    network: nn.Module,
    *,
    rule: UpdateRule,
    plan: RunPlan,
    image_shape: tuple[int, int, int],
    precision: str,
    fully_sharded: bool,
    copies: int,
    hook: Hook,
    assumed: str = "",
) -> list[str]:
    """Return the lines on memory and communication.

    Args:
        network: on the meta device; used up.
        rule: of the optimizer.
        plan: of the run.
        image_shape: channels, height, width.
        precision: as the Trainer names it.
        fully_sharded: FSDP2 instead of DDP.
        copies: processes that see the same examples.
        hook: DDP's.
        assumed: of data that are not here, in words.

    Returns:
        One statement a line.
    """
    layout = plan.largest_layout
    type_ = parameter_dtype(precision)
    traffic = step_traffic(
        parameter_bytes=sum(p.numel() for p in network.parameters()) * type_.itemsize,
        batch_norm_channels=count_batch_norm_channels(network),
        ranks_per_statistic=layout.ranks_per_group,
        world_size=layout.world_size,
        forwards=layout.accumulate_grad_batches,
        fully_sharded=fully_sharded,
        gradient_bytes_factor=_HOOK_BYTES.get(hook, type_.itemsize) / type_.itemsize,
    )
    memory = estimate_memory(
        network,
        rule=rule,
        images_shape=(layout.per_device_batch_size, *image_shape),
        precision=precision,
        shards=layout.world_size if fully_sharded else 1,
        world_size=layout.world_size * copies,
    )
    return [
        _memory_line(memory, layout),
        *_traffic_lines(traffic, plan, processes=layout.world_size * copies, hook=hook),
        *([f"data    not here; assumed, as ImageNet has them: {assumed}"] if assumed else []),
        "dry run: nothing was started, read or written",
    ]


def _memory_line(memory: MemoryEstimate, layout: BatchLayout) -> str:
    parts = {
        "parameters": memory.parameters,
        "gradients": memory.gradients,
        "optimizer state": memory.optimizer_state,
        "reduction buckets": memory.reduction,
        f"activations of {layout.per_device_batch_size} examples": memory.activations,
        "their batch": memory.batch,
    }
    listed = ", ".join(f"{name} {size / _GIB:.2f}" for name, size in parts.items() if size)
    return f"memory  at least {memory.total / _GIB:.2f} GiB per device: {listed}"


def _traffic_lines(traffic: StepTraffic, plan: RunPlan, *, processes: int, hook: Hook) -> list[str]:
    parts = {
        "gradients": traffic.gradients,
        "weights": traffic.weights,
        "batch norm": traffic.batch_norm,
    }
    listed = ", ".join(f"{name} {size / _MIB:.1f}" for name, size in parts.items() if size)
    if hook in {"powersgd", "post_local_sgd"}:
        listed += f"; before --comm.start_steps, {hook} sends less afterwards"
    whole_run_gib = traffic.total * plan.stop_steps / _GIB
    return [
        f"network each device sends {traffic.total / _MIB:.1f} MiB per step by rings"
        + (f" ({listed})" if listed else "")
        + f"; {whole_run_gib:,.0f} GiB in {plan.stop_steps} steps,"
        f" {whole_run_gib * processes / 1024:,.1f} TiB over all {processes} devices"
    ]

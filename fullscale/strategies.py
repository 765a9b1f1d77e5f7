"""How processes share the work: `--trainer.strategy` auto, ddp, fsdp2, and Lightning's others.

`fsdp2` is Lightning's ModelParallelStrategy for classifiers; it runs on CPUs too. With
`fsdp2_head2`, 4 or 8, so many devices share the classifier head; other numbers by
`--trainer.strategy fullscale.strategies.FullyShard --trainer.strategy.tensor_parallel_size 16`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, StrategyRegistry
from torch.distributed.constants import default_pg_timeout

from models_of_scaling.errors import InputError

_LIGHTNINGS_FSDP = ("fsdp", "fsdp_cpu_offload")


class FullyShard(ModelParallelStrategy):
    """FSDP2 over all devices, or over as many teams as share a classifier head."""

    def __init__(
        self,
        *,
        tensor_parallel_size: int = 1,
        save_distributed_checkpoint: bool = True,
        process_group_backend: str | None = None,
        timeout: timedelta | None = default_pg_timeout,
    ) -> None:
        """Describe the mesh; its other side follows from the number of devices.

        Args:
            tensor_parallel_size: devices that share the classifier head and see the same examples.
            save_distributed_checkpoint: each rank writes its part; else rank 0 writes all.
            process_group_backend: torch's choice when not given.
            timeout: of collectives.

        Raises:
            InputError: where the size is not positive.
        """
        if tensor_parallel_size < 1:
            raise InputError(f"tensor_parallel_size {tensor_parallel_size} must be at least 1")
        super().__init__(
            tensor_parallel_size=tensor_parallel_size,
            save_distributed_checkpoint=save_distributed_checkpoint,
            process_group_backend=process_group_backend,
            timeout=timeout,
        )

    def setup_environment(self) -> None:
        """Complete the mesh, then start the processes."""
        assert isinstance(self._tensor_parallel_size, int)
        devices = self.num_nodes * self.num_processes
        self._data_parallel_size = devices // self._tensor_parallel_size
        super().setup_environment()


if "fsdp2" not in StrategyRegistry:
    StrategyRegistry.register("fsdp2", FullyShard, description="FSDP2 by torch's fully_shard")
    for size in (2, 4, 8):
        StrategyRegistry.register(
            f"fsdp2_head{size}",
            FullyShard,
            description=f"FSDP2, and {size} devices share the classifier head",
            tensor_parallel_size=size,
        )


def processes_per_share(trainer: Trainer) -> int:
    """Return how many consecutive processes see the same examples: 1 without tensor parallelism.

    Args:
        trainer: not yet run.

    Where that number does not divide the devices, it ends in an InputError.
    """
    if not isinstance(trainer.strategy, ModelParallelStrategy):
        return 1
    size = trainer.strategy._tensor_parallel_size  # noqa: SLF001 - it has no public name
    copies = trainer.num_devices if size == "auto" else size
    return _checked_share(copies, devices=trainer.num_nodes * trainer.num_devices)


def _checked_share(copies: int, *, devices: int) -> int:
    """Return the number of processes that see the same examples, if it divides the devices."""
    if devices % copies:
        raise InputError(f"tensor_parallel_size {copies} must divide the {devices} devices")
    return copies


def planned_cut(strategy: Any, *, devices: int) -> tuple[bool, int]:
    """Return what a strategy will do, before any device is there.

    Args:
        strategy: `--trainer.strategy` as parsed: a word, or a class with its arguments.
        devices: of the run.

    Returns:
        Whether the network is cut over all devices; how many processes see the same examples.

    Raises:
        InputError: where there is no strategy of that name, or that number does not divide the
            devices.
    """
    if isinstance(strategy, str):
        names = ["auto", *StrategyRegistry.available_strategies()]
        if strategy not in names:
            raise InputError(f"--trainer.strategy {strategy!r} is not one of {', '.join(names)}")
        head = re.fullmatch(r"fsdp2_head(\d+)", strategy)
        size = int(head.group(1)) if head else 1
        return strategy.startswith("fsdp"), _checked_share(size, devices=devices)
    name = str(getattr(strategy, "class_path", ""))
    given = getattr(getattr(strategy, "init_args", None), "tensor_parallel_size", 1)
    return name.endswith(("FullyShard", "ModelParallelStrategy", "FSDPStrategy")), _checked_share(
        given if isinstance(given, int) else 1, devices=devices
    )


@dataclass(frozen=True, kw_only=True)
class RunProcesses:
    """Who takes part in a run, as far as flags depend on it.

    Attributes:
        count: processes of the whole run, one a device.
        uses_ddp: gradients are averaged by DDP.
        on_gpu: as far as is known.
    """

    count: int
    uses_ddp: bool
    on_gpu: bool


def processes_of(trainer: Trainer) -> RunProcesses:
    """Return those of a trainer that has not run yet."""
    return RunProcesses(
        count=trainer.num_nodes * trainer.num_devices,
        uses_ddp=isinstance(trainer.strategy, DDPStrategy),
        on_gpu=trainer.strategy.root_device.type == "cuda",
    )


def planned_processes(trainer: Mapping[str, Any], *, count: int) -> RunProcesses:
    """Return those of a run whose devices need not be here.

    Args:
        trainer: flag to value, as parsed.
        count: processes of the whole run.

    Returns:
        As a trainer would have them; an accelerator that is left to Lightning counts as GPUs.
    """
    strategy = trainer.get("strategy", "auto")
    name = str(getattr(strategy, "class_path", strategy)).rpartition(".")[2].lower()
    return RunProcesses(
        count=count,
        uses_ddp=name.startswith("ddp") or (name == "auto" and count > 1),
        on_gpu=trainer.get("accelerator", "auto") in {"auto", "gpu", "cuda"},
    )


def refuse_what_needs_a_gpu(trainer: Mapping[str, Any], *, has_gpu: bool) -> None:
    """Refuse what would fail without a GPU, or what Lightning would replace there.

    Args:
        trainer: flag to value, as parsed.
        has_gpu: torch finds one.

    Raises:
        InputError: naming the flag, the value and the rule.
    """
    strategy, precision = trainer.get("strategy"), str(trainer.get("precision"))
    accelerator = trainer.get("accelerator", "auto")
    if accelerator in {"gpu", "cuda"} and not has_gpu:
        raise InputError(
            f"--trainer.accelerator {accelerator}: this machine has no GPU that torch can use; "
            "--trainer.accelerator cpu trains without one, --dry_run plans without any"
        )
    on_gpu = has_gpu and accelerator in {"auto", "gpu", "cuda"}
    if strategy in _LIGHTNINGS_FSDP and not (on_gpu and accelerator != "auto"):
        raise InputError(
            f"--trainer.strategy {strategy} needs a GPU and --trainer.accelerator gpu: Lightning's "
            "FSDP has no CPU version; fsdp2 runs on both"
        )
    if precision in {"16", "16-mixed"} and not on_gpu:
        raise InputError(
            f"--trainer.precision {precision} needs a GPU: Lightning would take bf16-mixed on a "
            "CPU instead; ask for that, or for 32-true"
        )

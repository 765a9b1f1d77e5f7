"""How many members of a population train at once: as many as fit into a share of free memory.

A member takes its parameters, buffers and the rule's states, once as they are and, while a step
runs, once more as they will be, with the gradients; and what the forward keeps for the backward.
The last is counted for a few examples on the meta device and grows with the batch size.
"""

import os
from pathlib import Path

import torch
from torch import Tensor

from surrogate.training.activations import kept_bytes_per_example
from surrogate.training.sizes import largest_size
from surrogate.training.task import Task
from surrogate.training.tensor_trees import tree_leaves

# Of the free memory: the rest is for data, evaluation, and what the estimate does not see.
_SHARE = 0.5
# Activations' gradients, and copies in other memory orders, live beside what is kept.
_ACTIVATION_FACTOR = 2


def free_bytes(device: torch.device) -> int:
    """Return the memory that a process may still take on a device.

    On a GPU what the driver says is free, and what torch holds unused. On the CPU what the kernel
    calls available, or what the container's limit leaves, divided by the cores: a sweep runs a
    process on each.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return min(_available_bytes(), _container_bytes()) // (os.cpu_count() or 1)


def _available_bytes() -> int:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        (kib,) = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
        return int(kib) * 1024
    except (OSError, ValueError):  # not Linux
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _container_bytes() -> int:
    """Return what the control group leaves, if it has a limit; version 2's files."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = int((folder / "memory.max").read_text(encoding="ascii"))
        return max(0, limit - int((folder / "memory.current").read_text(encoding="ascii")))
    except (OSError, ValueError):  # no such file, or "max"
        return 2**62


def bytes_per_member(task: Task) -> int:
    """Return an estimate of what one member takes while a step runs.

    Args:
        task: what the members share.

    Returns:
        Bytes on the task's device.
    """
    parameters, buffers = task.stacked_network.stack([task.template])
    states = task.init_states(parameters)
    own = _size(parameters), _size(buffers), _size(states)
    image = task.data.train_images[:1]
    kept = task.batch_size * kept_bytes_per_example(
        task.template, image_shape=task.data.image_shape, dtype=task.dtype
    )
    # The batch as it is gathered and as numbers; labels are small beside it.
    batch = 2 * image.size * torch.empty(0, dtype=task.dtype).element_size() * task.batch_size
    return int(2 * sum(own) + own[0] + _ACTIVATION_FACTOR * kept + batch)


def _size(tensors: object) -> int:
    return sum(
        leaf.numel() * leaf.element_size()
        for leaf in tree_leaves(tensors)
        if isinstance(leaf, Tensor)
    )


def members_at_once(task: Task) -> int:
    """Return how many members a step may take at once.

    Args:
        task: what the members share; its `memory_limit_bytes` stands for the share of free memory.

    Returns:
        A size of `sizes.population_size`; 2, the smallest, even where that is too much.
    """
    return largest_size(_limit_bytes(task) // bytes_per_member(task))


def _limit_bytes(task: Task) -> int:
    if task.memory_limit_bytes is not None:
        return task.memory_limit_bytes
    return int(_SHARE * free_bytes(torch.device(task.device)))


def waiting_device(task: Task, members: int) -> torch.device:
    """Return where members' own tensors are kept between their turns.

    Args:
        task: what the members share.
        members: places of the population.

    Returns:
        The task's device, or the CPU where they would take more than half of the limit there.
    """
    parameters, buffers = task.stacked_network.stack([task.template])
    own = _size((parameters, buffers, task.init_states(parameters)))
    fits = 2 * members * own <= _limit_bytes(task)
    return torch.device(task.device if fits else "cpu")

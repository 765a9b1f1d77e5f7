"""Which device a process trains on: the GPU that `CUDA_VISIBLE_DEVICES` names, else the CPU.

A GPU is never taken unasked: small networks train faster on many cores, and the processes of a
sweep would all crowd onto the first one. `--gpus` sets the variable in each worker process, SLURM
sets it in a job that asked for a GPU, and for a Dask worker or a command of one process the user
does.
"""

import functools
import os

from models_of_scaling.errors import InputError

_VARIABLE = "CUDA_VISIBLE_DEVICES"
# What SLURM and CUDA's own manual write where a process shall see none.
_NONE = frozenset({"", "-1", "NoDevFiles"})


def visible_gpus() -> tuple[str, ...]:
    """Return the GPUs that this process's environment names; needs no torch."""
    names = (name.strip() for name in os.environ.get(_VARIABLE, "").split(","))
    return tuple(name for name in names if name not in _NONE)


def training_device() -> str:
    """Return where this process trains.

    Returns:
        `cuda`, the first GPU that it sees, or `cpu`.

    Raises:
        InputError: where a GPU is named that torch does not see: nobody asked for a CPU then.
    """
    named = visible_gpus()
    if not named:
        return "cpu"
    import torch  # planning a sweep needs no torch

    if not torch.cuda.is_available():
        raise InputError(
            f"--gpus, or {_VARIABLE}: {','.join(named)}: torch {torch.__version__} sees no such "
            f"GPU; to train on the CPU leave --gpus out and {_VARIABLE} empty"
        )
    return "cuda"


@functools.cache
def device_name() -> str | None:
    """Return the name of the GPU that this process trains on, for a record; None for the CPU."""
    if training_device() == "cpu":
        return None
    import torch

    return torch.cuda.get_device_name()

"""One rank's random state: torch's on its devices, Python's and numpy's, as plain values.

The data need none of it: order and augmentation are functions of seed and position. It is for
networks that draw, dropout for example, and for callbacks.
"""

import random
from typing import Any

import numpy as np
import torch
from torch import nn

_DRAWING = (nn.modules.dropout._DropoutNd, nn.RReLU)  # noqa: SLF001 - the base of all dropouts


def collect_random_state() -> dict[str, Any]:
    """Return this process's state of all global generators."""
    name, keys, *numpy_rest = np.random.get_state()  # noqa: NPY002 - what callers may have drawn from
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        "python": random.getstate(),
        "numpy": (str(name), [int(key) for key in keys], *numpy_rest),
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Set all global generators of this process.

    Args:
        state: of `collect_random_state`.
    """
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))  # noqa: NPY002


def draws_random_numbers(network: nn.Module) -> bool:
    """Return whether a network has dropout or another layer that draws while it trains."""
    return any(isinstance(module, _DRAWING) for module in network.modules())

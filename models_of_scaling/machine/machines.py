"""What there is to choose from: machines, and batch sizes that a fit can speak about."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from models_of_scaling.errors import InputError
from models_of_scaling.fit_record import FitRecord
from models_of_scaling.machine.cluster import Placement
from models_of_scaling.prediction import check_distance

# Nobody has checked these laws farther out than 8x; half of that is a habit, not a bound.
MAX_EXTRAPOLATION: Final = 4.0


@dataclass(frozen=True, kw_only=True)
class Machines:
    """The machines to choose from.

    Attributes:
        nodes: numbers of nodes, increasing.
        devices_per_node: of each.
        max_per_device_batch_size: examples that a device can hold; None for no limit.
    """

    nodes: tuple[int, ...]
    devices_per_node: int
    max_per_device_batch_size: int | None = None

    def place(self, batch_size: int, nodes: int) -> Placement | None:
        """Return the placement; None where some device would have no example.

        Args:
            batch_size: examples per step.
            nodes: one of `nodes`.
        """
        if batch_size < nodes * self.devices_per_node:
            return None
        return Placement(
            batch_size=batch_size,
            nodes=nodes,
            devices_per_node=self.devices_per_node,
            max_per_device_batch_size=self.max_per_device_batch_size,
        )


def candidate_batch_sizes(
    fit: FitRecord, *, max_extrapolation: float = MAX_EXTRAPOLATION
) -> list[int]:
    """Return powers of two from the smallest fitted batch size on, and the whole training set.

    Args:
        fit: the record.
        max_extrapolation: the largest candidate over the largest fitted batch size.

    Returns:
        Increasing; none larger than the training set where its size is known.
    """
    highest = max_extrapolation * fit.largest_batch_size
    if fit.num_train_examples:
        highest = min(highest, fit.num_train_examples)
    first = math.ceil(math.log2(fit.smallest_batch_size))
    sizes = {2**power for power in range(first, math.floor(math.log2(highest)) + 1)}
    if fit.num_train_examples and fit.num_train_examples <= highest:
        sizes.add(fit.num_train_examples)
    return sorted(sizes | {fit.smallest_batch_size, fit.largest_batch_size})


def check_batch_sizes(fit: FitRecord, batch_sizes: Sequence[int]) -> list[int]:
    """Return the batch sizes a user asked for, or refuse them.

    Args:
        fit: the record.
        batch_sizes: examples per step.

    Raises:
        InputError: for one larger than the training set, or that no prediction exists of
            (`prediction.check_distance`).
    """
    for size in batch_sizes:
        check_distance(size, (fit.smallest_batch_size, fit.largest_batch_size))
        if fit.num_train_examples and size > fit.num_train_examples:
            raise InputError(
                f"--batch-size {size} must not exceed the training set of "
                f"{fit.num_train_examples} examples"
            )
    return sorted(set(batch_sizes))

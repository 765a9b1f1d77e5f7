"""How one optimizer step's examples are spread over processes and forwards; standard library only.

The global batch is the only batch that a user gives; everything else follows from the world size
and from what a device can hold. Any global batch is legal, also one that does not divide: shares
differ by one example at most and the loss weighs each example exactly 1/B (see `loss_scale`).
"""

from dataclasses import dataclass

from models_of_scaling.errors import InputError


def even_slice(total: int, *, parts: int, part: int) -> range:
    """Return the `part`-th of `parts` consecutive slices of range(total), as even as possible.

    Args:
        total: length to cut.
        parts: number of slices, at least 1.
        part: which one, from 0.

    Returns:
        A range; the first slices are the longer ones, by one. It is empty where `total` is short.

    >>> [list(even_slice(5, parts=3, part=part)) for part in range(3)]
    [[0, 1], [2, 3], [4]]
    """
    size, longer = divmod(total, parts)
    start = part * size + min(part, longer)
    return range(start, start + size + (part < longer))


@dataclass(frozen=True, kw_only=True)
class BatchLayout:
    """The cut of one optimizer step over processes and forwards.

    Attributes:
        global_batch_size: examples per optimizer step, over all processes.
        world_size: processes, one device each.
        max_per_device_batch_size: examples that a device can hold in one forward.
    """

    global_batch_size: int
    world_size: int
    max_per_device_batch_size: int

    def __post_init__(self) -> None:
        """Check each field.

        Raises:
            InputError: naming the flag, the value and the rule.
        """
        if self.world_size < 1:
            raise InputError(f"world_size {self.world_size} must be at least 1")
        if self.global_batch_size < 1:
            raise InputError(
                f"--data.global_batch_size {self.global_batch_size} must be at least 1"
            )
        if self.global_batch_size < self.world_size:
            raise InputError(
                f"--data.global_batch_size {self.global_batch_size} must not be smaller than the "
                f"{self.world_size} processes of the run: each needs an example in every step"
            )
        if self.max_per_device_batch_size < 1:
            raise InputError(
                f"--data.max_per_device_batch_size {self.max_per_device_batch_size} must be at "
                "least 1"
            )

    @property
    def max_share(self) -> int:
        """Examples per step of the rank that has most."""
        return -(-self.global_batch_size // self.world_size)

    @property
    def accumulate_grad_batches(self) -> int:
        """Forwards per optimizer step, the same on every rank."""
        return -(-self.max_share // self.max_per_device_batch_size)

    @property
    def per_device_batch_size(self) -> int:
        """Examples in the largest forward."""
        return -(-self.max_share // self.accumulate_grad_batches)

    @property
    def loss_scale(self) -> float:
        """What one rank's sum of per-example losses in one forward is multiplied by.

        DDP averages gradients over ranks and Lightning divides each loss by
        `accumulate_grad_batches`; this undoes both, so that every example weighs 1/B.
        """
        return self.world_size * self.accumulate_grad_batches / self.global_batch_size

    def share(self, rank: int) -> range:
        """Return the places within the step, 0 ... B - 1, that a rank processes."""
        return even_slice(self.global_batch_size, parts=self.world_size, part=rank)

    def micro_batch(self, *, rank: int, forward: int) -> range:
        """Return the places within the step that a rank processes in one of its forwards.

        Args:
            rank: from 0.
            forward: 0 ... accumulate_grad_batches - 1.

        Returns:
            Places 0 ... B - 1. Empty where the rank's share has fewer examples than forwards.
        """
        share = self.share(rank)
        part = even_slice(len(share), parts=self.accumulate_grad_batches, part=forward)
        return share[part.start : part.stop]

"""How one optimizer step's examples are spread over processes and forwards; standard library only.

The global batch is the only batch that a user gives; everything else follows from the world size
and from what a device can hold. Any global batch is legal, also one that does not divide: shares
differ by one group at most and the loss weighs each example exactly 1/B (see `loss_scale`).

A group is what can't be cut between forwards. Without batch norm, or where each forward has
statistics of its own, it is one example. With a stated span of batch norm it is the examples that
share a statistic: the step's places 0 ... B - 1 cut evenly into ceil(B / span) groups, so that they
depend on B and the span alone. A group too large for one device, or for the devices to be busy, is
spread over a team of consecutive ranks, one group at a time.
"""

import functools
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
        world_size: processes with examples of their own, one device each.
        max_per_device_batch_size: examples that a device can hold in one forward.
        batch_norm_span: examples per statistic of batch norm, at most: where it does not divide the
            batch, groups differ by one example. None: no batch norm, or one statistic per forward.
    """

    global_batch_size: int
    world_size: int
    max_per_device_batch_size: int
    batch_norm_span: int | None = None

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
        if self.batch_norm_span is not None:
            self._check_span(self.batch_norm_span)

    def _check_span(self, span: int) -> None:
        """Refuse a span that can't be held, or that leaves a statistic of one example."""
        flag = f"--model.batch_norm_span {span}"
        if not 2 <= span <= self.global_batch_size:
            raise InputError(
                f"{flag} must be at least 2 and at most the global batch size "
                f"{self.global_batch_size}"
            )
        smallest, largest = self._smallest_group, self._largest_group
        if smallest < 2:
            raise InputError(
                f"{flag}: the {self.global_batch_size} examples of a step come to "
                f"{self.num_groups} groups, one of them of a single example; give a span that "
                "divides the batch"
            )
        if not self._possible_teams():
            holds = min(-(-largest // team) for team in _divisors(self.world_size, smallest))
            team = -(-largest // self.max_per_device_batch_size)
            raise InputError(
                f"{flag}: a statistic needs its examples in one forward, and {self.world_size} "
                f"processes can't share {largest} with at most {self.max_per_device_batch_size} "
                f"each; give --data.max_per_device_batch_size {holds} or more, or a number of "
                f"processes divisible by {team}"
            )

    @property
    def num_groups(self) -> int:
        """Groups per step: examples that stay together in one forward."""
        return -(-self.global_batch_size // (self.batch_norm_span or 1))

    @property
    def _smallest_group(self) -> int:
        return self.global_batch_size // self.num_groups

    @property
    def _largest_group(self) -> int:
        return -(-self.global_batch_size // self.num_groups)

    def _possible_teams(self) -> list[int]:
        """Numbers of ranks that can share a group: each holds its part and has an example."""
        return [
            team
            for team in _divisors(self.world_size, self._smallest_group)
            if -(-self._largest_group // team) <= self.max_per_device_batch_size
        ]

    @functools.cached_property
    def ranks_per_group(self) -> int:
        """Ranks in a team, those that share each statistic.

        As few as leave no rank without a group; where none does, as few as can hold a group.
        """
        if self.batch_norm_span is None:
            return 1
        possible = self._possible_teams()
        busy = [team for team in possible if self.world_size // team <= self.num_groups]
        return min(busy or possible)

    @property
    def _num_teams(self) -> int:
        return self.world_size // self.ranks_per_group

    @functools.cached_property
    def accumulate_grad_batches(self) -> int:
        """Forwards per optimizer step, the same on every rank."""
        together = (
            self.max_per_device_batch_size // self._largest_group
            if self.ranks_per_group == 1
            else 1
        )
        return -(-self._groups_of_team(0) // together)

    def _groups_of_team(self, team: int) -> int:
        return len(even_slice(self.num_groups, parts=self._num_teams, part=team))

    @functools.cached_property
    def per_device_batch_size(self) -> int:
        """Examples in the largest forward."""
        if self.ranks_per_group > 1:
            return -(-self._largest_group // self.ranks_per_group)
        # The first forward of rank 0 has as many groups as any, and the longer ones.
        return len(self.micro_batch(rank=0, forward=0))

    @property
    def loss_scale(self) -> float:
        """What one rank's sum of per-example losses in one forward is multiplied by.

        DDP averages gradients over ranks and Lightning divides each loss by
        `accumulate_grad_batches`; this undoes both, so that every example weighs 1/B.
        """
        return self.world_size * self.accumulate_grad_batches / self.global_batch_size

    def _groups(self, *, rank: int, forward: int) -> range:
        """Return the groups that a rank's team processes in one forward."""
        team = rank // self.ranks_per_group
        share = even_slice(self.num_groups, parts=self._num_teams, part=team)
        part = even_slice(len(share), parts=self.accumulate_grad_batches, part=forward)
        return share[part.start : part.stop]

    def _places_of_group(self, group: int) -> range:
        return even_slice(self.global_batch_size, parts=self.num_groups, part=group)

    def micro_batch(self, *, rank: int, forward: int) -> range:
        """Return the places within the step that a rank processes in one of its forwards.

        Args:
            rank: from 0.
            forward: 0 ... accumulate_grad_batches - 1.

        Returns:
            Places 0 ... B - 1. Empty where the rank has fewer groups than forwards.
        """
        groups = self._groups(rank=rank, forward=forward)
        if not groups:
            return range(0)
        first, last = self._places_of_group(groups[0]), self._places_of_group(groups[-1])
        places = range(first.start, last.stop)
        if self.ranks_per_group == 1:
            return places
        part = even_slice(len(places), parts=self.ranks_per_group, part=rank % self.ranks_per_group)
        return places[part.start : part.stop]

    def statistics(self, *, rank: int, forward: int) -> tuple[tuple[int, ...], ...]:
        """Return how the examples of one forward make up batch norm's statistics.

        Args:
            rank: from 0.
            forward: 0 ... accumulate_grad_batches - 1.

        Returns:
            One entry per statistic in the order of the forward's examples: the number of examples
            that each rank of the team contributes. None where the rank has a filler only.

        >>> BatchLayout(
        ...     global_batch_size=8, world_size=1, max_per_device_batch_size=8, batch_norm_span=4
        ... ).statistics(rank=0, forward=0)
        ((4,), (4,))
        """
        if self.batch_norm_span is None:
            count = len(self.micro_batch(rank=rank, forward=forward))
            return ((count,),) if count else ()
        return tuple(
            tuple(
                len(even_slice(size, parts=self.ranks_per_group, part=part))
                for part in range(self.ranks_per_group)
            )
            for size in (
                len(self._places_of_group(group))
                for group in self._groups(rank=rank, forward=forward)
            )
        )


def _divisors(number: int, limit: int) -> list[int]:
    """Return the divisors of a number up to a limit, 1 among them."""
    return [part for part in range(1, min(number, limit) + 1) if number % part == 0]

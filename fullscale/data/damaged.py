"""Pictures that can't be decoded: each counted and named, and an error where they are too many.

The register is shared by the workers of a process, so that each picture is named once by it. The
other processes of a run see other examples: besides the share of the whole split, each holds the
share to what it has met itself, with room for chance.
"""

import math
import os
import sys
from typing import NoReturn

import torch

from fullscale.launch.cluster_environment import speaks_for_node
from models_of_scaling.errors import InputError

# Standard deviations of a Poisson count, and a few pictures, before chance is ruled out.
_ROOM_DEVIATIONS, _ROOM_PICTURES = 4.0, 4.0


class DamagedDataError(InputError):
    """Too many damaged pictures; one line, also after the way out of a loader's worker."""

    def __init__(self, message: str) -> None:
        """Keep the last line: torch puts a worker's traceback before it.

        Args:
            message: the line.
        """
        last = message.strip().splitlines()[-1]
        super().__init__(last.removeprefix(f"{__name__}.{type(self).__name__}: "))


class DamagedPictures:
    """The damaged pictures of one split, as met so far."""

    def __init__(self, *, split: str, num_examples: int, max_share: float) -> None:
        """Start with none.

        Args:
            split: its name, for messages.
            num_examples: of the split.
            max_share: of damaged ones that is borne, in [0, 1).

        Raises:
            InputError: where the share is out of range.
        """
        if not 0 <= max_share < 1:
            raise InputError(f"--data.max_damaged_share {max_share} must be in [0, 1)")
        self._split = split
        self._max_share = max_share
        self._flags = torch.zeros(num_examples, dtype=torch.bool)
        self._met = torch.zeros(1, dtype=torch.int64)
        for shared in (self._flags, self._met):
            shared.share_memory_()  # type: ignore[no-untyped-call]

    @property
    def count(self) -> int:
        """Different damaged pictures met by this process and its workers."""
        return int(self._flags.sum())

    def __contains__(self, index: int) -> bool:
        """Return whether an example is known to be damaged."""
        return bool(self._flags[index])

    def meet(self, num_examples: int) -> None:
        """Count examples that were asked for."""
        self._met += num_examples

    def add(self, index: int, *, name: str, reason: str) -> None:
        """Register a damaged picture and name it on standard error.

        Args:
            index: in the split.
            name: of the file.
            reason: why it can't be decoded.

        Where there are too many now, it ends in a `DamagedDataError`.
        """
        if index in self:
            return
        self._flags[index] = True
        what = f"{name}: not a readable picture: {' '.join(reason.split())}"
        total, count = len(self._flags), self.count
        if self._max_share == 0:
            self._fail(f"{what} (--data.max_damaged_share is 0)")
        print(f"warning: {what}; {count} of {total:,} in {self._split}", file=sys.stderr)
        expected = self._max_share * int(self._met)
        by_chance = expected + _ROOM_DEVIATIONS * math.sqrt(expected) + _ROOM_PICTURES
        if count > min(self._max_share * total, by_chance):
            self._fail(
                f"{what}; with it {count} of {int(self._met):,} examples read from {self._split} "
                f"({total:,}) are damaged, more than --data.max_damaged_share {self._max_share}"
            )

    @staticmethod
    def _fail(message: str) -> NoReturn:
        """Raise, and say it here where this process is one whose input errors are not printed.

        Those are the same on all processes of a node; which pictures were met is not.

        Args:
            message: the line.

        Raises:
            DamagedDataError: always.
        """
        if not speaks_for_node(os.environ):
            print(f"error: {message}", file=sys.stderr)
        raise DamagedDataError(message)

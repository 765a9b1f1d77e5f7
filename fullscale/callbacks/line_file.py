"""A text file that grows by whole lines, safe under a kill at any time.

The first lines are written under a temporary name and renamed; later ones are appended in one write
each, which a kill either finds done or not begun.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from models_of_scaling.atomic_write import whole_file


class LineFile:
    """A file for notes about a run. What can't be written is said once and ends nothing."""

    def __init__(self, path: Path) -> None:
        """Name the file; it is not touched yet.

        Args:
            path: of the file.
        """
        self.path = path
        self._failed = False

    def begin(self, lines: Sequence[str]) -> None:
        """Write the file anew.

        Args:
            lines: without line breaks.
        """
        try:
            with whole_file(self.path) as stream:
                stream.write("".join(f"{line}\n" for line in lines).encode())
        except OSError as error:
            self._warn(error)

    def add(self, lines: Sequence[str]) -> None:
        """Append.

        Args:
            lines: without line breaks.
        """
        if self._failed or not lines:
            return
        try:
            with self.path.open("ab", buffering=0) as stream:
                stream.write("".join(f"{line}\n" for line in lines).encode())
        except OSError as error:
            self._warn(error)

    def _warn(self, error: OSError) -> None:
        self._failed = True
        print(f"warning: {self.path} is written no further: {error}", file=sys.stderr)

"""Pictures decoded once and stored as raw uint8 pixels, short side 256 by default, memory-mapped.

Nothing is left to do but to cut and to resize. The short side has one length, the long side is as
it comes: crops keep their full range. Of ImageNet this takes about 335 GB (the JPEGs 141 GB).
"""

import mmap
from collections import OrderedDict
from typing import Any

import numpy as np

from fullscale.data.decoding import DamagedPictureError, Pixels
from fullscale.data.shard_index import ShardIndex

# Each map holds a file open; 1,024 may be open in a process by default.
_MAPS_KEPT = 256


class Uint8Store:
    """One split's pixels; a `PictureStore`."""

    def __init__(self, index: ShardIndex) -> None:
        """Keep the index and look at the shards' sizes.

        Args:
            index: of the split. Where a shard is shorter than it says, it ends in an InputError.
        """
        self._index = index
        self._maps: OrderedDict[str, mmap.mmap] = OrderedDict()
        self.labels = index.labels
        index.check_sizes()

    def __getstate__(self) -> dict[str, Any]:
        """Return what a new process needs; it maps the files itself."""
        return {**self.__dict__, "_maps": OrderedDict()}

    def name_of(self, index: int) -> str:
        """Return CLASS/FILE."""
        return self._index.name_of(index)

    def where(self, index: int) -> str:
        """Return the shard and the picture's name."""
        return f"{self._index.file_of(index)} ({self.name_of(index)})"

    def read(self, index: int) -> Pixels:
        """Return a picture's pixels: a view of the file.

        Raises:
            DamagedPictureError: where it was damaged in the source already.
        """
        where, place = self._index, self._index.offset[index]
        height, width = int(where.height[index]), int(where.width[index])
        if not height:
            raise DamagedPictureError("it was damaged when it was converted")
        pixels = np.frombuffer(
            self._map(where.file_of(index)), np.uint8, count=height * width * 3, offset=int(place)
        )
        return pixels.reshape(height, width, 3)

    def _map(self, file: str) -> mmap.mmap:
        found = self._maps.get(file)
        if found is None:
            with open(file, "rb") as stream:  # noqa: PTH123 - as elsewhere in readers
                # Writable, privately: torch warns of memory that it may not write to.
                found = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
            self._maps[file] = found
            if len(self._maps) > _MAPS_KEPT:
                self._maps.popitem(last=False)
        return found

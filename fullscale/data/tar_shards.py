"""Tar shards in webdataset's layout, KEY.jpg beside KEY.cls, read in any order by their index.

The webdataset library reads them too, one after the other; it is not needed here.
"""

from fullscale.data.shard_index import ShardIndex


class TarStore:
    """One split's pictures in tar files; a `PictureStore`."""

    def __init__(self, index: ShardIndex) -> None:
        """Keep the index and look at the shards' sizes.

        Args:
            index: of the split. Where a shard is shorter than it says, it ends in an InputError.
        """
        index.check_sizes()
        self._index = index
        self.labels = index.labels

    def name_of(self, index: int) -> str:
        """Return CLASS/FILE."""
        return self._index.name_of(index)

    def where(self, index: int) -> str:
        """Return the shard and the picture's name."""
        return f"{self._index.file_of(index)} ({self.name_of(index)})"

    def read(self, index: int) -> bytes:
        """Return a picture's file.

        Raises:
            OSError: where the shard ends before it.
        """
        # Opened each time (15 microseconds): a thousand shards are more files than may be open.
        with open(self._index.file_of(index), "rb", buffering=0) as stream:  # noqa: PTH123
            stream.seek(int(self._index.offset[index]))
            size = int(self._index.size[index])
            data = stream.read(size)
        if len(data) != size:
            raise OSError(f"the shard ends after {len(data)} of {size} bytes")
        return data

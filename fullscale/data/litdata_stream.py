"""litdata streams: dictionaries with `image` (a picture's file) and `label`, read in any order.

litdata is an extra (`pip install batch-size-limit[data]`): it is imported where a stream is opened.
"""

from pathlib import Path
from typing import Any

import numpy as np

from fullscale.data.shard_index import ShardIndex
from models_of_scaling.errors import InputError


def open_stream(folder: Path) -> Any:
    """Open one split's stream.

    Args:
        folder: holds litdata's index.json and chunks.

    Returns:
        A litdata.StreamingDataset.

    Raises:
        InputError: where litdata is not installed or can't read the folder.
    """
    try:
        from litdata import StreamingDataset  # type: ignore[import-untyped]
    except ImportError as error:
        raise InputError(
            "--data.name litdata needs litdata: pip install 'batch-size-limit[data]'"
        ) from error
    try:
        stream = StreamingDataset(str(folder))
        len(stream)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"--data.root {folder.parent}: {folder}: {error}") from error
    return stream


class LitdataStore:
    """One split's pictures in a litdata stream; a `PictureStore`."""

    def __init__(self, index: ShardIndex, stream: Any) -> None:
        """Find each picture's place in the stream.

        Args:
            index: of the split.
            stream: a litdata.StreamingDataset.

        Raises:
            InputError: where the stream and the index have different lengths.
        """
        if len(stream) != len(index.labels):
            raise InputError(
                f"{index.path}: {len(index.labels)} rows, litdata's stream has {len(stream)}"
            )
        self._index = index
        self._stream = stream
        self.labels = index.labels
        in_chunk = np.bincount(index.shard, minlength=len(index.files))
        starts = np.concatenate([[0], np.cumsum(in_chunk)[:-1]])
        self._places = starts[index.shard] + index.offset

    def name_of(self, index: int) -> str:
        """Return CLASS/FILE."""
        return self._index.name_of(index)

    def where(self, index: int) -> str:
        """Return the chunk and the picture's name."""
        return f"{self._index.file_of(index)} ({self.name_of(index)})"

    def read(self, index: int) -> bytes:
        """Return a picture's file."""
        data: bytes = self._stream[int(self._places[index])]["image"]
        return data

"""Files that a reader sees whole or not at all: temporary name, flush, rename."""

import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def whole_file(path: Path) -> Generator[IO[bytes]]:
    """Open a stream whose content becomes the file at once, when the block ends without error.

    The bytes are flushed to the disk before the rename and the folder's entry after it, so that
    neither a kill nor a power cut leaves half a file. An error leaves what was there before. The
    temporary name begins with a dot and ends with `.tmp`: readers that look for `*.parquet` or
    `*.json` never meet it, and two writers never share one.

    Args:
        path: of the file; its folder is made when missing.

    Yields:
        A binary stream.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with scratch.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

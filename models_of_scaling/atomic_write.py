"""Files that a reader sees whole or not at all: temporary name, flush, rename."""

import os
import secrets
import stat
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

    Where a device or a pipe stands under the name (/dev/stdout), the bytes go into it: a rename
    would put a file in its place.

    Args:
        path: of the file; its folder is made when missing. Where it is a link, what it leads to.

    Yields:
        A binary stream.

    Raises:
        OSError: naming `path`, where it can't be written.
    """
    real = Path(os.path.realpath(path))
    try:
        with _stream_into(real) as stream:
            yield stream
    except OSError as error:
        # A failed write names no file; a failed rename names the temporary one.
        name = Path(error.filename or real).name
        if error.errno is None or not name.startswith((real.name, f".{real.name}.")):
            raise  # of another file, in the caller's block
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


@contextmanager
def _stream_into(path: Path) -> Generator[IO[bytes]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    if _takes_a_stream(path):
        with path.open("wb") as stream:
            yield stream
        return
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


def _takes_a_stream(path: Path) -> bool:
    """Return whether a device or a named pipe stands there."""
    try:
        mode = path.stat().st_mode
    except OSError:  # not there, or not to be seen: opening it says why
        return False
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode) or stat.S_ISFIFO(mode)

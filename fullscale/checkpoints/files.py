"""Checkpoint files: written whole, told sound from damaged by SHA-256, found newest first.

A file `step-000000040.ckpt` is, byte for byte:

    8 bytes    b"BSLCKPT1"
    32 bytes   SHA-256 of everything after it
    8 bytes    length of the header, big endian
    header     JSON: steps, evaluation_due, status, identity
    the rest   torch.save of the state; read with weights_only=True

The checksum stands before what it covers, so that one pass writes the file and one reads it.
"""

import hashlib
import json
import pickle
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, cast

import torch

from models_of_scaling.atomic_write import whole_file
from models_of_scaling.errors import InputError

_MAGIC = b"BSLCKPT1"
_DIGEST_BYTES, _LENGTH_BYTES = 32, 8
_NAME = re.compile(r"step-(\d{9,})\.ckpt")
_CHUNK_BYTES = 1 << 20


class CheckpointError(RuntimeError):
    """A checkpoint could not be written; the message is one line."""


class DamagedCheckpointError(ValueError):
    """A file is not what was written; the message says in what, without the file's name."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """What is known of a checkpoint without its tensors.

    Attributes:
        steps: optimizer steps done.
        evaluation_due: the evaluation after the last of them was not taken yet.
        status: of the run; "reached" is an end.
        identity: what a run must have in common with the checkpoint to go on from it.
    """

    steps: int
    evaluation_due: bool
    status: str
    identity: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint that was read and is sound.

    Attributes:
        path: its file.
        header: as written.
        state: as written; tensors are on the CPU.
    """

    path: Path
    header: Header
    state: dict[str, Any]


class _HashedStream:
    """A sink for torch.save, which would turn an OSError into a page of its own."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        if self.error is None:
            try:
                self._stream.write(data)
            except OSError as error:
                self.error = error
            self.digest.update(data)
        return memoryview(data).nbytes

    def flush(self) -> None:
        """Nothing to do: `whole_file` flushes."""


def checkpoint_path(folder: Path, steps: int) -> Path:
    """Return the name of the checkpoint after some steps."""
    return folder / f"step-{steps:09d}.ckpt"


def write_checkpoint(folder: Path, header: Header, state: Mapping[str, Any]) -> Path:
    """Write one checkpoint; a reader never sees half of it, and an error leaves the others.

    Args:
        folder: made when missing.
        header: of the checkpoint.
        state: tensors, numbers, text, and lists, tuples and dicts of them.

    Returns:
        The file's path.

    Raises:
        CheckpointError: where the disk is full or the folder can't be written.
    """
    path = checkpoint_path(folder, header.steps)
    try:
        with whole_file(path) as stream:
            _write(stream, header, state)
    except OSError as error:
        others = list_checkpoints(folder)
        kept = f"; {others[0]} is the last good one" if others else ""
        raise CheckpointError(f"checkpoint {path} was not written: {error}{kept}") from error
    return path


def _write(stream: IO[bytes], header: Header, state: Mapping[str, Any]) -> None:
    stream.write(_MAGIC + bytes(_DIGEST_BYTES))
    sink = _HashedStream(stream)
    words = json.dumps(asdict(header)).encode()
    sink.write(len(words).to_bytes(_LENGTH_BYTES, "big") + words)
    torch.save(dict(state), cast("IO[bytes]", sink))
    if sink.error is not None:
        raise sink.error
    stream.seek(len(_MAGIC))
    stream.write(sink.digest.digest())


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint and check it.

    Args:
        path: of the file.

    Returns:
        The checkpoint.

    Raises:
        DamagedCheckpointError: where the file is not what was written, or can't be read.
    """
    try:
        with path.open("rb") as stream:
            _check_digest(stream)
            length = int.from_bytes(stream.read(_LENGTH_BYTES), "big")
            header = Header(**json.loads(stream.read(length)))
            state = torch.load(stream, map_location="cpu", weights_only=True)
    except OSError as error:
        raise DamagedCheckpointError(f"can't be read: {error}") from error
    except pickle.UnpicklingError as error:
        raise DamagedCheckpointError("holds more than tensors and plain values") from error
    return Checkpoint(path=path, header=header, state=state)


def _check_digest(stream: IO[bytes]) -> None:
    """Read to the end and compare; leave the stream where the covered part begins."""
    if stream.read(len(_MAGIC)) != _MAGIC:
        raise DamagedCheckpointError("is not a checkpoint of this program")
    stated = stream.read(_DIGEST_BYTES)
    digest = hashlib.sha256()
    while chunk := stream.read(_CHUNK_BYTES):
        digest.update(chunk)
    if digest.digest() != stated:
        raise DamagedCheckpointError("is damaged: its checksum is not that of its content")
    stream.seek(len(_MAGIC) + _DIGEST_BYTES)


def steps_of(path: Path) -> int:
    """Return the steps that a checkpoint's name states."""
    found = _NAME.fullmatch(path.name)
    assert found is not None
    return int(found.group(1))


def list_checkpoints(folder: Path) -> list[Path]:
    """Return a folder's checkpoints by name, newest first; none where there is no folder."""
    if not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if _NAME.fullmatch(path.name))
    return sorted(found, key=steps_of, reverse=True)


def newest_good(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest checkpoint that is sound.

    Args:
        folder: of one run.

    Returns:
        The checkpoint, None where the folder has none; and a warning for each newer file that was
        passed over, naming both.

    Raises:
        InputError: where there are checkpoints, and none is sound.
    """
    damaged: list[str] = []
    for path in list_checkpoints(folder):
        try:
            found = read_checkpoint(path)
        except DamagedCheckpointError as error:
            damaged.append(f"checkpoint {path} {error}")
            continue
        return found, [f"{words}; {path} is used instead" for words in damaged]
    if damaged:
        raise InputError(
            f"--checkpoint.folder {folder}: no checkpoint is sound ({'; '.join(damaged)}); move "
            "them away to start anew"
        )
    return None, []


def keep_newest(folder: Path, *, keep: int, steps: int) -> None:
    """Delete older checkpoints, and what killed writers left behind.

    Args:
        folder: of one run.
        keep: how many to keep among those of at most `steps`; later ones are not touched.
        steps: of the run now.
    """
    until_now = [path for path in list_checkpoints(folder) if steps_of(path) <= steps]
    for path in [*until_now[keep:], *folder.glob(".step-*.ckpt.*.tmp")]:
        path.unlink(missing_ok=True)

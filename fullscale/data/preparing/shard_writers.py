"""Writing one shard of each format: bytes that depend on its pictures and on nothing else."""

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from fullscale.data.augmentation import resized_shape
from fullscale.data.decoding import DamagedPictureError, Decoder, Pixels, resized_crop
from fullscale.data.pictures import PictureStore
from fullscale.data.preparing.conversion import Conversion, ShardTask
from models_of_scaling.atomic_write import whole_file

_TAR_HEADER_BYTES = 512
# Of pictures that are stored smaller. 95 is the highest that PIL's documentation recommends.
_JPEG_QUALITY = 95


class PrepareError(RuntimeError):
    """The conversion failed; the message is one line."""


@dataclass
class WrittenShard:
    """What was written.

    Attributes:
        columns: of the index, besides name and label; and `row` of the split.
        sha256: of the file.
        stream: litdata's own description of the chunk; empty for other formats.
        damaged: what could not be decoded, one line each. Files are copied as they are, pixels have
            no rows: a reader finds them damaged too.
    """

    columns: dict[str, list[int]] = field(
        default_factory=lambda: {name: [] for name in ("row", "offset", "size", "height", "width")}
    )
    sha256: str = ""
    stream: dict[str, Any] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)

    def add(self, *, row: int, offset: int, size: int, pixels: Pixels | None = None) -> None:
        """Note where a picture went."""
        height, width = (0, 0) if pixels is None else pixels.shape[:2]
        values = {"row": row, "offset": offset, "size": size, "height": height, "width": width}
        for name, value in values.items():
            self.columns[name].append(value)


class _HashedStream:
    """A stream to write to, which knows its place and its hash."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self.place = 0

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        self.place += len(data)
        return self._stream.write(data)

    def tell(self) -> int:
        return self.place

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def write_shard(conversion: Conversion, task: ShardTask, store: PictureStore) -> WrittenShard:
    """Write one shard, whole or not at all.

    Args:
        conversion: the format and the size.
        task: the shard.
        store: the split's pictures.

    Returns:
        Where each picture went. A file that can't be read ends in a PrepareError.
    """
    path = conversion.destination / task.split / task.file_name(conversion.format)
    written = WrittenShard()
    with whole_file(path) as raw:
        stream = _HashedStream(raw)
        job = _Job(stream=stream, written=written, conversion=conversion, task=task, store=store)
        _WRITERS[conversion.format](job)
        written.sha256 = stream.sha256
    return written


def _smaller(data: bytes, short_side: int) -> Pixels:
    """Return a picture with the short side that is asked for."""
    pixels = Decoder().decode(data)
    height, width = pixels.shape[:2]
    new_height, new_width = resized_shape(width=width, height=height, short_side=short_side)
    image = resized_crop(pixels, (0, 0, width, height), height=new_height, width=new_width)
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def _read(store: PictureStore, row: int) -> bytes:
    try:
        data = store.read(row)
    except OSError as error:
        raise PrepareError(f"{store.where(row)}: {error}") from error
    assert isinstance(data, bytes)
    return data


def _stored_pixels(job: "_Job", row: int) -> Pixels:
    """Return what is stored of a picture as pixels: nothing where it is damaged."""
    data = _read(job.store, row)
    assert job.conversion.stored_size is not None
    try:
        return _smaller(data, job.conversion.stored_size)
    except DamagedPictureError as error:
        job.note_damaged(row, error)
        return np.empty((0, 0, 3), dtype=np.uint8)


def _stored_file(job: "_Job", row: int) -> tuple[bytes, str]:
    """Return what is stored of a picture as a file, and what its name ends with."""
    data = _read(job.store, row)
    if job.conversion.stored_size is not None:
        buffer = io.BytesIO()
        try:
            picture = Image.fromarray(_smaller(data, job.conversion.stored_size))
            picture.save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
            data = buffer.getvalue()
        except DamagedPictureError as error:
            job.note_damaged(row, error)
    if data.startswith(b"\xff\xd8"):
        return data, "jpg"
    return data, Path(job.store.name_of(row)).suffix.lower().removeprefix(".")


@dataclass(frozen=True, kw_only=True)
class _Job:
    """Everything that a format's writer needs."""

    stream: _HashedStream
    written: WrittenShard
    conversion: Conversion
    task: ShardTask
    store: PictureStore

    @property
    def rows(self) -> list[int]:
        return [int(row) for row in self.task.rows]

    def note_damaged(self, row: int, error: DamagedPictureError) -> None:
        reason = " ".join(str(error).split())
        self.written.damaged.append(f"{self.store.where(row)}: not a readable picture: {reason}")


def _write_tar(job: _Job) -> None:
    stream = job.stream
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:  # type: ignore[call-overload]
        for row in job.rows:
            data, ending = _stored_file(job, row)
            job.written.add(row=row, offset=stream.place + _TAR_HEADER_BYTES, size=len(data))
            label = str(int(job.store.labels[row])).encode()
            for name, content in ((f"{row:08d}.{ending}", data), (f"{row:08d}.cls", label)):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def _write_uint8(job: _Job) -> None:
    for row in job.rows:
        pixels = _stored_pixels(job, row)
        job.written.add(row=row, offset=job.stream.place, size=pixels.nbytes, pixels=pixels)
        job.stream.write(pixels.tobytes())


def _write_litdata(job: _Job) -> None:
    # litdata takes seconds to import.
    from litdata.streaming.writer import BinaryWriter  # type: ignore[import-untyped]

    task, store = job.task, job.store
    with tempfile.TemporaryDirectory(dir=job.conversion.destination, prefix=".chunk-") as scratch:
        writer = BinaryWriter(scratch, chunk_size=len(task.rows), chunk_index=task.number)
        for place, row in enumerate(job.rows):
            data, _ = _stored_file(job, row)
            job.written.add(row=row, offset=place, size=len(data))
            item = {"image": data, "label": int(store.labels[row]), "name": store.name_of(row)}
            writer.add_item(place, item)
        writer.done()
        (index,) = Path(scratch).glob("*.index.json")
        job.written.stream.update(json.loads(index.read_text(encoding="utf-8")))
        (chunk,) = Path(scratch).glob("*.bin")
        assert chunk.name == task.file_name("litdata")
        with chunk.open("rb") as content:
            while block := content.read(1 << 20):
                job.stream.write(block)


_WRITERS: dict[str, Callable[[_Job], None]] = {
    "tar": _write_tar,
    "uint8": _write_uint8,
    "litdata": _write_litdata,
}

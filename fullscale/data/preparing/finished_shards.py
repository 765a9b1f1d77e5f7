"""Which shards of a conversion are finished, and putting them together at the end.

Beside each finished shard lies a note, written after it: its pictures' places and its hash. A
conversion that was killed goes on with the shards that have none; at the end the notes become the
index and the checksums, and are removed.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fullscale.data.pictures import PictureStore, PictureTree
from fullscale.data.preparing.conversion import Conversion, ShardTask
from fullscale.data.preparing.shard_writers import PrepareError, WrittenShard
from fullscale.data.shard_index import CHECKSUMS, INDEX, MANIFEST, SCHEMA, Manifest
from models_of_scaling.atomic_write import whole_file


def note_path(conversion: Conversion, task: ShardTask) -> Path:
    """Return where a shard's note lies."""
    name = task.file_name(conversion.format)
    return conversion.destination / task.split / f".{name}.finished.json"


def write_note(conversion: Conversion, task: ShardTask, written: WrittenShard) -> None:
    """Say that a shard is finished.

    Args:
        conversion: the whole.
        task: the shard.
        written: what is in it.
    """
    with whole_file(note_path(conversion, task)) as stream:
        stream.write(json.dumps(vars(written)).encode())


def read_note(conversion: Conversion, task: ShardTask) -> WrittenShard | None:
    """Return what a finished shard holds; None where it is not finished.

    Args:
        conversion: the whole.
        task: the shard.

    Returns:
        The note.
    """
    shard = conversion.destination / task.split / task.file_name(conversion.format)
    note = note_path(conversion, task)
    if not (note.exists() and shard.exists()):
        return None
    return WrittenShard(**json.loads(note.read_text(encoding="utf-8")))


def put_together(conversion: Conversion, tree: PictureTree, tasks: list[ShardTask]) -> Manifest:
    """Verify the counts and write index, checksums and manifest, the manifest last.

    Args:
        conversion: all of whose shards are finished.
        tree: the source.
        tasks: its shards.

    Returns:
        The manifest.

    Raises:
        PrepareError: where a shard's note has gone.
    """
    shards: dict[str, tuple[str, ...]] = {}
    for split, store in tree.splits:
        ours = [task for task in tasks if task.split == split]
        notes = []
        for task in ours:
            note = read_note(conversion, task)
            if note is None:
                raise PrepareError(f"{note_path(conversion, task)} has gone; start again")
            notes.append(note)
        shards[split] = tuple(task.file_name(conversion.format) for task in ours)
        folder = conversion.destination / split
        sums = dict(zip(shards[split], [note.sha256 for note in notes], strict=True))
        sums[INDEX] = write_index(folder, _index_table(store, notes))
        if conversion.format == "litdata":
            sums["index.json"] = _write_litdata_index(folder, [note.stream for note in notes])
        write_checksums(folder, sums)
    manifest = Manifest(
        format=conversion.format,
        classes=tree.classes,
        shards=shards,
        num_examples={split: len(store.labels) for split, store in tree.splits},
        options=conversion.options(),
    )
    write_manifest(conversion.destination, manifest)
    for task in tasks:
        note_path(conversion, task).unlink()
    return manifest


def _index_table(store: PictureStore, notes: list[WrittenShard]) -> pa.Table:
    """Return the index in the order of the source, every picture once."""
    columns = {
        name: np.concatenate([np.array(note.columns[name], dtype=np.int64) for note in notes])
        for name in notes[0].columns
    }
    shard = np.repeat(np.arange(len(notes)), [len(note.columns["row"]) for note in notes])
    order = np.argsort(columns["row"], kind="stable")
    if not np.array_equal(columns["row"][order], np.arange(len(store.labels))):
        raise PrepareError(
            f"{len(columns['row'])} pictures were written, of {len(store.labels)} in the source"
        )
    names = [store.name_of(row) for row in range(len(store.labels))]
    found = {"name": names, "label": store.labels, "shard": shard[order]}
    found |= {name: columns[name][order] for name in ("offset", "size", "height", "width")}
    return pa.table([pa.array(found[each.name], type=each.type) for each in SCHEMA], schema=SCHEMA)


def write_index(folder: Path, table: pa.Table) -> str:
    """Write the index and return its sha256.

    Args:
        folder: of the split.
        table: with `SCHEMA`.

    Returns:
        Hexadecimal digits.
    """
    with whole_file(folder / INDEX) as stream:
        pq.write_table(table, stream, compression="zstd")
    return file_sha256(folder / INDEX)


def file_sha256(path: Path) -> str:
    """Return a file's sha256 in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write_litdata_index(folder: Path, streams: list[dict[str, Any]]) -> str:
    """Write litdata's own index and return its sha256."""
    index = {
        "chunks": [chunk for stream in streams for chunk in stream["chunks"]],
        "config": streams[0]["config"],
    }
    with whole_file(folder / "index.json") as out:
        out.write(json.dumps(index, sort_keys=True).encode())
    return file_sha256(folder / "index.json")


def write_checksums(folder: Path, sums: dict[str, str]) -> None:
    """Write a file that `sha256sum -c` reads.

    Args:
        folder: of the split.
        sums: of each file.
    """
    with whole_file(folder / CHECKSUMS) as stream:
        stream.write("".join(f"{digest}  {name}\n" for name, digest in sums.items()).encode())


def write_manifest(root: Path, manifest: Manifest) -> None:
    """Write what the data set is.

    Args:
        root: of the data set.
        manifest: its content.
    """
    with whole_file(root / MANIFEST) as stream:
        stream.write(manifest.to_json().encode())

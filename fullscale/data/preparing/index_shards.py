"""An index for shards that were made elsewhere: tar files of webdataset, litdata streams."""

import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from fullscale.data.litdata_stream import open_stream
from fullscale.data.preparing.finished_shards import (
    file_sha256,
    write_checksums,
    write_index,
    write_manifest,
)
from fullscale.data.shard_index import INDEX, MANIFEST, SCHEMA, Manifest
from models_of_scaling.errors import InputError

_IMAGE_ENDINGS = ("jpg", "jpeg", "png", "ppm", "webp")


@dataclass
class _Rows:
    """The index of one split as it grows."""

    columns: dict[str, list[object]] = field(
        default_factory=lambda: {name: [] for name in SCHEMA.names}
    )

    def add(self, *, name: str, label: int, shard: int, offset: int, size: int) -> None:
        values = {"name": name, "label": label, "shard": shard, "offset": offset, "size": size}
        for column in SCHEMA.names:
            self.columns[column].append(values.get(column, 0))

    @property
    def table(self) -> pa.Table:
        arrays = [pa.array(self.columns[each.name], type=each.type) for each in SCHEMA]
        return pa.table(arrays, schema=SCHEMA)


def index_shards(root: Path, *, num_classes: int | None) -> Manifest:
    """Write manifest, index and checksums beside shards; the shards stay as they are.

    Args:
        root: holds train/*.tar and val/*.tar, or litdata streams in train and val.
        num_classes: labels are 0 ... num_classes - 1; None takes the largest label found.

    Returns:
        The manifest.

    Raises:
        InputError: where a split is missing, has no shards of one kind, holds a picture without a
            label or a label out of range, or where there is a manifest already.
    """
    if (root / MANIFEST).exists():
        raise InputError(f"{root / MANIFEST} exists: these shards have an index already")
    kinds = {split: _kind(root / split) for split in ("train", "val")}
    if len(set(kinds.values())) > 1:
        raise InputError(f"{root}: train is {kinds['train']} and val is {kinds['val']}")
    kind = kinds["train"]
    shards: dict[str, tuple[str, ...]] = {}
    rows: dict[str, _Rows] = {}
    for split in kinds:
        reader = _read_tars if kind == "tar" else _read_stream
        shards[split], rows[split] = reader(root / split)
    labels = np.concatenate([np.array(each.columns["label"]) for each in rows.values()])
    total = int(labels.max()) + 1 if num_classes is None else num_classes
    for split, each in rows.items():
        _check_labels(root / split, each, total)
    for split, each in rows.items():
        folder = root / split
        sums = {name: file_sha256(folder / name) for name in shards[split]}
        sums[INDEX] = write_index(folder, each.table)
        write_checksums(folder, sums)
    manifest = Manifest(
        format=kind,
        classes=tuple(str(label) for label in range(total)),
        shards=shards,
        num_examples={split: len(each.columns["label"]) for split, each in rows.items()},
        options={"indexed": True},
    )
    write_manifest(root, manifest)
    return manifest


def _kind(folder: Path) -> str:
    if not folder.is_dir():
        raise InputError(f"SRC {folder.parent}: there is no folder {folder}")
    if (folder / "index.json").exists():
        return "litdata"
    if any(folder.glob("*.tar")):
        return "tar"
    raise InputError(f"SRC {folder} has neither *.tar nor litdata's index.json")


def _check_labels(folder: Path, rows: _Rows, num_classes: int) -> None:
    pairs = zip(rows.columns["name"], rows.columns["label"], strict=True)
    for row, (name, label) in enumerate(pairs):
        assert isinstance(label, int)
        if not 0 <= label < num_classes:
            raise InputError(
                f"{folder}, picture {row} ({name}): label {label} is not in 0 ... {num_classes - 1}"
            )


def _read_tars(folder: Path) -> tuple[tuple[str, ...], _Rows]:
    rows = _Rows()
    files = sorted(folder.glob("*.tar"))
    for number, path in enumerate(files):
        try:
            pictures, labels = _tar_members(path)
        except tarfile.TarError as error:
            raise InputError(f"{path}: not a readable tar file: {error}") from error
        for key, (offset, size) in pictures.items():
            if key not in labels:
                raise InputError(f"{path}: {key} has a picture and no label {key}.cls")
            rows.add(name=key, label=labels[key], shard=number, offset=offset, size=size)
    return tuple(path.name for path in files), rows


def _tar_members(path: Path) -> tuple[dict[str, tuple[int, int]], dict[str, int]]:
    """Return where each key's picture lies (offset, size), and each key's label."""
    pictures: dict[str, tuple[int, int]] = {}
    labels: dict[str, int] = {}
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            key, ending = _key_and_ending(member.name)
            if ending in _IMAGE_ENDINGS:
                pictures[key] = (member.offset_data, member.size)
            elif ending == "cls":
                content = tar.extractfile(member)
                assert content is not None
                labels[key] = _label(content.read(), f"{path} ({member.name})")
    return pictures, labels


def _key_and_ending(name: str) -> tuple[str, str]:
    """Split as webdataset does: at the first dot after the last slash."""
    folder, slash, file = name.rpartition("/")
    stem, _, ending = file.partition(".")
    return folder + slash + stem, ending.lower()


def _label(content: bytes, where: str) -> int:
    try:
        return int(content)
    except ValueError as error:
        raise InputError(f"{where}: label {content[:20]!r} is not a whole number") from error


def _read_stream(folder: Path) -> tuple[tuple[str, ...], _Rows]:
    stream = open_stream(folder)
    rows = _Rows()
    chunks = json.loads((folder / "index.json").read_text(encoding="utf-8"))["chunks"]
    places = [
        (c, offset) for c, chunk in enumerate(chunks) for offset in range(chunk["chunk_size"])
    ]
    for place, (shard, offset) in enumerate(places):
        item = stream[place]
        if not isinstance(item, dict) or not {"image", "label"} <= set(item):
            raise InputError(f"{folder}, item {place}: not a dictionary with image and label")
        data = item["image"]
        if not isinstance(data, bytes):
            raise InputError(f"{folder}, item {place}: image is {type(data).__name__}, not bytes")
        label = _label(str(item["label"]).encode(), f"{folder}, item {place}")
        name = str(item.get("name", place))
        rows.add(name=name, label=label, shard=shard, offset=offset, size=len(data))
    return tuple(chunk["filename"] for chunk in chunks), rows

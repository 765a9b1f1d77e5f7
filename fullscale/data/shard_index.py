"""What `prepare` writes beside the shards: where each picture lies, and what the whole is.

    ROOT/manifest.json               format, classes, counts
    ROOT/SPLIT/index.parquet         one row a picture, in the order of the tree that it came from
    ROOT/SPLIT/SHA256SUMS            of the shards and the index; `sha256sum -c` reads it

Row i is picture i of the image folder whatever the order in the shards, so that a run reads the
same pictures in the same steps from every format.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models_of_scaling.errors import InputError

MANIFEST, INDEX, CHECKSUMS = "manifest.json", "index.parquet", "SHA256SUMS"
VERSION = 1
# `offset` and `size` are bytes within the shard; in a litdata stream offset is the picture's place
# within its chunk. height and width are of stored pixels, 0 for encoded files.
SCHEMA = pa.schema([
    ("name", pa.string()),
    ("label", pa.int32()),
    ("shard", pa.int32()),
    ("offset", pa.int64()),
    ("size", pa.int64()),
    ("height", pa.int32()),
    ("width", pa.int32()),
])


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a prepared data set is.

    Attributes:
        format: tar, litdata or uint8.
        classes: names; label k is the k-th.
        shards: file names of each split.
        num_examples: of each split.
        options: how it was made, in words.
    """

    format: str
    classes: tuple[str, ...]
    shards: Mapping[str, tuple[str, ...]]
    num_examples: Mapping[str, int]
    options: Mapping[str, Any]

    def to_json(self) -> str:
        """Return the file's content."""
        return json.dumps({"version": VERSION, **vars(self)}, indent=1, default=dict) + "\n"


def read_manifest(root: Path, *, of_format: str) -> Manifest:
    """Read what a prepared data set is.

    Args:
        root: of the data set.
        of_format: that is expected.

    Returns:
        The manifest.

    Raises:
        InputError: where there is none, it is damaged, or the format is another one.
    """
    path = root / MANIFEST
    if not path.exists():
        raise InputError(
            f"--data.root {root}: there is no {MANIFEST}; `python -m fullscale.data.prepare` "
            "converts an image folder, with --format index it indexes shards made elsewhere"
        )
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        manifest = Manifest(
            format=found["format"],
            classes=tuple(found["classes"]),
            shards={split: tuple(names) for split, names in found["shards"].items()},
            num_examples=found["num_examples"],
            options=found["options"],
        )
        version = found["version"]
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: not a readable manifest: {error!r}") from error
    if version != VERSION:
        raise InputError(f"{path}: version {version}, this program reads {VERSION}")
    if manifest.format != of_format:
        raise InputError(f"{path}: the format is {manifest.format}, not {of_format}")
    return manifest


class ShardIndex:
    """Where each picture of a split lies."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        """Read and check.

        Args:
            folder: of the split.
            manifest: of the data set.

        Raises:
            InputError: where the split is missing or damaged, a label is out of range, or the count
                is not the manifest's.
        """
        path = folder / INDEX
        if not path.exists():
            raise InputError(f"--data.root {folder.parent}: there is no {path}")
        try:
            table = pq.read_table(path, schema=SCHEMA)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{path}: not a readable index: {error}") from error
        self.path = path
        self.files = tuple(str(folder / name) for name in manifest.shards[folder.name])
        self.names = table["name"].combine_chunks()
        self.labels: NDArray[np.int64] = table["label"].to_numpy().astype(np.int64)
        self.shard, self.offset, self.size, self.height, self.width = (
            table[column].to_numpy() for column in SCHEMA.names[2:]
        )
        expected = manifest.num_examples[folder.name]
        if len(self.labels) != expected:
            raise InputError(f"{path}: {len(self.labels)} rows, the manifest says {expected}")
        self._check_labels(len(manifest.classes))
        for file in self.files:
            if not Path(file).exists():
                raise InputError(f"--data.root {folder.parent}: there is no {file}")

    def _check_labels(self, num_classes: int) -> None:
        wrong = np.flatnonzero((self.labels < 0) | (self.labels >= num_classes))
        if len(wrong):
            row = int(wrong[0])
            raise InputError(
                f"{self.path}, row {row} ({self.names[row].as_py()}): label {self.labels[row]} is "
                f"not in 0 ... {num_classes - 1}"
            )

    def check_sizes(self) -> None:
        """Look whether the shards are as long as their pictures, before hours are spent.

        Raises:
            InputError: where one is shorter, for example half copied.
        """
        ends = np.zeros(len(self.files), dtype=np.int64)
        np.maximum.at(ends, self.shard, self.offset + self.size)
        for file, end in zip(self.files, ends.tolist(), strict=True):
            size = Path(file).stat().st_size
            if size < end:
                raise InputError(f"{file}: {size} bytes, the index says {end}")

    def name_of(self, index: int) -> str:
        """Return CLASS/FILE."""
        return str(self.names[index].as_py())

    def file_of(self, index: int) -> str:
        """Return the path of a picture's shard."""
        return self.files[int(self.shard[index])]

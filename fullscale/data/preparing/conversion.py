"""What a conversion is: from where, to which format, cut into which shards."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullscale.data.picture_trees import open_picture_tree
from fullscale.data.pictures import PictureTree
from models_of_scaling.errors import InputError

FORMATS = ("tar", "litdata", "uint8")
# About 110 MB of ImageNet's JPEGs; of pixels 1 GB, so that few files are open at a time.
_EXAMPLES_PER_SHARD = {"tar": 1_000, "litdata": 1_000, "uint8": 4_000}
_UINT8_SIZE = 256
# Of the order within the shards of the training split. Readers that go through a shard from its
# begin to its end, as webdataset does, would meet one class after the other otherwise.
_SHUFFLE_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """One conversion.

    Attributes:
        source: an image folder.
        destination: folder of the shards.
        format: tar, litdata or uint8.
        size: short side of the stored pictures, pixels; None keeps files as they are (uint8: 256).
        classes: list of the classes to convert.
        images: list of the pictures to convert.
        examples_per_shard: pictures in a shard; None for the format's default.
    """

    source: Path
    destination: Path
    format: str
    size: int | None = None
    classes: Path | None = None
    images: Path | None = None
    examples_per_shard: int | None = None

    def __post_init__(self) -> None:
        """Check each field.

        Raises:
            InputError: naming the flag, the value and the rule.
        """
        if self.format not in FORMATS:
            raise InputError(f"--format {self.format!r} is not one of {', '.join(FORMATS)}")
        for flag, value in (
            ("size", self.size),
            ("examples-per-shard", self.examples_per_shard),
        ):
            if value is not None and value < 1:
                raise InputError(f"--{flag} {value} must be at least 1")
        if self.source.resolve() == self.destination.resolve():
            raise InputError(f"DST {self.destination} must not be SRC")

    @property
    def stored_size(self) -> int | None:
        """Short side of what is stored; None where files are copied."""
        return self.size or (_UINT8_SIZE if self.format == "uint8" else None)

    def open_source(self) -> PictureTree:
        """List what is converted; what is missing or wrong ends in an InputError."""
        return open_picture_tree(
            "image_folder", self.source, classes=self.classes, images=self.images
        )

    def shards(self, tree: PictureTree) -> Iterator["ShardTask"]:
        """Yield every shard, the larger split first.

        Args:
            tree: the source.

        Yields:
            What goes into each.
        """
        per_shard = self.examples_per_shard or _EXAMPLES_PER_SHARD[self.format]
        for split, store in tree.splits:
            order = np.arange(len(store.labels))
            if split == "train":
                order = np.random.default_rng(_SHUFFLE_SEED).permutation(order)
            for number, start in enumerate(range(0, len(order), per_shard)):
                yield ShardTask(split=split, number=number, rows=order[start : start + per_shard])

    def options(self) -> dict[str, Any]:
        """Return what the result depends on, besides the pictures."""
        return {
            "size": self.stored_size,
            "examples_per_shard": self.examples_per_shard or _EXAMPLES_PER_SHARD[self.format],
        }

    def fingerprint(self, tree: PictureTree) -> str:
        """Return a hash of everything that the result's bytes depend on but the pictures' bytes.

        Args:
            tree: the source.

        Returns:
            Hexadecimal digits.
        """
        digest = hashlib.sha256(repr((self.format, self.options(), tree.classes)).encode())
        for split, store in tree.splits:
            digest.update(f"\n{split}".encode())
            for row, label in enumerate(store.labels.tolist()):
                digest.update(f"\n{store.name_of(row)} {label}".encode())
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """One shard's content.

    Attributes:
        split: train or val.
        number: from 0.
        rows: of the split's pictures, in the shard's order.
    """

    split: str
    number: int
    rows: NDArray[np.int64]

    def file_name(self, format_: str) -> str:
        """Return the shard's name."""
        if format_ == "litdata":
            return f"chunk-0-{self.number}.bin"
        return f"shard-{self.number:06d}.{'tar' if format_ == 'tar' else 'u8'}"

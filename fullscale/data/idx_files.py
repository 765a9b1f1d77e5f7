"""Reads idx files, the format of MNIST and of the sets that copy its layout, plain or gzipped.

Source: LeCun, Cortes & Burges, "The MNIST database of handwritten digits", section "file formats":
two zero bytes, a type (8: unsigned bytes), the number of dimensions, each dimension's size as a
32-bit big-endian number, then the values, the last dimension changing fastest.
"""

import gzip
import hashlib
import math
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fullscale.data.raw_images import RawImages
from models_of_scaling.errors import InputError

_UNSIGNED_BYTES = 8
NUM_CLASSES = 10
FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def find_idx_file(folder: Path, name: str, *, how_to_get: str) -> Path:
    """Return where an idx file lies, itself or gzipped; itself where both are there.

    Args:
        folder: where to look.
        name: without `.gz`.
        how_to_get: the end of the message where there is none.

    Returns:
        The path.

    Raises:
        InputError: where there is neither.
    """
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise InputError(f"{folder / name}: no such file, nor {name}.gz; {how_to_get}")


def read_idx(path: Path, *, dimensions: int, md5: str | None = None) -> NDArray[np.uint8]:
    """Read one file of unsigned bytes.

    Args:
        path: of the file; one that ends in `.gz` is decompressed.
        dimensions: that the array must have: 3 for images, 1 for labels.
        md5: of the decompressed content, in hex; None for any.

    Returns:
        The array, read-only.

    Raises:
        InputError: naming the file and the rule that it breaks.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: not readable: {error}") from error
    header = 4 + 4 * dimensions
    magic = bytes([0, 0, _UNSIGNED_BYTES, dimensions])
    if content[:4] != magic:
        raise InputError(
            f"{path}: begins with the bytes {content[:4].hex() or 'of nothing'}, not {magic.hex()} "
            f"(idx, unsigned bytes, {dimensions} dimensions)"
        )
    if len(content) < header:
        raise InputError(f"{path}: ends in its header: damaged or cut off")
    shape = tuple(np.frombuffer(content[4:header], dtype=">u4").tolist())
    if len(content) != header + math.prod(shape):
        raise InputError(
            f"{path}: holds {len(content):,} bytes, but its header with the shape {list(shape)} "
            f"wants {header + math.prod(shape):,}: damaged or cut off"
        )
    if (
        md5 is not None
        and (found := hashlib.md5(content, usedforsecurity=False).hexdigest()) != md5
    ):
        raise InputError(f"{path}: is not the official file: md5 {found}, wanted {md5}")
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


def read_idx_images(
    folder: Path, *, name: str, md5: Mapping[str, str], how_to_get: str
) -> RawImages:
    """Read a data set of four idx files.

    Args:
        folder: of the files, torchvision's ROOT/MNIST/raw.
        name: of the data set.
        md5: of each of `FILES`, decompressed; a file that has none there is taken as it is.
        how_to_get: the end of the message where a file is missing.

    Returns:
        Both official splits.

    Raises:
        InputError: naming the file and the rule that it breaks.
    """
    paths = [find_idx_file(folder, file, how_to_get=how_to_get) for file in FILES]
    arrays = [
        read_idx(path, dimensions=dimensions, md5=md5.get(file))
        for path, file, dimensions in zip(paths, FILES, (3, 1, 3, 1), strict=True)
    ]
    for first in (0, 2):
        images, labels, path = arrays[first], arrays[first + 1], paths[first + 1]
        if len(images) != len(labels) or not len(labels):
            raise InputError(f"{path}: has {len(labels):,} labels for {len(images):,} images")
        if labels.max() >= NUM_CLASSES:
            raise InputError(f"{path}: label {labels.max()} is not in 0..{NUM_CLASSES - 1}")
    if arrays[0].shape[1:] != arrays[2].shape[1:]:
        raise InputError(
            f"{paths[2]}: images of {arrays[2].shape[1:]} pixels, the training images have "
            f"{arrays[0].shape[1:]}"
        )
    return RawImages(
        name=name,
        train_images=arrays[0][:, None],
        train_labels=arrays[1].astype(np.int64),
        test_images=arrays[2][:, None],
        test_labels=arrays[3].astype(np.int64),
        num_classes=NUM_CLASSES,
    )

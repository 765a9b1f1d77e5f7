"""Reads CIFAR's two official layouts: binary records, and pickles as torchvision keeps them.

Source: Krizhevsky 2009, "Learning multiple layers of features from tiny images", and the page of
the data sets. A binary record is its label bytes (CIFAR-100: coarse, fine) and 3,072 pixels: the
red plane, the green, the blue, row by row. A pickle is a dictionary with the same pixels as an
array of rows. A pickle can run any code when it is read, so the reader here builds dictionaries,
lists, numbers, bytes, strings and numpy arrays and refuses the rest.
"""

import hashlib
import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models_of_scaling.errors import InputError

SIDE: Final = 32
_PIXELS = 3 * SIDE * SIDE
# All that the official pickles need. Their modules were called otherwise before NumPy 2.
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),  # bytes, in protocol 2
}

Split = tuple[NDArray[np.uint8], NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True)
class CifarFile:
    """One file of a data set.

    Attributes:
        name: of the file.
        num_examples: in it.
        md5: of it, in hex; None where no sum was published.
    """

    name: str
    num_examples: int
    md5: str | None = None


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: not readable: {error.strerror or error}") from error
    return content


def _check_md5(path: Path, file: CifarFile, content: bytes) -> None:
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if file.md5 not in {None, found}:
        raise InputError(f"{path}: is not the official file: md5 {found}, wanted {file.md5}")


def _check_labels(path: Path, labels: NDArray[np.int64], num_classes: int) -> None:
    if labels.min() < 0 or labels.max() >= num_classes:
        row = int(np.argmax((labels < 0) | (labels >= num_classes)))
        raise InputError(
            f"{path}: label {labels[row]} of image {row} is not in 0..{num_classes - 1}"
        )


def read_binary(path: Path, file: CifarFile, *, num_classes: int, label_bytes: int = 1) -> Split:
    """Read a file of binary records.

    Args:
        path: of the file.
        file: what it should hold.
        num_classes: labels are below it.
        label_bytes: before the pixels of a record; the last of them is the label.

    Returns:
        Images, uint8, shape (N, 3, 32, 32), and labels, shape (N,).

    Raises:
        InputError: naming the file and the rule that it breaks.
    """
    content = _content(path)
    record = label_bytes + _PIXELS
    if len(content) != file.num_examples * record:
        raise InputError(
            f"{path}: holds {len(content):,} bytes, {file.num_examples:,} records of {record:,} "
            f"bytes are {file.num_examples * record:,}: damaged or cut off"
        )
    _check_md5(path, file, content)
    rows = np.frombuffer(content, dtype=np.uint8).reshape(file.num_examples, record)
    labels = rows[:, label_bytes - 1].astype(np.int64)
    _check_labels(path, labels, num_classes)
    return rows[:, label_bytes:].reshape(-1, 3, SIDE, SIDE), labels


class _PlainUnpickler(pickle.Unpickler):
    """Builds plain containers and numpy arrays only."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not allowed")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_pickle(path: Path, file: CifarFile, *, num_classes: int, label_key: bytes) -> Split:
    """Read a pickle.

    Args:
        path: of the file.
        file: what it should hold.
        num_classes: labels are below it.
        label_key: of the dictionary's labels: b"labels", or CIFAR-100's b"fine_labels".

    Returns:
        As `read_binary`.

    Raises:
        InputError: naming the file and the rule that it breaks.
    """
    content = _content(path)
    _check_md5(path, file, content)
    try:
        entries = _PlainUnpickler(io.BytesIO(content), encoding="bytes").load()
        # Written by Python 2 the keys are bytes, by Python 3 they may be strings.
        named = {
            key.encode() if isinstance(key, str) else key: value for key, value in entries.items()
        }
        pixels, labels = np.asarray(named[b"data"]), np.asarray(named[label_key])
    except (pickle.UnpicklingError, EOFError, AttributeError, LookupError, ValueError) as error:
        raise InputError(f"{path}: is no pickle of CIFAR: {error}") from error
    if pixels.dtype != np.uint8 or pixels.shape != (file.num_examples, _PIXELS):
        raise InputError(
            f"{path}: its data are {pixels.dtype} of shape {list(pixels.shape)}, not uint8 of "
            f"{[file.num_examples, _PIXELS]}"
        )
    if labels.shape != (file.num_examples,) or labels.dtype.kind not in "iu":
        raise InputError(f"{path}: has no {file.num_examples:,} whole numbers as labels")
    _check_labels(path, labels.astype(np.int64), num_classes)
    return pixels.reshape(-1, 3, SIDE, SIDE), labels.astype(np.int64)


def joined(parts: list[Split]) -> Split:
    """Return several files' images and labels as one split, in their order."""
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def first_layout(root: Path, layouts: tuple[tuple[str, str], ...], *, how_to_get: str) -> str:
    """Return the first folder that is there.

    Args:
        root: of the data.
        layouts: folder and a file in it, by preference.
        how_to_get: the end of the message where there is none.

    Returns:
        The folder's name.

    Raises:
        InputError: where there is none.
    """
    for folder, file in layouts:
        if (root / folder / file).is_file():
            return folder
    wanted = ", nor ".join(str(root / folder / file) for folder, file in layouts)
    raise InputError(f"{wanted}: no such file; {how_to_get}")

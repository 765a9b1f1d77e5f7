"""Any tree of images ROOT/train/CLASS/*, ROOT/val/CLASS/*, listed as torchvision's ImageFolder.

The same classes, files and order as torchvision's; names are kept in one Arrow array, not in a list
of a million strings, whose reference counts would copy it into every loader's worker.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fullscale.data.pictures import PictureTree
from models_of_scaling.errors import InputError

SPLITS = ("train", "val")
# As torchvision reads.
_ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


class FolderStore:
    """One split's pictures in class folders; a `PictureStore`."""

    def __init__(self, folder: Path, *, names: pa.Array, labels: NDArray[np.int64]) -> None:
        """Keep the listing.

        Args:
            folder: of the split.
            names: CLASS/FILE of each picture.
            labels: of each picture.
        """
        self._folder = str(folder)
        self._names = names
        self.labels = labels

    def name_of(self, index: int) -> str:
        """Return CLASS/FILE."""
        return str(self._names[index].as_py())

    def where(self, index: int) -> str:
        """Return the file's path."""
        return f"{self._folder}/{self.name_of(index)}"

    def read(self, index: int) -> bytes:
        """Return a file's content."""
        with open(self.where(index), "rb", buffering=0) as stream:  # noqa: PTH123 - half the time
            return stream.read()


def open_image_folder(root: Path, *, classes: Sequence[str] | None = None) -> PictureTree:
    """List a tree.

    Args:
        root: holds `train` and `val`.
        classes: folders to read, in the order of their labels; None reads all, by name.

    Returns:
        Both splits.

    Raises:
        InputError: where a split is missing, a class folder is missing or empty, or the splits'
            classes differ.
    """
    folders = {split: _class_folders(root, split) for split in SPLITS}
    if classes is None:
        different = sorted(set(folders["train"]) ^ set(folders["val"]))
        if different:
            raise InputError(
                f"--data.root {root}: train has {len(folders['train'])} classes and val "
                f"{len(folders['val'])}; {different[0]!r} is in one of them only"
            )
        classes = folders["train"]
    for split in SPLITS:
        missing = sorted(set(classes) - set(folders[split]))
        if missing:
            raise InputError(f"--data.classes: {root / split} has no folder {missing[0]!r}")
    return PictureTree(
        classes=tuple(classes),
        train=_list_split(root / "train", classes),
        validation=_list_split(root / "val", classes),
    )


def _class_folders(root: Path, split: str) -> list[str]:
    folder = root / split
    if not folder.is_dir():
        raise InputError(f"--data.root {root}: there is no folder {folder}")
    found = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    if not found:
        raise InputError(f"--data.root {root}: {folder} has no class folder")
    return found


def _list_split(folder: Path, classes: Sequence[str]) -> FolderStore:
    names: list[str] = []
    counts: list[int] = []
    empty: list[str] = []
    for name in classes:
        found = [
            f"{inner}/{file}"[len(str(folder)) + 1 :]
            for inner, _, files in sorted(os.walk(folder / name, followlinks=True))
            for file in sorted(files)
            if file.lower().endswith(_ENDINGS)
        ]
        if not found:
            empty.append(name)
        names += found
        counts.append(len(found))
    if empty:
        raise InputError(
            f"--data.root {folder.parent}: {folder} has {len(empty)} classes without a picture: "
            f"{', '.join(empty[:5])}{', ...' if len(empty) > 5 else ''}"
        )
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), counts)
    return FolderStore(folder, names=pa.array(names, type=pa.string()), labels=labels)

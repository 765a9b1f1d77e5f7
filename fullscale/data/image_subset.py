"""Some classes of a tree of pictures, so many of each, at one size: decoded once, then mapped.

The subset is written down as the lists that `--data.classes` and `--data.images` take, so that it
can be made again from the same tree, anywhere. Its pixels lie in plain .npy files beside them. The
training pictures are the first ones of each class by name: a smaller subset lies inside a larger
one. The official `val` pictures of the classes are all taken; they are the test split.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from fullscale.data.image_folder import open_image_folder
from fullscale.data.pictures import PictureStore
from fullscale.data.raw_images import RawImages
from models_of_scaling.atomic_write import whole_file
from models_of_scaling.errors import InputError

_MANIFEST = "manifest.json"  # written last: with it the folder is whole
_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


def read_image_subset(
    tree: Path, folder: Path, *, classes: Sequence[str], per_class: int, resolution: int
) -> RawImages:
    """Return a subset, decoded into `folder` where it is not there yet.

    Args:
        tree: holds train/CLASS/* and val/CLASS/*; only read where the subset must be made.
        folder: of the subset: classes.txt, images.txt, four .npy files and a manifest. Killed half
            way, the same call makes it anew; two processes at once write the same bytes.
        classes: folders of the tree; the k-th has label k.
        per_class: training pictures of each class.
        resolution: side of the images, pixels: the central square, resized antialiased.

    Returns:
        The subset; images are mapped from the disk, uint8, shape (N, 3, resolution, resolution).

    Raises:
        InputError: where a class is missing or has too few pictures, a picture is damaged, or the
            folder holds another subset.
    """
    wanted = {"classes": list(classes), "per_class": per_class, "resolution": resolution}
    if not (folder / _MANIFEST).is_file():
        _make(tree, folder, classes=classes, per_class=per_class, resolution=resolution)
        with whole_file(folder / _MANIFEST) as stream:
            stream.write(json.dumps(wanted, indent=1).encode())
    try:
        found = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder}: not readable: {error}; delete it to have it made anew"
        ) from error
    if found != wanted:
        raise InputError(f"{folder}: holds another subset; delete it to have this one made")
    return RawImages(name="imagenet_subset", num_classes=len(classes), **arrays)


def _make(
    tree: Path, folder: Path, *, classes: Sequence[str], per_class: int, resolution: int
) -> None:
    pictures = open_image_folder(tree, classes=classes)
    train_rows = first_of_each(pictures.train.labels, per_class, classes, where=tree / "train")
    chosen = {
        "train": (pictures.train, train_rows),
        "test": (pictures.validation, np.arange(len(pictures.validation.labels))),
    }
    lines = [
        f"{split}/{store.name_of(int(row))}"
        for split, (store, rows) in zip(("train", "val"), chosen.values(), strict=True)
        for row in rows
    ]
    for name, text in (("classes", classes), ("images", lines)):
        with whole_file(folder / f"{name}.txt") as stream:
            stream.write("".join(f"{line}\n" for line in text).encode())
    for split, (store, rows) in chosen.items():
        with whole_file(folder / f"{split}_labels.npy") as stream:
            np.save(stream, store.labels[rows].astype(np.int64))
        _write_pixels(folder / f"{split}_images.npy", store, rows, resolution)


def first_of_each(
    labels: NDArray[np.int64], per_class: int, classes: Sequence[str], *, where: Path
) -> NDArray[np.int64]:
    """Return the first rows of each class, dealt out in turn: class 0, 1, ..., then 0 again.

    A prefix of the result then has the classes in equal numbers, to one.

    Args:
        labels: of a split.
        per_class: rows of each.
        classes: their names, for messages.
        where: the split's folder, for messages.

    Returns:
        Rows, shape (per_class * len(classes),).

    Raises:
        InputError: where a class has fewer.
    """
    of_class = [np.flatnonzero(labels == label) for label in range(len(classes))]
    for name, rows in zip(classes, of_class, strict=True):
        if len(rows) < per_class:
            raise InputError(f"{where / name}: has {len(rows)} pictures, {per_class} are wanted")
    return np.stack([rows[:per_class] for rows in of_class], axis=1).ravel()


def _write_pixels(
    path: Path, store: PictureStore, rows: NDArray[np.int64], resolution: int
) -> None:
    """Decode pictures one after the other into a .npy file, which needs the memory of one."""
    from fullscale.data.decoding import DamagedPictureError, Decoder, resized_crop

    decoder = Decoder()
    with whole_file(path) as stream:
        npy.write_array_header_1_0(
            stream,
            {
                "descr": npy.dtype_to_descr(np.dtype(np.uint8)),
                "fortran_order": False,
                "shape": (len(rows), 3, resolution, resolution),
            },
        )
        for row in rows:
            content = store.read(int(row))
            try:
                assert isinstance(content, bytes)
                pixels = decoder.decode(content)
            except DamagedPictureError as error:
                raise InputError(f"{store.where(int(row))}: can't be decoded: {error}") from error
            height, width = pixels.shape[:2]
            side = min(height, width)
            left, top = (width - side) // 2, (height - side) // 2
            square = resized_crop(
                pixels, (left, top, left + side, top + side), height=resolution, width=resolution
            )
            stream.write(square.contiguous().numpy().tobytes())

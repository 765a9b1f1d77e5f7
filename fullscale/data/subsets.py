"""Subsets of a data set by list: which classes, which pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fullscale.data.decoding import Pixels
from fullscale.data.pictures import PictureStore, PictureTree
from models_of_scaling.errors import InputError


class SubsetStore:
    """Some pictures of a split, with labels of their own; a `PictureStore`."""

    def __init__(
        self, store: PictureStore, *, rows: NDArray[np.int64], labels: NDArray[np.int64]
    ) -> None:
        """Choose.

        Args:
            store: the whole split.
            rows: of it, in order.
            labels: of those rows.
        """
        self._store = store
        self._rows = rows
        self.labels = labels

    def name_of(self, index: int) -> str:
        """Return CLASS/FILE."""
        return self._store.name_of(int(self._rows[index]))

    def where(self, index: int) -> str:
        """Return where the picture lies."""
        return self._store.where(int(self._rows[index]))

    def read(self, index: int) -> bytes | Pixels:
        """Return a picture's file or pixels."""
        return self._store.read(int(self._rows[index]))


def read_list(path: Path, *, flag: str) -> tuple[str, ...]:
    """Read a list with one entry a line; empty lines and lines that begin with # are left out.

    Args:
        path: of the list.
        flag: that named it, for messages.

    Returns:
        The entries.

    Raises:
        InputError: where the file can't be read, is empty or says a thing twice.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{flag} {path}: not a readable list: {error}") from error
    first: dict[str, int] = {}
    for row, line in enumerate(lines, start=1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        if entry in first:
            raise InputError(
                f"{flag} {path}, line {row}: {entry!r} is in line {first[entry]} already"
            )
        first[entry] = row
    if not first:
        raise InputError(f"{flag} {path}: the list has no entry")
    return tuple(first)


def choose_classes(tree: PictureTree, classes: Sequence[str], *, path: Path) -> PictureTree:
    """Keep some classes; the list's order gives the labels.

    Args:
        tree: the whole.
        classes: names of those to keep.
        path: of the list, for messages.

    Returns:
        The subset.

    Raises:
        InputError: where a class does not exist.
    """
    if tuple(classes) == tree.classes:
        return tree
    number = {name: label for label, name in enumerate(tree.classes)}
    for name in classes:
        if name not in number:
            raise InputError(
                f"--data.classes {path}: {name!r} is not one of the {len(number)} classes"
            )
    new_label = np.full(len(tree.classes), -1, dtype=np.int64)
    new_label[[number[name] for name in classes]] = np.arange(len(classes))

    def keep(store: PictureStore) -> SubsetStore:
        labels = new_label[store.labels]
        rows = np.flatnonzero(labels >= 0)
        return SubsetStore(store, rows=rows, labels=labels[rows])

    return PictureTree(
        classes=tuple(classes), train=keep(tree.train), validation=keep(tree.validation)
    )


def choose_images(tree: PictureTree, images: Sequence[str], *, path: Path) -> PictureTree:
    """Keep some pictures; classes and labels stay, also those of a class without any left.

    Args:
        tree: the whole.
        images: `train/CLASS/FILE` or `val/CLASS/FILE`; without a split's name, CLASS/FILE or FILE
            of the training split. A split without an entry is kept whole.
        path: of the list, for messages.

    Returns:
        The subset, in the order of the whole. Where a picture does not exist, or a bare FILE is in
        more than one class, it ends in an InputError.
    """
    wanted: dict[str, list[str]] = {"train": [], "val": []}
    for entry in images:
        split, slash, rest = entry.partition("/")
        if slash and split in wanted:
            wanted[split].append(rest)
        else:
            wanted["train"].append(entry)
    kept = {
        split: _keep(store, wanted[split], f"--data.images {path}", split)
        if wanted[split]
        else store
        for split, store in tree.splits
    }
    return PictureTree(classes=tree.classes, train=kept["train"], validation=kept["val"])


def _keep(store: PictureStore, entries: Sequence[str], flag: str, split: str) -> SubsetStore:
    row_of: dict[str, int] = {}
    ambiguous: set[str] = set()
    for row in range(len(store.labels)):
        name = store.name_of(row)
        bare = name.rpartition("/")[2]
        if bare in row_of:
            ambiguous.add(bare)
        row_of[bare] = row
        row_of[name] = row
    rows = []
    for entry in entries:
        if entry not in row_of:
            raise InputError(f"{flag}: {split} has no picture {entry!r}")
        if entry in ambiguous:
            raise InputError(f"{flag}: {split} has several pictures {entry!r}; name the class too")
        rows.append(row_of[entry])
    chosen = np.unique(np.array(rows, dtype=np.int64))
    return SubsetStore(store, rows=chosen, labels=store.labels[chosen])

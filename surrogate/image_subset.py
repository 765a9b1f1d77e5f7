"""The ImageNet subset's class lists: kept under the data root by a number made of their content.

The number stands in a workload's name, `imagenet_subset_list2871234567_perclass100_resolution32`,
so that a study says which classes it saw, and every process finds them.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from models_of_scaling.atomic_write import whole_file
from models_of_scaling.errors import InputError
from surrogate.data_root import data_root

if TYPE_CHECKING:
    from fullscale.data.raw_images import RawImages

NAME = "imagenet_subset"


def _list_file(number: int) -> Path:
    return data_root(NAME) / NAME / "lists" / f"{number}.txt"


def _number_of(classes: tuple[str, ...]) -> int:
    return int(hashlib.sha256("\n".join(classes).encode()).hexdigest()[:8], 16)


def register_class_list(path: Path) -> int:
    """Keep a class list under the data root.

    Args:
        path: of the list: a class folder's name on each line; line k is label k.

    Returns:
        Its number: the first 32 bits of the sha256 of its entries.

    Raises:
        InputError: where the list can't be read, or the data root can't be written.
    """
    from fullscale.data.subsets import read_list

    classes = read_list(path, flag="--class-list")
    number = _number_of(classes)
    kept = _list_file(number)
    try:
        if not kept.is_file():
            with whole_file(kept) as stream:
                stream.write("".join(f"{name}\n" for name in classes).encode())
    except OSError as error:
        raise InputError(f"{kept}: can't be written: {error.strerror or error}") from error
    return number


def classes_of_list(number: int) -> tuple[str, ...]:
    """Return the classes of a list that was registered.

    Args:
        number: as `register_class_list` gave it.

    Returns:
        Names; the k-th has label k.

    Raises:
        InputError: where there is no such list, or it was changed.
    """
    from fullscale.data.subsets import read_list

    path = _list_file(number)
    if not path.is_file():
        raise InputError(f"--list {number}: there is no {path}; give the list with --class-list")
    classes = read_list(path, flag="--list")
    if _number_of(classes) != number:
        raise InputError(f"{path}: was changed: its number is {_number_of(classes)} now")
    return classes


def read_subset(root: Path, *, list_number: int, per_class: int, resolution: int) -> "RawImages":
    """Read a subset of ROOT/imagenet, made under ROOT/imagenet_subset at its first use.

    Args:
        root: of the data.
        list_number: of its class list.
        per_class: training pictures of each class.
        resolution: side of the images, pixels.

    Returns:
        The subset. What is missing or damaged ends in an InputError.
    """
    from fullscale.data.image_subset import read_image_subset

    name = f"list{list_number}_perclass{per_class}_resolution{resolution}"
    return read_image_subset(
        root / "imagenet",
        root / NAME / name,
        classes=classes_of_list(list_number),
        per_class=per_class,
        resolution=resolution,
    )

"""The image sets that lie on a disk: how each is read, how large it is, once per process."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from surrogate.data_root import data_root

if TYPE_CHECKING:
    from fullscale.data.image_arrays import ImageArrays
    from fullscale.data.raw_images import RawImages, SplitChoice


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """An image set with official splits.

    Attributes:
        read: returns it, from the data root.
        num_train_examples: of the official training split.
        num_classes: labels are 0 ... num_classes - 1.
        side: of the square images, pixels.
    """

    read: "Callable[[Path], RawImages]"
    num_train_examples: int
    num_classes: int
    side: int


def _read_mnist(root: Path) -> "RawImages":
    from fullscale.data.mnist import read_mnist  # planning a sweep reads nothing

    return read_mnist(root)


def _read_fashion_mnist(root: Path) -> "RawImages":
    from fullscale.data.fashion_mnist import read_fashion_mnist

    return read_fashion_mnist(root)


IMAGE_SETS: Final[Mapping[str, ImageSet]] = MappingProxyType({
    "mnist": ImageSet(read=_read_mnist, num_train_examples=60_000, num_classes=10, side=28),
    "fashion_mnist": ImageSet(
        read=_read_fashion_mnist, num_train_examples=60_000, num_classes=10, side=28
    ),
})


def load_images(dataset: str, choice: "SplitChoice") -> "ImageArrays":
    """Return an image set's arrays; the last two of a process are kept.

    Args:
        dataset: a key of `IMAGE_SETS`.
        choice: splits, subset, resolution.

    Returns:
        The arrays. Data that are missing, damaged or unlike the choice end in an InputError.
    """
    return _load_images(dataset, choice, data_root(dataset))


@functools.lru_cache(maxsize=2)
def _load_images(dataset: str, choice: "SplitChoice", root: Path) -> "ImageArrays":
    from fullscale.data.raw_images import standardised_arrays

    return standardised_arrays(IMAGE_SETS[dataset].read(root), choice)


def check_images(dataset: str) -> None:
    """Read an image set and let go of it; what is missing or damaged ends in an InputError.

    Args:
        dataset: a key of `IMAGE_SETS`.
    """
    IMAGE_SETS[dataset].read(data_root(dataset))

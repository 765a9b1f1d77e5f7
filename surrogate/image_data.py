"""The image sets that lie on a disk: how each is read, once per process."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from surrogate.data_root import data_root

if TYPE_CHECKING:
    from fullscale.data.image_arrays import ImageArrays
    from fullscale.data.raw_images import RawImages, SplitChoice

# Values by name, sorted: what an ImageNet subset is made of; nothing for the others.
Making = tuple[tuple[str, int], ...]


def _read(dataset: str, root: Path, making: Making) -> "RawImages":
    if dataset == "imagenet_subset":
        from surrogate.image_subset import read_subset

        values = dict(making)
        return read_subset(
            root,
            list_number=values["list"],
            per_class=values["perclass"],
            resolution=values["resolution"],
        )
    from fullscale.data.memory_sets import MEMORY_SETS

    return MEMORY_SETS[dataset](root)


def load_images(dataset: str, choice: "SplitChoice", making: Making = ()) -> "ImageArrays":
    """Return an image set's arrays; the last two of a process are kept.

    Args:
        dataset: a key of `fullscale.data.memory_sets.MEMORY_SETS`, or imagenet_subset.
        choice: splits, subset, resolution.
        making: of an ImageNet subset.

    Returns:
        The arrays. Data that are missing, damaged or unlike the choice end in an InputError.
    """
    return _load_images(dataset, choice, making, data_root(dataset))


@functools.lru_cache(maxsize=2)
def _load_images(dataset: str, choice: "SplitChoice", making: Making, root: Path) -> "ImageArrays":
    from fullscale.data.raw_images import standardised_arrays

    return standardised_arrays(_read(dataset, root, making), choice)


def check_images(dataset: str, making: Making = ()) -> None:
    """Read an image set and let go of it; what is missing or damaged ends in an InputError.

    An ImageNet subset that is not there yet is decoded here, before any worker starts.

    Args:
        dataset: as for `load_images`.
        making: of an ImageNet subset.
    """
    _read(dataset, data_root(dataset), making)

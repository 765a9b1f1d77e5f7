"""A data set as its files have it, uint8 pixels and official splits, and its way to training.

On the way: a hold-out from the training split, a subset, a smaller resolution, standardisation. No
random stream has a part in it: the same files give the same arrays.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fullscale.data.image_arrays import ImageArrays
from models_of_scaling.errors import InputError

_CHUNK = 4_096  # images turned into float at a time, so that no float64 copy of the whole is made


@dataclass(frozen=True, kw_only=True)
class RawImages:
    """Both official splits, in memory.

    Attributes:
        name: of the data set.
        train_images: uint8, shape (N, channels, height, width).
        train_labels: int64, shape (N,).
        test_images: uint8, shape (M, channels, height, width).
        test_labels: int64, shape (M,).
        num_classes: labels are 0 ... num_classes - 1.
    """

    name: str
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    num_classes: int


@dataclass(frozen=True, kw_only=True)
class SplitChoice:
    """Which images train, which evaluate, and at what size.

    Attributes:
        holdout: images taken from the end of the training split, class by class; 0 for none.
        evaluate_on: `validation` is what was held out. `test` is the official test split. Without
            a hold-out nothing is there but the test split.
        subset: only the first so many training images that are left; None for all. Smaller
            subsets lie inside larger ones.
        resolution: side of the square images; None for the files' own.
    """

    holdout: int = 0
    evaluate_on: Literal["validation", "test"] = "test"
    subset: int | None = None
    resolution: int | None = None

    def __post_init__(self) -> None:
        """Check that there is something to evaluate on.

        Raises:
            InputError: where validation is asked for and nothing is held out.
        """
        if self.evaluate_on == "validation" and not self.holdout:
            raise InputError("evaluate_on 'validation' needs a holdout of at least 1")


def held_out_rows(labels: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """Choose rows to hold out: the last ones of each class, in the classes' proportions.

    Shares that are not whole are rounded by largest remainder, so that `count` is met exactly.

    Args:
        labels: of the training split, shape (N,).
        count: rows to hold out.

    Returns:
        Whether each row is held out, shape (N,).

    Raises:
        InputError: where none or fewer than half would be left to train on, or where a class
            would have no held-out row.
    """
    classes, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if not len(classes) <= count <= len(labels) // 2:
        raise InputError(
            f"holdout {count} must be in {len(classes)}..{len(labels) // 2}: an image of each "
            "class, and half of the training images at most"
        )
    shares = sizes * count / len(labels)
    quota = np.floor(shares).astype(np.int64)
    short = count - quota.sum()
    quota[np.argsort(quota - shares, kind="stable")[:short]] += 1
    held_out = np.zeros(len(labels), dtype=bool)
    for place, number in enumerate(quota):
        rows = np.flatnonzero(inverse == place)
        held_out[rows[len(rows) - number :]] = True
    return held_out


def area_weights(size: int, resolution: int) -> NDArray[np.float64]:
    """Return the matrix that averages a line of pixels over areas.

    Args:
        size: pixels of the line.
        resolution: pixels of the result, at most `size`.

    Returns:
        Shape (resolution, size); each row sums to 1. Pixel j counts in row i by the length that
        [j, j + 1] shares with the i-th of `resolution` equal pieces of the line.
    """
    edges = np.linspace(0, size, resolution + 1)
    low = np.maximum(edges[:-1, None], np.arange(size)[None])
    high = np.minimum(edges[1:, None], np.arange(1, size + 1)[None])
    shared = np.clip(high - low, 0.0, None)
    return np.asarray(shared * resolution / size)


def down_sampled(images: NDArray[np.uint8], resolution: int | None) -> NDArray[np.float32]:
    """Return images as float32 of their own scale, averaged over areas to a smaller size.

    Args:
        images: uint8, shape (N, channels, height, width).
        resolution: side of the result; None or the images' own leaves the pixels as they are.

    Returns:
        float32, shape (N, channels, resolution, resolution), in 0 ... 255.

    Raises:
        InputError: where it is larger than the images: nothing is invented.
    """
    height, width = images.shape[2:]
    if resolution is None or (resolution, resolution) == (height, width):
        return images.astype(np.float32)
    if not 1 <= resolution <= min(height, width):
        raise InputError(
            f"resolution {resolution} must be in 1..{min(height, width)}: images are averaged "
            "down, never enlarged"
        )
    rows = area_weights(height, resolution).astype(np.float32)
    columns = area_weights(width, resolution).astype(np.float32)
    result = np.empty((*images.shape[:2], resolution, resolution), dtype=np.float32)
    for start in range(0, len(images), _CHUNK):
        part = slice(start, start + _CHUNK)
        result[part] = rows @ images[part].astype(np.float32) @ columns.T
    return result


def channel_statistics(
    images: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return each channel's mean and standard deviation over a split.

    Args:
        images: shape (N, channels, height, width).

    Returns:
        Mean and standard deviation, shape (1, channels, 1, 1), computed in float64.

    Raises:
        InputError: where a channel is constant.
    """
    total = np.zeros(images.shape[1])
    squares = np.zeros(images.shape[1])
    for start in range(0, len(images), _CHUNK):
        part = images[start : start + _CHUNK].astype(np.float64)
        total += part.sum(axis=(0, 2, 3))
        squares += np.square(part).sum(axis=(0, 2, 3))
    count = images.size // images.shape[1]
    mean = total / count
    variance = squares / count - mean**2
    if not (variance > 0).all():
        raise InputError("a channel of the training images is constant: nothing to standardise")
    shape = (1, -1, 1, 1)
    return (
        mean.astype(np.float32).reshape(shape),
        np.sqrt(variance).astype(np.float32).reshape(shape),
    )


def standardised_arrays(raw: RawImages, choice: SplitChoice) -> ImageArrays:
    """Return the arrays that training takes.

    Pixels are standardised by each channel's mean and standard deviation over the training split
    after the hold-out, at the chosen resolution, before the subset is taken: rungs of a ladder of
    subsets then differ in the images alone.

    Args:
        raw: the data set.
        choice: what of it.

    Returns:
        Training images, and what they are evaluated on under the name of validation. float32: 4
        bytes a pixel, so 188 MB for MNIST's training split, 614 MB for CIFAR-10's.

    Raises:
        InputError: where the choice can't be met.
    """
    images, labels = raw.train_images, raw.train_labels
    other_images, other_labels = raw.test_images, raw.test_labels
    if choice.holdout:
        held_out = held_out_rows(labels, choice.holdout)
        if choice.evaluate_on == "validation":
            other_images, other_labels = images[held_out], labels[held_out]
        images, labels = images[~held_out], labels[~held_out]
    size = len(labels) if choice.subset is None else choice.subset
    if not 1 <= size <= len(labels):
        raise InputError(f"subset {size} must be in 1..{len(labels)}, the training images")
    train = down_sampled(images, choice.resolution)
    other = down_sampled(other_images, choice.resolution)
    mean, spread = channel_statistics(train)
    if size < len(train):
        train = train[:size].copy()  # a view would keep the whole in memory
    for images_of_split in (train, other):
        np.subtract(images_of_split, mean, out=images_of_split)
        np.divide(images_of_split, spread, out=images_of_split)
    return ImageArrays(
        name=raw.name,
        train_images=train,
        train_labels=labels[:size],
        validation_images=other,
        validation_labels=other_labels,
        num_classes=raw.num_classes,
    )

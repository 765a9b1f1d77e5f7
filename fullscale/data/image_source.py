"""What a data set must offer to the trainer, and the one that lies in memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fullscale.data.digits import digits_arrays
from fullscale.data.image_arrays import ImageArrays
from fullscale.data.image_folder import ImageFolderSource
from models_of_scaling.errors import InputError

Indices = NDArray[np.int64]


class ImageSource(Protocol):
    """Images and labels of a training and a validation split, by index."""

    @property
    def num_train_examples(self) -> int:
        """Size of the training split."""
        ...

    @property
    def num_validation_examples(self) -> int:
        """Size of the validation split."""
        ...

    @property
    def num_classes(self) -> int:
        """Labels are 0 ... num_classes - 1."""
        ...

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        ...

    def train_batch(self, indices: Indices, positions: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return training examples.

        Args:
            indices: into the training split, shape (B,).
            positions: of each in the run's stream; augmentation depends on these and a seed only.

        Returns:
            Images, float32, shape (B, channels, height, width); labels, int64, shape (B,).
        """
        ...

    def validation_batch(self, indices: Indices) -> tuple[Tensor, Tensor]:
        """Return validation examples; shapes as in `train_batch`."""
        ...


class ArraySource:
    """A data set in memory, without augmentation."""

    def __init__(self, arrays: ImageArrays) -> None:
        """Wrap the arrays.

        Args:
            arrays: of both splits.
        """
        self.num_train_examples = arrays.num_train_examples
        self.num_validation_examples = len(arrays.validation_labels)
        self.num_classes = arrays.num_classes
        self.image_shape = arrays.image_shape
        self._train = torch.from_numpy(arrays.train_images), torch.from_numpy(arrays.train_labels)
        self._validation = (
            torch.from_numpy(arrays.validation_images),
            torch.from_numpy(arrays.validation_labels),
        )

    def train_batch(self, indices: Indices, positions: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return training examples, as `ImageSource` says; positions change nothing."""
        rows = torch.from_numpy(indices)
        return self._train[0][rows], self._train[1][rows]

    def validation_batch(self, indices: Indices) -> tuple[Tensor, Tensor]:
        """Return validation examples, as `ImageSource` says."""
        rows = torch.from_numpy(indices)
        return self._validation[0][rows], self._validation[1][rows]


DATA_NAMES = ("digits", "image_folder")


def open_image_source(name: str, *, root: Path | None, image_size: int, seed: int) -> ImageSource:
    """Open a data set by its name.

    Args:
        name: one of `DATA_NAMES`.
        root: folder of the data; for those that lie on a disk.
        image_size: side of the square training images, pixels; for those that are resized.
        seed: of the augmentation.

    Returns:
        The data set.

    Raises:
        InputError: where the name is unknown, a root is missing or the data break a rule.
    """
    if name not in DATA_NAMES:
        raise InputError(f"--data.name {name!r} is not one of {', '.join(DATA_NAMES)}")
    if name == "digits":
        return ArraySource(digits_arrays())
    if root is None:
        raise InputError(f"--data.root is missing: --data.name {name} reads ROOT/train, ROOT/val")
    return ImageFolderSource(root, image_size=image_size, seed=seed)

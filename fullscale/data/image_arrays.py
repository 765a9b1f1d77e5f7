"""A data set in memory: arrays of images and labels, split for training and validation."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class ImageArrays:
    """A classification data set in memory.

    Attributes:
        name: of the data set.
        train_images: float32, shape (N, channels, height, width), standardised.
        train_labels: int64, shape (N,).
        validation_images: float32, shape (M, channels, height, width), standardised alike.
        validation_labels: int64, shape (M,).
        num_classes: labels are 0 ... num_classes - 1.
    """

    name: str
    train_images: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    validation_images: NDArray[np.float32]
    validation_labels: NDArray[np.int64]
    num_classes: int

    @property
    def num_train_examples(self) -> int:
        """Size of the training split."""
        return len(self.train_labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.train_images.shape[1:]
        return channels, height, width

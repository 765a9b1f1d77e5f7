"""Images of noise, for throughput: no disk, no decoding, any number, size and classes.

Image i is a function of i, its label i modulo the number of classes. There is nothing to learn.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fullscale.data.normalization import IMAGENET
from models_of_scaling.errors import InputError

IMAGENET_TRAIN_EXAMPLES = 1_281_167  # ILSVRC-2012 training split
IMAGENET_VALIDATION_EXAMPLES = 50_000  # and its validation split
IMAGENET_CLASSES = 1_000
_TRAIN, _VALIDATION = 1, 2


class SyntheticSource:
    """Noise by index; an `ImageSource`."""

    normalization = IMAGENET

    def __init__(self, *, num_examples: int, num_classes: int, image_size: int) -> None:
        """Say how much.

        Args:
            num_examples: of the training split; validation has as many, at most ImageNet's 50,000.
            num_classes: of the labels.
            image_size: side of the square images, pixels.

        Raises:
            InputError: naming the flag, the value and the rule.
        """
        for flag, value in (
            ("num_examples", num_examples),
            ("num_classes", num_classes),
            ("image_size", image_size),
        ):
            if value < 1:
                raise InputError(f"--data.{flag} {value} must be at least 1")
        self.num_train_examples = num_examples
        self.num_validation_examples = min(num_examples, IMAGENET_VALIDATION_EXAMPLES)
        self.num_classes = num_classes
        self.image_shape = (3, image_size, image_size)

    def train_batch(
        self, indices: NDArray[np.int64], positions: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Return training examples, as `ImageSource` says; positions change nothing."""
        return self._batch(indices, _TRAIN)

    def validation_batch(self, indices: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return validation examples, as `ImageSource` says."""
        return self._batch(indices, _VALIDATION)

    def _batch(self, indices: NDArray[np.int64], split: int) -> tuple[Tensor, Tensor]:
        channels, height, width = self.image_shape
        images = np.empty((len(indices), height, width, channels), dtype=np.uint8)
        for row, index in enumerate(indices.tolist()):
            rng = np.random.default_rng([index, split])
            noise = rng.bytes(images[row].size)
            images[row] = np.frombuffer(noise, np.uint8).reshape(height, width, channels)
        labels = torch.from_numpy(indices % self.num_classes)
        return torch.from_numpy(images).permute(0, 3, 1, 2), labels

"""What a data set must offer to the trainer, the one that lies in memory, and all by name."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fullscale.data.digits import digits_arrays
from fullscale.data.image_arrays import ImageArrays
from fullscale.data.memory_sets import MEMORY_SETS
from fullscale.data.normalization import Normalization
from fullscale.data.picture_trees import open_picture_tree
from fullscale.data.pictures import PictureOptions, PictureSource
from fullscale.data.raw_images import SplitChoice, standardised_arrays
from fullscale.data.synthetic import IMAGENET_CLASSES, IMAGENET_TRAIN_EXAMPLES, SyntheticSource
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

    @property
    def normalization(self) -> Normalization | None:
        """What uint8 images still need, on the device; None where images are float32 already."""
        ...

    def train_batch(self, indices: Indices, positions: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return training examples.

        Args:
            indices: into the training split, shape (B,).
            positions: of each in the run's stream; augmentation depends on these and a seed only.

        Returns:
            Images, float32 or uint8, shape (B, channels, height, width); labels, int64,
            shape (B,).
        """
        ...

    def validation_batch(self, indices: Indices) -> tuple[Tensor, Tensor]:
        """Return validation examples; shapes as in `train_batch`.

        A picture that can't be decoded has the label `fullscale.data.pictures.SKIPPED`.
        """
        ...


class ArraySource:
    """A data set in memory, without augmentation."""

    normalization = None

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


DATA_NAMES = (
    "digits",
    *MEMORY_SETS,
    "image_folder",
    "tar_shards",
    "litdata",
    "uint8_shards",
    "synthetic",
)


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """What else a data set may be told.

    Attributes:
        num_classes: the head's; a data set with another number is refused. Of synthetic images
            it is their number.
        num_examples: of synthetic training images.
        classes: list of the classes to read, one a line; line k is label k.
        images: list of the pictures to read, one a line.
        max_damaged_share: of each split's pictures, that is skipped rather than an error.
        scaled_decoding: decode a JPEG no larger than its crop needs: quicker, another picture.
    """

    num_classes: int | None = None
    num_examples: int | None = None
    classes: Path | None = None
    images: Path | None = None
    max_damaged_share: float = 0.0
    scaled_decoding: bool = False

    def choices(self) -> dict[str, str]:
        """Return what makes other data of the same files, for a trial's settings.

        Returns:
            Name to value, of what is not as it is by default; a list stands by its content.
        """
        lists = {"classes": self.classes, "images": self.images}
        chosen = {
            name: hashlib.sha256(path.read_bytes()).hexdigest()[:16]
            for name, path in lists.items()
            if path is not None
        }
        if self.num_examples is not None:
            chosen["num_examples"] = str(self.num_examples)
        if self.max_damaged_share:
            chosen["max_damaged_share"] = f"{self.max_damaged_share:g}"
        if self.scaled_decoding:
            chosen["scaled_decoding"] = "True"
        return chosen


def open_image_source(
    name: str,
    *,
    root: Path | None,
    image_size: int,
    seed: int,
    options: SourceOptions | None = None,
) -> ImageSource:
    """Open a data set by its name.

    Args:
        name: one of `DATA_NAMES`.
        root: folder of the data; for those that lie on a disk.
        image_size: side of the square training images, pixels; for those that are resized.
        seed: of the augmentation.
        options: what else it is told.

    Returns:
        The data set.

    Raises:
        InputError: where the name is unknown, a root is missing or the data break a rule.
    """
    options = options or SourceOptions()
    if name not in DATA_NAMES:
        raise InputError(f"--data.name {name!r} is not one of {', '.join(DATA_NAMES)}")
    _refuse_what_does_not_apply(name, options)
    if name == "synthetic":
        return SyntheticSource(
            num_examples=options.num_examples or IMAGENET_TRAIN_EXAMPLES,
            num_classes=options.num_classes or IMAGENET_CLASSES,
            image_size=image_size,
        )
    source: ImageSource
    if name == "digits":
        source, where = ArraySource(digits_arrays()), "digits"
    elif root is None:
        what = "its files there" if name in MEMORY_SETS else "ROOT/train, ROOT/val"
        raise InputError(f"--data.root is missing: --data.name {name} reads {what}")
    elif name in MEMORY_SETS:
        # Validation is the official test split, as it is ImageNet's `val` for the others.
        source = ArraySource(standardised_arrays(MEMORY_SETS[name](root), SplitChoice()))
        where = str(root)
    else:
        tree = open_picture_tree(name, root, classes=options.classes, images=options.images)
        source = PictureSource(
            tree,
            PictureOptions(
                image_size=image_size,
                seed=seed,
                max_damaged_share=options.max_damaged_share,
                scaled_decoding=options.scaled_decoding,
            ),
        )
        where = str(root)
    if options.num_classes not in {None, source.num_classes}:
        raise InputError(
            f"--data.num_classes {options.num_classes}: {where} has {source.num_classes} classes"
        )
    return source


def _refuse_what_does_not_apply(name: str, options: SourceOptions) -> None:
    """Refuse a number that is not positive, or that this data set would not heed."""
    for flag in ("num_classes", "num_examples"):
        value = getattr(options, flag)
        if value is not None and value < 1:
            raise InputError(f"--data.{flag} {value} must be at least 1")
    if options.num_examples is not None and name != "synthetic":
        raise InputError(f"--data.num_examples {options.num_examples} is for --data.name synthetic")
    if name in {"digits", "synthetic", *MEMORY_SETS}:
        for flag in ("classes", "images"):
            if getattr(options, flag) is not None:
                raise InputError(f"--data.{flag} is not for --data.name {name}: it has no pictures")

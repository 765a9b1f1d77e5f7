"""Pictures by index, wherever they lie, as a data set that the trainer reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fullscale.data.augmentation import (
    central_box,
    draw_view,
    resized_shape,
    validation_short_side,
)
from fullscale.data.damaged import DamagedDataError, DamagedPictures
from fullscale.data.decoding import (
    DamagedPictureError,
    Decoder,
    Pixels,
    picture_size,
    resized_crop,
)
from fullscale.data.normalization import IMAGENET
from models_of_scaling.errors import InputError

# Third word of the seed of what stands in for a damaged picture; 1 is the augmentation's.
_STAND_IN_STREAM = 2
# So many damaged ones in a row are no accident: at a share of 0.9 that is one chance in 10^45.
_MAX_STAND_INS = 1000
# What a validation picture that can't be decoded has for a label: it counts nowhere.
SKIPPED = -1


class PictureStore(Protocol):
    """The pictures of one split."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """The class of each, shape (N,)."""
        ...

    def name_of(self, index: int) -> str:
        """Return CLASS/FILE."""
        ...

    def where(self, index: int) -> str:
        """Return where the picture lies, for messages."""
        ...

    def read(self, index: int) -> bytes | Pixels:
        """Return a picture's file or, where it is stored decoded, its pixels."""
        ...


@dataclass(frozen=True, kw_only=True)
class PictureTree:
    """Both splits of a data set.

    Attributes:
        classes: their names; label k is the k-th.
        train: the training split.
        validation: the validation split.
    """

    classes: tuple[str, ...]
    train: PictureStore
    validation: PictureStore

    @property
    def splits(self) -> tuple[tuple[str, PictureStore], tuple[str, PictureStore]]:
        """The splits by their folders' names."""
        return ("train", self.train), ("val", self.validation)


@dataclass(frozen=True, kw_only=True)
class PictureOptions:
    """How pictures are shown.

    Attributes:
        image_size: side of the square images, pixels.
        seed: of the augmentation, not negative.
        max_damaged_share: of each split, that is skipped rather than an error.
        scaled_decoding: decode a JPEG no larger than its crop needs: quicker, another picture.
    """

    image_size: int
    seed: int
    max_damaged_share: float = 0.0
    scaled_decoding: bool = False

    def __post_init__(self) -> None:
        """Check the size.

        Raises:
            InputError: naming the flag, the value and the rule.
        """
        if self.image_size < 1:
            raise InputError(f"--data.image_size {self.image_size} must be at least 1 pixel")


class PictureSource:
    """Pictures, decoded when asked for; an `ImageSource` of uint8 images."""

    normalization = IMAGENET

    def __init__(self, tree: PictureTree, options: PictureOptions) -> None:
        """Wrap both splits.

        Args:
            tree: where the pictures are.
            options: how they are shown.
        """
        self._tree = tree
        self._options = options
        self._decoder = Decoder()
        self.num_train_examples = len(tree.train.labels)
        self.num_validation_examples = len(tree.validation.labels)
        self.num_classes = len(tree.classes)
        self.image_shape = (3, options.image_size, options.image_size)
        self.damaged_train, self.damaged_validation = (
            DamagedPictures(
                split=split,
                num_examples=len(store.labels),
                max_share=options.max_damaged_share,
            )
            for split, store in tree.splits
        )

    def train_batch(
        self, indices: NDArray[np.int64], positions: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Return training examples, as `ImageSource` says.

        In the place of a damaged picture stands a good one, drawn by (seed, position): the same on
        any number of processes, and each good picture is as likely as the next.
        """
        images = self._empty(len(indices))
        labels = torch.empty(len(indices), dtype=torch.int64)
        self.damaged_train.meet(len(indices))
        for row, (index, position) in enumerate(zip(indices.tolist(), positions, strict=True)):
            index = self._augmented(index, position, images[row])  # noqa: PLW2901 - a stand-in's
            labels[row] = int(self._tree.train.labels[index])
        return images, labels

    def validation_batch(self, indices: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return validation examples, as `ImageSource` says; a damaged one is `SKIPPED`."""
        images = self._empty(len(indices))
        labels = torch.from_numpy(self._tree.validation.labels[indices].astype(np.int64))
        self.damaged_validation.meet(len(indices))
        for row, index in enumerate(indices.tolist()):
            if not self._central(index, images[row]):
                images[row] = 0
                labels[row] = SKIPPED
        return images, labels

    def _empty(self, batch_size: int) -> Tensor:
        """Return room for images; channels are stored last, as decoders write them."""
        size = self._options.image_size
        return torch.empty((batch_size, size, size, 3), dtype=torch.uint8).permute(0, 3, 1, 2)

    def _augmented(self, index: int, position: int, out: Tensor) -> int:
        """Write a training example, or its stand-in, and return whose it is."""
        stand_ins = None
        for _ in range(_MAX_STAND_INS):
            if index not in self.damaged_train:
                try:
                    self._write_view(index, position, out)
                    return index
                except (OSError, DamagedPictureError) as error:
                    where = self._tree.train.where(index)
                    self.damaged_train.add(index, name=where, reason=str(error))
            stand_ins = stand_ins or np.random.default_rng([
                self._options.seed,
                position,
                _STAND_IN_STREAM,
            ])
            index = int(stand_ins.integers(self.num_train_examples))
        raise DamagedDataError(f"{_MAX_STAND_INS} damaged pictures in a row")

    def _write_view(self, index: int, position: int, out: Tensor) -> None:
        """Write the part of a picture that its position shows."""
        stored = self._tree.train.read(index)
        size = self._options.image_size
        scaled = self._options.scaled_decoding and isinstance(stored, bytes)
        if scaled:
            assert isinstance(stored, bytes)
            width, height = picture_size(stored)
            box, mirrored = draw_view(
                seed=self._options.seed, position=position, width=width, height=height
            )
            left, top, right, bottom = box
            needed = (-(-height * size // (bottom - top)), -(-width * size // (right - left)))
            pixels = self._decoder.decode(stored, at_least=needed)
            by_x, by_y = pixels.shape[1] / width, pixels.shape[0] / height
            box = round(left * by_x), round(top * by_y), round(right * by_x), round(bottom * by_y)
        else:
            pixels = self._decoder.decode(stored) if isinstance(stored, bytes) else stored
            height, width = pixels.shape[:2]
            box, mirrored = draw_view(
                seed=self._options.seed, position=position, width=width, height=height
            )
        image = resized_crop(pixels, box, height=size, width=size)
        out.copy_(image.flip(2) if mirrored else image)

    def _central(self, index: int, out: Tensor) -> bool:
        """Write a validation example; False where it is damaged."""
        if index in self.damaged_validation:
            return False
        store, size = self._tree.validation, self._options.image_size
        short_side = validation_short_side(size)
        try:
            stored = store.read(index)
            if isinstance(stored, bytes):
                at_least = (short_side, short_side) if self._options.scaled_decoding else None
                stored = self._decoder.decode(stored, at_least=at_least)
        except (OSError, DamagedPictureError) as error:
            self.damaged_validation.add(index, name=store.where(index), reason=str(error))
            return False
        height, width = stored.shape[:2]
        new_height, new_width = resized_shape(width=width, height=height, short_side=short_side)
        whole = resized_crop(stored, (0, 0, width, height), height=new_height, width=new_width)
        left, top, right, bottom = central_box(width=new_width, height=new_height, size=size)
        out.copy_(whole[:, top:bottom, left:right])
        return True

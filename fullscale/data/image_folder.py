"""Any tree of images ROOT/train/CLASS/*, ROOT/val/CLASS/*, as torchvision's ImageFolder reads it.

Training: random resized crop (Szegedy et al. 2014, arXiv:1409.4842, section 6: 8 % ... 100 % of the
area, aspect 3/4 ... 4/3) and a mirror image in half of the cases. Validation: the short side to
256/224 of the image size, then the central square. Then ImageNet's mean and standard deviation.
Differs from torchvision's RandomResizedCrop: the random numbers are a function of (seed, position
in the stream), not of a worker's generator, so that they do not depend on the number of workers.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.datasets import ImageFolder
from torchvision.transforms import functional

from models_of_scaling.errors import InputError

# Channel statistics of ImageNet's training split, as torchvision and most others use them.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
# Validation resizes the short side to 256 for crops of 224 (He et al. 2015 and after).
_RESIZE_OVER_CROP = 256 / 224
_CROP_TRIES = 10
# Third word of the seed; not 0, since NumPy's seed sequence takes trailing zeros for absent and
# [seed, epoch] belongs to the data order.
_AUGMENTATION_STREAM = 1


def crop_box(rng: np.random.Generator, *, width: int, height: int) -> tuple[int, int, int, int]:
    """Draw a random resized crop.

    Args:
        rng: source of randomness.
        width: of the picture, pixels.
        height: of the picture, pixels.

    Returns:
        left, top, right, bottom within the picture. Where no draw fits in 10 tries, the largest
        central crop whose aspect is allowed.
    """
    for _ in range(_CROP_TRIES):
        area = rng.uniform(0.08, 1.0) * width * height
        aspect = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    w, h = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def _to_tensor(picture: Image.Image) -> Tensor:
    """Standardise a picture by ImageNet's statistics; shape (3, height, width)."""
    pixels = torch.from_numpy(np.array(picture, dtype=np.uint8)).permute(2, 0, 1)
    mean, std = torch.tensor(_MEAN).view(3, 1, 1), torch.tensor(_STD).view(3, 1, 1)
    return (pixels.float() / 255 - mean) / std


class ImageFolderSource:
    """Pictures in class folders, decoded when asked for; an `ImageSource`."""

    def __init__(self, root: Path, *, image_size: int, seed: int) -> None:
        """List the tree.

        Args:
            root: holds `train` and `val`.
            image_size: side of the square images, pixels.
            seed: of the augmentation, not negative.

        Raises:
            InputError: where a split is missing, a class folder is empty or the splits' classes
                differ.
        """
        if image_size < 1:
            raise InputError(f"--data.image_size {image_size} must be at least 1 pixel")
        self._train = _list_split(root, "train")
        self._validation = _list_split(root, "val")
        different = sorted(set(self._train.classes) ^ set(self._validation.classes))
        if different:
            raise InputError(
                f"--data.root {root}: train has {len(self._train.classes)} classes and val "
                f"{len(self._validation.classes)}; {different[0]!r} is in one of them only"
            )
        self._seed = seed
        self._size = image_size
        self.num_train_examples = len(self._train.samples)
        self.num_validation_examples = len(self._validation.samples)
        self.num_classes = len(self._train.classes)
        self.image_shape = (3, image_size, image_size)

    def train_batch(
        self, indices: NDArray[np.int64], positions: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Return training examples, as `ImageSource` says."""
        pairs = zip(indices.tolist(), positions, strict=True)
        return self._stack(self._train, indices, [self._augmented(i, p) for i, p in pairs])

    def validation_batch(self, indices: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return validation examples, as `ImageSource` says."""
        return self._stack(self._validation, indices, [self._central(i) for i in indices.tolist()])

    @staticmethod
    def _stack(
        split: ImageFolder, indices: NDArray[np.int64], images: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        labels = [split.samples[index][1] for index in indices.tolist()]
        return torch.stack(images), torch.tensor(labels, dtype=torch.int64)

    def _augmented(self, index: int, position: int) -> Tensor:
        rng = np.random.default_rng([self._seed, position, _AUGMENTATION_STREAM])
        picture = _open(self._train.samples[index][0])
        box = crop_box(rng, width=picture.width, height=picture.height)
        size = (self._size, self._size)
        picture = picture.resize(size, Image.Resampling.BILINEAR, box=box)
        if rng.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return _to_tensor(picture)

    def _central(self, index: int) -> Tensor:
        picture = _open(self._validation.samples[index][0])
        picture = functional.resize(picture, [round(self._size * _RESIZE_OVER_CROP)])
        return _to_tensor(functional.center_crop(picture, [self._size, self._size]))


def _open(path: str) -> Image.Image:
    """Decode one picture."""
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except OSError as error:
        raise InputError(f"{path}: not a readable picture: {error}") from error


def _list_split(root: Path, split: str) -> ImageFolder:
    """List one split, and say in one line what is wrong with it."""
    folder = root / split
    if not folder.is_dir():
        raise InputError(f"--data.root {root}: there is no folder {folder}")
    try:
        return ImageFolder(str(folder))
    except FileNotFoundError as error:
        # torchvision names the classes without a picture, then lists the endings it reads.
        reason = str(error).split(". Supported")[0]
        raise InputError(f"--data.root {root}: {folder}: {reason}") from error

"""Which part of a picture is shown: random resized crops and mirror images, and the central square.

Training: random resized crop (Szegedy et al. 2014, arXiv:1409.4842, section 6: 8 % ... 100 % of the
area, aspect 3/4 ... 4/3) and a mirror image in half of the cases. Validation: the short side to
256/224 of the image size, then the central square. Differs from torchvision's RandomResizedCrop:
the random numbers are a function of (seed, position in the stream), not of a worker's generator, so
that they do not depend on the number of workers.
"""

import math

import numpy as np

# Validation resizes the short side to 256 for crops of 224 (He et al. 2015 and after).
_RESIZE_OVER_CROP = 256 / 224
_CROP_TRIES = 10
# Third word of the seed; not 0, since NumPy's seed sequence takes trailing zeros for absent and
# [seed, epoch] belongs to the data order.
_AUGMENTATION_STREAM = 1

# left, top, right, bottom, in pixels.
Box = tuple[int, int, int, int]


def crop_box(rng: np.random.Generator, *, width: int, height: int) -> Box:
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


def draw_view(*, seed: int, position: int, width: int, height: int) -> tuple[Box, bool]:
    """Draw how one training example is shown.

    Args:
        seed: of the run's data.
        position: of the example in the run's stream.
        width: of the picture, pixels.
        height: of the picture, pixels.

    Returns:
        The crop; whether its mirror image is shown.
    """
    rng = np.random.default_rng([seed, position, _AUGMENTATION_STREAM])
    box = crop_box(rng, width=width, height=height)
    return box, bool(rng.random() < 0.5)


def validation_short_side(image_size: int) -> int:
    """Return what a picture's short side is resized to before the central square is cut."""
    return round(image_size * _RESIZE_OVER_CROP)


def resized_shape(*, width: int, height: int, short_side: int) -> tuple[int, int]:
    """Return (height, width) after the short side is brought to a length, rounded down.

    >>> resized_shape(width=500, height=375, short_side=256)
    (256, 341)
    """
    if width <= height:
        return int(short_side * height / width), short_side
    return short_side, int(short_side * width / height)


def central_box(*, width: int, height: int, size: int) -> Box:
    """Return the central square of a picture, which must not be smaller than it."""
    left, top = round((width - size) / 2), round((height - size) / 2)
    return left, top, left + size, top + size

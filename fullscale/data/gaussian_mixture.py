"""Synthetic classes: one Gaussian cloud each, all equally far apart, with a known Bayes error.

Class k has its mean at e_k / sqrt(2), so that any two means are 1 apart, and the covariance
noise^2 I in `dimension` dimensions. The dimensions beyond the number of classes hold noise only.
"""

import functools
import math

import numpy as np

from fullscale.data.image_arrays import ImageArrays
from models_of_scaling.errors import InputError

NUM_TRAIN_EXAMPLES = 8_192
_NUM_VALIDATION_EXAMPLES = 4_096
_TRAIN, _VALIDATION = 1, 2  # second word of each split's seed


def bayes_error(*, num_classes: int, noise: float) -> float:
    """Return the error that no classifier can beat.

    The best one takes the nearest mean, and is right where the own class's coordinate, N(d, 1),
    exceeds all others', N(0, 1), with d = 1 / (sqrt(2) noise):
    1 - integral phi(x - d) Phi(x)^(num_classes - 1) dx.

    Args:
        num_classes: at least 2.
        noise: standard deviation in each dimension, in units of the distance of two means.

    Returns:
        The share of wrong answers; by quadrature, to 1e-8.
    """
    from scipy.integrate import quad
    from scipy.stats import norm

    distance = 1 / (math.sqrt(2) * noise)

    def density(x: float) -> float:
        return float(norm.pdf(x - distance) * norm.cdf(x) ** (num_classes - 1))

    right, _ = quad(density, distance - 12, distance + 12, epsabs=1e-10, limit=200)
    return 1.0 - float(right)


@functools.lru_cache(maxsize=2)
def gaussian_mixture_arrays(
    *,
    dimension: int = 64,
    num_classes: int = 10,
    noise: float = 0.3,
    subset: int | None = None,
) -> ImageArrays:
    """Draw the data set; the same arguments give the same arrays.

    Args:
        dimension: of an example, at least `num_classes`.
        num_classes: clouds.
        noise: standard deviation in each dimension, in units of the distance of two means.
        subset: only the first so many training examples; None for all 8,192.

    Returns:
        Examples as images of one row, shape (N, 1, 1, dimension), divided by the root of their mean
        square over the training split so that they enter a network at the scale of other data. The
        classes are equally frequent: example i is of class i modulo `num_classes`.

    Raises:
        InputError: where a number breaks its rule.
    """
    if not 2 <= num_classes <= dimension:
        raise InputError(f"classes {num_classes} must be in 2..{dimension}, the dimension")
    if not 0 < noise < math.inf:
        raise InputError(f"noise {noise} must be positive and finite")

    def draw(size: int, split: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(size, dtype=np.int64) % num_classes
        points = noise * np.random.default_rng([0, split]).standard_normal((size, dimension))
        points[np.arange(size), labels] += 1 / math.sqrt(2)
        return points, labels

    train, train_labels = draw(NUM_TRAIN_EXAMPLES, _TRAIN)
    validation, validation_labels = draw(_NUM_VALIDATION_EXAMPLES, _VALIDATION)
    scale = math.sqrt(float(np.mean(np.square(train))))
    size = NUM_TRAIN_EXAMPLES if subset is None else subset

    def as_images(points: np.ndarray) -> np.ndarray:
        return (points / scale).astype(np.float32)[:, None, None]

    return ImageArrays(
        name="gaussian_mixture",
        train_images=as_images(train[:size]),
        train_labels=train_labels[:size],
        validation_images=as_images(validation),
        validation_labels=validation_labels,
        num_classes=num_classes,
    )

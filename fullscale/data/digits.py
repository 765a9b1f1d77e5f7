"""Digits: scikit-learn's 1,797 real 8x8 images of handwritten digits, embedded in the library.

Source: Alpaydin & Kaynak 1998, UCI "Optical Recognition of Handwritten Digits", test part; 13
writers. They stand in the order of collection, so the split below shares the writers: it measures
optimization, not generalisation to new writers.
"""

import functools

import numpy as np

from fullscale.data.image_arrays import ImageArrays

NUM_TRAIN_EXAMPLES = 1_024  # a power of two, so that batch sizes double up to the whole set
_MAX_PIXEL = 16.0


@functools.cache
def digits_arrays() -> ImageArrays:
    """Return the data set with its fixed split: 1,024 for training, 773 for validation.

    Four of every seven images train. Seven and the ten classes have no common divisor, so each
    class is met alike; the split depends on no random stream. Pixels are scaled to [0, 1], then
    standardised by the training split's mean and standard deviation over all pixels.
    """
    from sklearn.datasets import load_digits  # a second to import

    bunch = load_digits()
    images = bunch.images[:, None].astype(np.float32) / np.float32(_MAX_PIXEL)
    labels = bunch.target.astype(np.int64)
    row = np.arange(len(labels))
    candidates = np.flatnonzero(row % 7 % 2 == 0)
    train = candidates[:NUM_TRAIN_EXAMPLES]
    validation = np.setdiff1d(row, train)
    mean, spread = images[train].mean(), images[train].std()
    images = (images - mean) / spread
    return ImageArrays(
        name="digits",
        train_images=images[train],
        train_labels=labels[train],
        validation_images=images[validation],
        validation_labels=labels[validation],
        num_classes=10,
    )

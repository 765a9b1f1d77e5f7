"""CIFAR-100 with its fine labels: 50,000 training and 10,000 test images, 32x32 in colour.

Source: Krizhevsky 2009. ROOT/cifar-100-binary is the official "binary version",
ROOT/cifar-100-python the "python version", which torchvision keeps.
"""

from pathlib import Path

import numpy as np

from fullscale.data.cifar_files import CifarFile, Split, first_layout, read_binary, read_pickle
from fullscale.data.raw_images import RawImages
from models_of_scaling.errors import InputError

NUM_CLASSES = 100
BINARY, PICKLES = "cifar-100-binary", "cifar-100-python"
# Of the binary files no sums were published but the archive's: they are held to the counts that
# the official sets have, 500 training and 100 test images of each class.
BINARY_FILES = (
    CifarFile(name="train.bin", num_examples=50_000),
    CifarFile(name="test.bin", num_examples=10_000),
)
# As torchvision.datasets.CIFAR100 has them.
PICKLE_FILES = (
    CifarFile(name="train", num_examples=50_000, md5="16019d7e3df5f24257cddd939b257f8d"),
    CifarFile(name="test", num_examples=10_000, md5="f0ef6b0ae62326f3e7ffdfab6717acfc"),
)


def read_cifar100(root: Path) -> RawImages:
    """Read the official files; others are refused, as far as they can be told.

    Args:
        root: holds one of the two folders; the binary one is taken where both are there.

    Returns:
        Both official splits with fine labels. What is missing, damaged or not official ends in an
        InputError.
    """
    folder = first_layout(
        root,
        ((BINARY, BINARY_FILES[0].name), (PICKLES, PICKLE_FILES[0].name)),
        how_to_get='unpack "CIFAR-100 binary version" from the page of the CIFAR data sets there, '
        f"or torchvision.datasets.CIFAR100({str(root)!r}, download=True) makes the other",
    )
    files = BINARY_FILES if folder == BINARY else PICKLE_FILES

    def read(file: CifarFile) -> Split:
        path = root / folder / file.name
        if folder == BINARY:
            # Coarse label, fine label, pixels.
            images, labels = read_binary(path, file, num_classes=NUM_CLASSES, label_bytes=2)
        else:
            images, labels = read_pickle(
                path, file, num_classes=NUM_CLASSES, label_key=b"fine_labels"
            )
        counts = np.bincount(labels, minlength=NUM_CLASSES)
        if (counts != file.num_examples // NUM_CLASSES).any():
            label = int(np.argmax(counts != file.num_examples // NUM_CLASSES))
            raise InputError(
                f"{path}: is not the official file: class {label} has {counts[label]} images, not "
                f"{file.num_examples // NUM_CLASSES}"
            )
        return images, labels

    (train_images, train_labels), (test_images, test_labels) = (read(file) for file in files)
    return RawImages(
        name="cifar100",
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        num_classes=NUM_CLASSES,
    )

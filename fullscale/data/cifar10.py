"""CIFAR-10: 50,000 training and 10,000 test images, 32x32 in colour, ten classes.

Source: Krizhevsky 2009. ROOT/cifar-10-batches-bin is the official "binary version",
ROOT/cifar-10-batches-py the "python version", which torchvision keeps; both hold the same images in
the same order.
"""

from pathlib import Path

from fullscale.data.cifar_files import (
    CifarFile,
    Split,
    first_layout,
    joined,
    read_binary,
    read_pickle,
)
from fullscale.data.raw_images import RawImages

NUM_CLASSES = 10
_PER_FILE = 10_000
BINARY, PICKLES = "cifar-10-batches-bin", "cifar-10-batches-py"


def _file(name: str, md5: str) -> CifarFile:
    return CifarFile(name=name, num_examples=_PER_FILE, md5=md5)


# The last file is the test split.
BINARY_FILES = (
    _file("data_batch_1.bin", "5dd7e06a14cb22eb9f671a540d1b7c25"),
    _file("data_batch_2.bin", "5ea93a67294ea407fff1d09f752e9692"),
    _file("data_batch_3.bin", "942cd6a4bcdd0dd3c604fbe906cb4421"),
    _file("data_batch_4.bin", "ae636b3ba5c66a11e91e8cb52e771fcb"),
    _file("data_batch_5.bin", "53f37980c15c3d472c316c40844f3f0d"),
    _file("test_batch.bin", "803d5f7f4d78ea53de84dbe85f74fb6d"),
)
# As torchvision.datasets.CIFAR10 has them.
PICKLE_FILES = (
    _file("data_batch_1", "c99cafc152244af753f735de768cd75f"),
    _file("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
    _file("data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
    _file("data_batch_4", "634d18415352ddfa80567beed471001a"),
    _file("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
    _file("test_batch", "40351d587109b95175f43aff81a1287e"),
)


def read_cifar10(root: Path) -> RawImages:
    """Read the official files; others are refused.

    Args:
        root: holds one of the two folders; the binary one is taken where both are there.

    Returns:
        Both official splits. What is missing, damaged or not official ends in an InputError.
    """
    folder = first_layout(
        root,
        ((BINARY, BINARY_FILES[0].name), (PICKLES, PICKLE_FILES[0].name)),
        how_to_get='unpack "CIFAR-10 binary version" from the page of the data set there, or '
        f"torchvision.datasets.CIFAR10({str(root)!r}, download=True) makes the other",
    )
    files = BINARY_FILES if folder == BINARY else PICKLE_FILES

    def read(file: CifarFile) -> Split:
        path = root / folder / file.name
        if folder == BINARY:
            return read_binary(path, file, num_classes=NUM_CLASSES)
        return read_pickle(path, file, num_classes=NUM_CLASSES, label_key=b"labels")

    parts = [read(file) for file in files]
    train_images, train_labels = joined(parts[:-1])
    test_images, test_labels = parts[-1]
    return RawImages(
        name="cifar10",
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        num_classes=NUM_CLASSES,
    )

"""MNIST: 60,000 training and 10,000 test images, 28x28 grey, ten handwritten digits.

Source: LeCun, Bottou, Bengio & Haffner 1998, "Gradient-based learning applied to document
recognition". ROOT/MNIST/raw, as torchvision lays it.
"""

from pathlib import Path
from types import MappingProxyType

from fullscale.data.idx_files import read_idx_images
from fullscale.data.raw_images import RawImages

# Of the decompressed files: those of the .gz files depend on who packed them.
OFFICIAL_MD5 = MappingProxyType({
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
})


def read_mnist(root: Path) -> RawImages:
    """Read the official files; others are refused.

    Args:
        root: holds MNIST/raw/*-ubyte, or *-ubyte.gz.

    Returns:
        Both official splits. What is missing, damaged or not official ends in an InputError.
    """
    return read_idx_images(
        root / "MNIST" / "raw",
        name="mnist",
        md5=OFFICIAL_MD5,
        how_to_get=f"torchvision.datasets.MNIST({str(root)!r}, download=True) makes it",
    )

"""Fashion-MNIST: 60,000 training and 10,000 test images, 28x28 grey, ten kinds of clothes.

Source: Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747. ROOT/FashionMNIST/raw, as torchvision lays
it.
"""

from pathlib import Path
from types import MappingProxyType

from fullscale.data.idx_files import read_idx_images
from fullscale.data.raw_images import RawImages

# Of the decompressed files; see mnist.py.
OFFICIAL_MD5 = MappingProxyType({
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
})


def read_fashion_mnist(root: Path) -> RawImages:
    """Read the official files; others are refused.

    Args:
        root: holds FashionMNIST/raw/*-ubyte, or *-ubyte.gz.

    Returns:
        Both official splits. What is missing, damaged or not official ends in an InputError.
    """
    return read_idx_images(
        root / "FashionMNIST" / "raw",
        name="fashion_mnist",
        md5=OFFICIAL_MD5,
        how_to_get=f"torchvision.datasets.FashionMNIST({str(root)!r}, download=True) makes it",
    )

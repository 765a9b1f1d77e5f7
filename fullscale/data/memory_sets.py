"""The data sets that are read into memory from official files, by name."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from fullscale.data.cifar10 import read_cifar10
from fullscale.data.cifar100 import read_cifar100
from fullscale.data.fashion_mnist import read_fashion_mnist
from fullscale.data.mnist import read_mnist
from fullscale.data.raw_images import RawImages

MEMORY_SETS: Final[Mapping[str, Callable[[Path], RawImages]]] = MappingProxyType({
    "mnist": read_mnist,
    "fashion_mnist": read_fashion_mnist,
    "cifar10": read_cifar10,
    "cifar100": read_cifar100,
})

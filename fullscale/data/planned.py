"""Data sets that are not here, by their sizes: what a dry run plans with.

The official sets have one size each. A picture tree may have any; its lists and numbers say how
much, and where they do not it is taken to be ImageNet's, which `assumed` says in words.
"""

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from fullscale.data.image_source import DATA_NAMES, SourceOptions
from fullscale.data.memory_sets import MEMORY_SETS
from fullscale.data.subsets import read_list
from fullscale.data.synthetic import IMAGENET_CLASSES, IMAGENET_TRAIN_EXAMPLES, SyntheticSource
from models_of_scaling.errors import InputError

# Training examples, validation examples, classes; channels, height, width.
_OFFICIAL = MappingProxyType({
    "mnist": (60_000, 10_000, 10, (1, 28, 28)),
    "fashion_mnist": (60_000, 10_000, 10, (1, 28, 28)),
    "cifar10": (50_000, 10_000, 10, (3, 32, 32)),
    "cifar100": (50_000, 10_000, 100, (3, 32, 32)),
})
assert _OFFICIAL.keys() == MEMORY_SETS.keys()


@dataclass(frozen=True, kw_only=True)
class PlannedData:
    """Images that nobody will read, and what was assumed of them.

    Attributes:
        source: of the sizes; its images are noise.
        assumed: what is not known but taken, in words; empty where nothing is.
    """

    source: SyntheticSource
    assumed: str


def is_here(name: str, *, root: Path | None, options: SourceOptions) -> bool:
    """Return whether a data set can be opened and not only planned.

    Args:
        name: of the data set.
        root: folder of the data.
        options: a stated number of examples is a plan's.
    """
    if name in {"digits", "synthetic"}:
        return True
    return root is not None and root.is_dir() and options.num_examples is None


def planned_data(name: str, *, image_size: int, options: SourceOptions) -> PlannedData:
    """Return a stand-in of the size that a data set has, or is assumed to have.

    Args:
        name: one of `DATA_NAMES`.
        image_size: side of the square training images, pixels; for those that are resized.
        options: numbers and lists that say how much there is.

    Raises:
        InputError: where the name is unknown, a number contradicts an official set or a list can't
            be read.
    """
    if name not in DATA_NAMES:
        raise InputError(f"--data.name {name!r} is not one of {', '.join(DATA_NAMES)}")
    if name in _OFFICIAL:
        return PlannedData(source=_official(name, options), assumed="")
    assumed = []
    num_examples, num_classes = options.num_examples, options.num_classes
    if options.images is not None and num_examples is None:
        listed = read_list(options.images, flag="--data.images")
        num_examples = sum(not entry.startswith("val/") for entry in listed) or None
    if options.classes is not None:
        num_classes = len(read_list(options.classes, flag="--data.classes"))
    if num_examples is None:
        num_examples = IMAGENET_TRAIN_EXAMPLES
        assumed.append(f"{num_examples:,} examples")
    if num_classes is None:
        num_classes = IMAGENET_CLASSES
        assumed.append(f"{num_classes:,} classes")
    return PlannedData(
        source=SyntheticSource(
            num_examples=num_examples, num_classes=num_classes, image_size=image_size
        ),
        assumed=" and ".join(assumed),
    )


def _official(name: str, options: SourceOptions) -> SyntheticSource:
    train, validation, classes, shape = _OFFICIAL[name]
    for flag, asked, has in (
        ("num_examples", options.num_examples, train),
        ("num_classes", options.num_classes, classes),
    ):
        if asked not in {None, has}:
            raise InputError(f"--data.{flag} {asked}: {name} has {has}")
    source = SyntheticSource(num_examples=train, num_classes=classes, image_size=shape[1])
    source.num_validation_examples = validation
    source.image_shape = shape
    return source

"""Workloads on images that lie on a disk; docs/workloads.md has them in a table."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING

from models_of_scaling.errors import InputError
from models_of_scaling.targets import Target
from surrogate.image_data import check_images, load_images
from surrogate.search_space import SearchSpace
from surrogate.workload import Workload

if TYPE_CHECKING:
    from fullscale.data.image_arrays import ImageArrays

_MNIST_BATCH_SIZES = (32, 64, 128, 256, 512, 1024, 2048, 4096, 16_384, 60_000)
_QUICK = (64, 256, 1024, 4096, 16_384)


def _load(
    dataset: str, *, evaluate_on: str, holdout: int = 0, **choice: int | None
) -> "ImageArrays":
    from fullscale.data.raw_images import SplitChoice

    return load_images(
        dataset,
        SplitChoice(holdout=holdout, evaluate_on=evaluate_on, **choice),  # type: ignore[arg-type]
    )


def image_workloads(spaces: Mapping[str, SearchSpace]) -> tuple[Workload, ...]:
    """Return the workloads.

    Args:
        spaces: by optimizer name, the search space of networks.

    Returns:
        Each in its default form; `image_rung` changes it.
    """
    return (
        Workload(
            name="mnist",
            dataset="mnist",
            model="mlp_wide",
            target=Target(metric="train_loss", direction="<=", value=0.1),
            batch_sizes=_MNIST_BATCH_SIZES,
            quick_batch_sizes=_QUICK,
            max_batch_size=60_000,
            spaces=spaces,
            floor_steps=300,
            budget_examples=2_000_000,
            evaluated_on="test",
            load=functools.partial(_load, "mnist", evaluate_on="test"),
            check_data=functools.partial(check_images, "mnist"),
        ),
        Workload(
            name="fashion_mnist",
            dataset="fashion_mnist",
            model="mlp_wide",
            target=Target(metric="train_loss", direction="<=", value=0.35),
            batch_sizes=_MNIST_BATCH_SIZES,
            quick_batch_sizes=_QUICK,
            max_batch_size=60_000,
            spaces=spaces,
            floor_steps=300,
            budget_examples=2_000_000,
            evaluated_on="test",
            load=functools.partial(_load, "fashion_mnist", evaluate_on="test"),
            check_data=functools.partial(check_images, "fashion_mnist"),
        ),
    )


def up_to(batch_sizes: tuple[int, ...], size: int) -> tuple[int, ...]:
    """Return the batch sizes below a training set's size, and the whole set.

    >>> up_to((16, 64, 256), 100)
    (16, 64, 100)
    """
    return (*(each for each in batch_sizes if each < size), size)


def image_rung(workload: Workload, values: Mapping[str, float]) -> Workload:
    """Return an image workload with another split, subset, width or resolution.

    Args:
        workload: one of `image_workloads`.
        values: by parameter: holdout, subset, width, resolution.

    Returns:
        The changed workload.

    Raises:
        InputError: where a hold-out and a subset ask for more images than there are.
    """
    whole = {name: int(value) for name, value in values.items()}
    width, holdout = whole.pop("width", None), whole.get("holdout", 0)
    if width is not None:
        workload = dataclasses.replace(workload, model=f"mlp_width{width}")
    left = workload.max_batch_size - holdout
    size = whole.get("subset", left)
    if size > left:
        raise InputError(
            f"--subset {size} ({workload.name}) must be at most {left}: --holdout {holdout} leaves "
            "no more training images"
        )
    if whole:
        load = functools.partial(_load, workload.dataset, **whole)
        workload = dataclasses.replace(
            workload,
            load=functools.partial(load, evaluate_on="validation" if holdout else "test"),
            load_test=functools.partial(load, evaluate_on="test") if holdout else None,
            evaluated_on="validation" if holdout else "test",
        )
    if size == workload.max_batch_size:
        return workload
    return dataclasses.replace(
        workload,
        batch_sizes=up_to(workload.batch_sizes, size),
        quick_batch_sizes=up_to(workload.quick_batch_sizes, size),
        max_batch_size=size,
    )

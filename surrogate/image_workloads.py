"""Workloads on images that lie on a disk and on Gaussian mixtures; a table: docs/workloads.md."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from models_of_scaling.errors import InputError
from models_of_scaling.targets import Target
from surrogate.image_data import Making, check_images, load_images
from surrogate.search_space import SearchSpace
from surrogate.workload import Workload

if TYPE_CHECKING:
    from fullscale.data.image_arrays import ImageArrays

_MNIST_BATCH_SIZES = (16, 64, 128, 256, 512, 1024, 2048, 4096, 16_384, 60_000)
_CIFAR_BATCH_SIZES = (16, 64, 128, 256, 512, 1024, 2048, 4096, 16_384, 50_000)
# An evaluation of MNIST's 10,000 images takes as long as ten steps of batch size 1,024.
_MAX_VALIDATION_EXAMPLES = 2_048
_IMAGENET_MAKING = ("list", "perclass", "resolution")
_IMAGENET_DEFAULTS = {"perclass": 100, "resolution": 32}


def _load(
    dataset: str, *, evaluate_on: str, making: Making = (), **choice: int | None
) -> "ImageArrays":
    from fullscale.data.raw_images import SplitChoice

    chosen: dict[str, Any] = {"evaluate_on": evaluate_on, **choice}
    return load_images(dataset, SplitChoice(**chosen), making)


def _train_loss(value: float) -> Target:
    return Target(metric="train_loss", direction="<=", value=value)


def _image_workload(
    name: str, dataset: str, model: str, *, target: float, **numbers: Any
) -> Workload:
    """Return a workload on a whole training split, evaluated on the test split."""
    sizes: tuple[int, ...] = numbers["batch_sizes"]
    return Workload(
        name=name,
        dataset=dataset,
        model=model,
        target=_train_loss(target),
        quick_batch_sizes=(64, 256, 1024, 4096),
        max_batch_size=sizes[-1],
        max_validation_examples=_MAX_VALIDATION_EXAMPLES,
        evaluated_on="test",
        load=functools.partial(_load, dataset, evaluate_on="test"),
        check_data=functools.partial(check_images, dataset),
        **numbers,
    )


def image_workloads(spaces: Mapping[str, SearchSpace]) -> tuple[Workload, ...]:
    """Return the workloads on images.

    Args:
        spaces: by optimizer name, the search space of networks.

    Returns:
        Each in its default form; `image_rung` changes it.
    """
    # The MLPs' targets: runs of one seed at momentum 0.5 to 0.9 took 72, 29 and 26 steps on MNIST
    # at batch sizes 64, 1,024 and 60,000, and 106, 33 and 27 on Fashion-MNIST; 0.1 lower, 44 and 42
    # at the whole set, which then takes more than an hour to search. The convolutional networks'
    # take 72 to 110 steps at batch size 1,024 and momentum 0.9, untuned (docs/workloads.md). Those
    # of CIFAR-100 and the ImageNet subset have not been tried on runs.
    mnist: dict[str, Any] = {
        "batch_sizes": _MNIST_BATCH_SIZES,
        "spaces": spaces,
        "floor_steps": 300,
        "budget_examples": 300_000,
    }
    cifar = mnist | {"batch_sizes": _CIFAR_BATCH_SIZES, "budget_examples": 2_000_000}
    return (
        _image_workload("mnist", "mnist", "mlp_wide", target=0.3, **mnist),
        _image_workload("mnist_cnn", "mnist", "simple_cnn", target=0.1, **mnist),
        _image_workload("fashion_mnist", "fashion_mnist", "mlp_wide", target=0.5, **mnist),
        _image_workload("fashion_mnist_cnn", "fashion_mnist", "simple_cnn", target=0.4, **mnist),
        _image_workload("cifar10", "cifar10", "resnet8", target=1.4, **cifar),
        _image_workload("cifar10_cnn", "cifar10", "simple_cnn", target=1.4, **cifar),
        _image_workload("cifar100", "cifar100", "resnet8", target=2.5, **cifar),
        dataclasses.replace(
            _image_workload("imagenet_subset", "imagenet_subset", "resnet8", target=1.5, **cifar),
            check_data=_no_class_list,
        ),
    )


def _no_class_list() -> None:
    """Refuse the subset without a list: which classes it has must be said."""
    raise InputError("--workload imagenet_subset needs --class-list FILE, or --list NUMBER")


def mixture_workload(spaces: Mapping[str, SearchSpace]) -> Workload:
    """Return the workload on Gaussian mixtures, in its default form.

    Args:
        spaces: by optimizer name, the search space of networks.
    """
    return Workload(
        name="gaussian_mixture",
        dataset="gaussian_mixture",
        model="mlp",
        # Reached in 18 and 19 steps at the full batch, 133 and 152 at 64, by two seeds.
        target=_train_loss(0.7),
        batch_sizes=tuple(2**power for power in range(2, 14)),
        quick_batch_sizes=(16, 64, 256, 1024, 4096),
        max_batch_size=8192,
        spaces=spaces,
        floor_steps=200,
        budget_examples=100_000,
        load=_mixture,
    )


def _mixture(**numbers: Any) -> "ImageArrays":
    from fullscale.data.gaussian_mixture import gaussian_mixture_arrays

    return gaussian_mixture_arrays(**numbers)


def up_to(batch_sizes: tuple[int, ...], size: int) -> tuple[int, ...]:
    """Return the batch sizes below a training set's size, and the whole set.

    >>> up_to((16, 64, 256), 100)
    (16, 64, 100)
    """
    return (*(each for each in batch_sizes if each < size), size)


def _of_size(workload: Workload, size: int) -> Workload:
    """Return a workload with a training set of another size."""
    if size == workload.max_batch_size:
        return workload
    return dataclasses.replace(
        workload,
        batch_sizes=up_to(workload.batch_sizes, size),
        quick_batch_sizes=up_to(workload.quick_batch_sizes, size),
        max_batch_size=size,
    )


def _of_width(workload: Workload, width: float | None) -> Workload:
    if width is None:
        return workload
    network = "mlp" if workload.model == "mlp_wide" else workload.model
    return dataclasses.replace(workload, model=f"{network}_width{width:.0f}")


def mixture_rung(workload: Workload, values: Mapping[str, float]) -> Workload:
    """Return the Gaussian mixture with other numbers.

    Args:
        workload: `mixture_workload`.
        values: by parameter: dimension, classes, noise, subset, width.

    Returns:
        The changed workload.

    Raises:
        InputError: where there are more classes than dimensions.
    """
    numbers: dict[str, Any] = {"dimension": 64, "num_classes": 10} | {
        {"classes": "num_classes"}.get(name, name): value if name == "noise" else int(value)
        for name, value in values.items()
        if name != "width"
    }
    if numbers["num_classes"] > numbers["dimension"]:
        raise InputError(
            f"--classes {numbers['num_classes']} ({workload.name}) must be at most --dimension "
            f"{numbers['dimension']}: each class has a dimension of its own"
        )
    workload = dataclasses.replace(workload, load=functools.partial(_mixture, **numbers))
    return _of_size(
        _of_width(workload, values.get("width")), numbers.get("subset", workload.max_batch_size)
    )


def image_rung(workload: Workload, values: Mapping[str, float]) -> Workload:
    """Return an image workload with another split, subset, width or resolution.

    Args:
        workload: one of `image_workloads`.
        values: by parameter: holdout, subset, width, resolution; of an ImageNet subset also list
            and perclass.

    Returns:
        The changed workload.

    Raises:
        InputError: where a hold-out and a subset ask for more images than there are.
    """
    workload = _of_width(workload, values.get("width"))
    whole = {name: int(value) for name, value in values.items() if name != "width"}
    making: Making = ()
    if workload.dataset == "imagenet_subset":
        if "list" not in whole:
            _no_class_list()
        whole = _IMAGENET_DEFAULTS | whole
        making = tuple((name, whole.pop(name)) for name in _IMAGENET_MAKING)
        workload = _of_size(workload, _imagenet_size(**dict(making)))
    holdout = whole.get("holdout", 0)
    left = workload.max_batch_size - holdout
    size = whole.get("subset", left)
    if size > left:
        raise InputError(
            f"--subset {size} ({workload.name}) must be at most {left}, the training images"
            + (f" that --holdout {holdout} leaves" if holdout else "")
        )
    choice: dict[str, Any] = dict(whole)
    load = functools.partial(_load, workload.dataset, making=making, **choice)
    workload = dataclasses.replace(
        workload,
        load=functools.partial(load, evaluate_on="validation" if holdout else "test"),
        load_test=functools.partial(load, evaluate_on="test") if holdout else None,
        check_data=functools.partial(check_images, workload.dataset, making),
        evaluated_on="validation" if holdout else "test",
    )
    return _of_size(workload, size)


def _imagenet_size(*, list: int, perclass: int, resolution: int) -> int:
    """Return the number of training images of an ImageNet subset."""
    from surrogate.image_subset import classes_of_list

    return len(classes_of_list(list)) * perclass

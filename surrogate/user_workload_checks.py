"""What a user's own workload must be, tried out before a sweep writes anything.

Each check ends in an `InputError` whose line names the class, the method and the rule.
"""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from models_of_scaling.errors import InputError
from surrogate.search_space import SearchSpace

if TYPE_CHECKING:
    from torch import nn

    from fullscale.data.image_arrays import ImageArrays

_EXAMPLES = 8  # of the network's trial, in batches of two


def in_one_line(error: BaseException) -> str:
    """Return an error's kind and message without line breaks."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def called(path: str, method: str, call: Callable[[], Any]) -> Any:
    """Return what a method of the user's returns; what it raises is one line of ours.

    Args:
        path: of the class.
        method: its name, for the message.
        call: calls it.

    Raises:
        InputError: where it raises.
    """
    try:
        return call()
    except (Exception, SystemExit) as error:
        raise InputError(f"--workload {path}: {method}() failed: {in_one_line(error)}") from error


def check_space(space: object, optimizer: str, *, where: str) -> SearchSpace:
    """Check a search space of the user's against the update rule that it is for.

    Args:
        space: what the user's module has there.
        optimizer: a name that `--optimizer` takes.
        where: it stands, for the message.

    Returns:
        The space.

    Raises:
        InputError: where it is none, or one that the rule can't take.
    """
    if not isinstance(space, SearchSpace):
        raise InputError(f"{where} has {type(space).__name__} at {optimizer!r}, not a SearchSpace")
    searched = [dimension.name for dimension in space.dimensions]
    if "learning_rate" not in searched:
        raise InputError(f"{where} at {optimizer!r} searches {searched}, without learning_rate")
    if len({*searched, *space.fixed}) < len(searched) + len(space.fixed):
        raise InputError(f"{where} at {optimizer!r} has a number twice, of {searched}")
    from fullscale.optimizers.registry import get_update_rule  # torch takes seconds to import

    try:
        get_update_rule(optimizer).numbers(**space.fixed, **dict.fromkeys(searched, 0.0))
    except ValueError as error:
        raise InputError(f"{where} at {optimizer!r}: {error}") from error
    return space


def check_arrays(path: str, arrays: "ImageArrays") -> None:
    """Check a user's data.

    Args:
        path: of the class.
        arrays: what `data()` returned.

    Raises:
        InputError: naming the array and the rule.
    """
    for split in ("train", "validation"):
        images = getattr(arrays, f"{split}_images")
        labels = getattr(arrays, f"{split}_labels")
        _check_images(path, f"{split}_images", images)
        if not isinstance(labels, np.ndarray) or labels.dtype != np.int64:
            raise InputError(
                f"--workload {path}: data().{split}_labels is {_kind(labels)}, "
                "not an array of int64"
            )
        if labels.shape != (len(images),) or not len(labels):
            raise InputError(
                f"--workload {path}: data().{split}_labels is of shape {list(labels.shape)}, for "
                f"{len(images)} images; it must have one label for each, and one at least"
            )
        if labels.min() < 0 or labels.max() >= arrays.num_classes:
            raise InputError(
                f"--workload {path}: data().{split}_labels are not in 0..{arrays.num_classes - 1}"
            )
    trained, validated = arrays.train_images.shape[1:], arrays.validation_images.shape[1:]
    if trained != validated:
        raise InputError(
            f"--workload {path}: data().validation_images are of shape {list(validated)}, not "
            f"{list(trained)} as train_images"
        )


def _kind(values: object) -> str:
    dtype = getattr(values, "dtype", None)
    return type(values).__name__ if dtype is None else str(dtype)


def _check_images(path: str, name: str, images: object) -> None:
    good = isinstance(images, np.ndarray) and images.dtype == np.float32 and images.ndim == 4
    if not good or not np.isfinite(images).all():  # type: ignore[call-overload]
        shape = f" with {images.ndim} dimensions" if isinstance(images, np.ndarray) else ""
        raise InputError(
            f"--workload {path}: data().{name} is {_kind(images)}{shape}, not finite float32 of "
            "shape (N, channels, height, width)"
        )


def check_network(
    path: str, make_network: "Callable[[int], nn.Module]", arrays: "ImageArrays"
) -> None:
    """Train a user's network for a step, so that what can't be trained is said before a sweep.

    Args:
        path: of the class.
        make_network: returns a new network from a seed.
        arrays: its data.

    Raises:
        InputError: where outputs have another shape, a parameter is frozen (here all train),
            training draws random numbers (a member's result would depend on who trains beside
            it), or the step can't be mapped over members.
    """
    import torch

    where, network = f"--workload {path}: network()", make_network(0)
    images = torch.from_numpy(arrays.train_images[:2])
    with torch.no_grad():
        logits = called(path, "network", lambda: network.eval()(images))
    wanted = [len(images), arrays.num_classes]
    if not isinstance(logits, torch.Tensor) or list(logits.shape) != wanted:
        found = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise InputError(f"{where} gives {found} for {len(images)} examples, not {wanted}")
    trained = dict(network.named_parameters())
    frozen = [name for name, value in trained.items() if not value.requires_grad]
    if not trained:
        raise InputError(f"{where} has no parameter: there is nothing to train")
    if frozen:
        raise InputError(
            f"{where}: parameter {frozen[0]!r} wants no gradient; every parameter trains here: "
            "what shall not is a buffer"
        )
    if _draws(path, network, images):
        raise InputError(
            f"{where} draws random numbers in training (dropout?): a run must depend on its seed "
            "alone"
        )
    try:
        _train_two(make_network, arrays)
    except Exception as error:
        raise InputError(
            f"{where} can't be trained as one of many (torch.func.vmap): {in_one_line(error)}"
        ) from error


def _draws(path: str, network: "nn.Module", images: Any) -> bool:
    """Return whether a forward in training mode moves torch's random state."""
    import torch

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        before = torch.random.get_rng_state()
        called(path, "network", lambda: network.train()(images))
        return not torch.equal(before, torch.random.get_rng_state())


def _train_two(make_network: "Callable[[int], nn.Module]", arrays: "ImageArrays") -> None:
    """Take a step of two members and evaluate one, on a few examples."""
    from fullscale.optimizers.registry import get_update_rule
    from surrogate.population import Population
    from surrogate.training.members import Member
    from surrogate.training.task import Task

    splits = ("train_images", "train_labels", "validation_images", "validation_labels")
    few = {name: getattr(arrays, name)[:_EXAMPLES] for name in splits}
    task = Task(
        data=dataclasses.replace(arrays, **few),
        model="",
        make_network=make_network,
        rule=get_update_rule("sgd"),
        batch_size=2,
        memory_limit_bytes=2**40,  # two members: no need to count
    )
    members = [Member(seed=seed, numbers={"learning_rate": 1e-3}) for seed in (0, 1)]
    population = Population(task, members)
    population.advance(1)
    population.evaluate(0)

"""One more gradient, of a few examples of a batch, that leaves a Lightning module as it was."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree  # noqa: PLC2701 - nothing else knows how torch flattens a batch

from models_of_scaling.errors import InputError


def _lengths(batch: Any) -> set[int]:
    leaves = _pytree.tree_leaves(batch)
    return {len(leaf) for leaf in leaves if isinstance(leaf, Tensor) and leaf.ndim}


def count_examples(batch: Any) -> int:
    """Return the number of examples of a batch: the length that all its tensors have.

    Args:
        batch: tensors in dictionaries, lists and tuples.

    Returns:
        That length.

    Raises:
        InputError: where there is none, or more than one.
    """
    lengths = _lengths(batch)
    if len(lengths) != 1:
        found = ", ".join(map(str, sorted(lengths))) or "no tensor"
        raise InputError(
            f"GradientNoiseScale: the batch's tensors have lengths {found}; say how many examples "
            "it has by examples_of=..."
        )
    return lengths.pop()


def some_examples(batch: Any, whole: int, *, first: int, count: int) -> Any:
    """Return a batch with some of its examples, going on at the start where it ends.

    Args:
        batch: as in `count_examples`.
        whole: its number of examples; tensors of another length are left as they are.
        first: example.
        count: of examples.
    """

    def choose(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or not leaf.ndim or len(leaf) != whole:
            return leaf
        if first + count <= whole:
            return leaf[first : first + count]
        return torch.cat([leaf[first:], leaf[: first + count - whole]])

    return _pytree.tree_map(choose, batch)


def probe_gradient(trainer: Any, module: Any, batch: Any, batch_idx: int, *, weight: float) -> None:
    """Run a training step and its backward pass; hooks on the parameters see the gradient.

    It must come before the step's own forward, when no gradient is kept.

    Args:
        trainer: of the run.
        module: a Lightning module with automatic optimization.
        batch: on the device.
        batch_idx: Lightning's.
        weight: of the loss: the batch's share of the step's examples, by which each counts as it
            does in the step. A scaler's factor is then as far from overflow here as there.
    """
    with _left_as_it_was(module), torch.enable_grad():
        with trainer.precision_plugin.train_step_context():
            output = module.training_step(*_arguments(module, batch, batch_idx))
        loss = output["loss"] if isinstance(output, dict) else output
        if loss is not None:
            scaler = getattr(trainer.precision_plugin, "scaler", None)
            weighted = weight * loss
            (weighted if scaler is None else scaler.scale(weighted)).backward()
    for parameter in module.parameters():
        parameter.grad = None


def _arguments(module: Any, batch: Any, batch_idx: int) -> tuple[Any, ...]:
    import inspect

    takes = inspect.signature(module.training_step).parameters
    return (batch, batch_idx) if len(takes) > 1 else (batch,)


@contextmanager
def _left_as_it_was(module: nn.Module) -> Generator[None, None, None]:
    """Put back buffers, metrics, random numbers and the log after what happens within."""
    metrics = [each for each in module.modules() if hasattr(each, "_defaults")]  # torchmetrics
    kept = [(each, dict(vars(each))) for each in metrics]
    for each in metrics:
        states = each._defaults  # noqa: SLF001
        for name in states:  # type: ignore[union-attr]
            value = getattr(each, name)
            setattr(each, name, value.clone() if isinstance(value, Tensor) else list(value))
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    devices = {p.device for p in module.parameters() if p.device.type == "cuda"}
    vars(module)["log"] = vars(module)["log_dict"] = lambda *_, **__: None
    try:
        with torch.random.fork_rng(devices=sorted(devices, key=str)):
            yield
    finally:
        del vars(module)["log"], vars(module)["log_dict"]
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
        for each, values in kept:
            vars(each).update(values)

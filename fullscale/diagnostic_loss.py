"""The loss of fixed training examples as a function of the weights alone, of any LightningModule.

What training adds to it is held still: logging is off, random draws are the same at every call,
buffers (batch norm's moving averages) are put back, and torch.compile is left out, which has no
second derivative. Lightning is not imported: a module and its trainer are taken as they come.
"""

import contextlib
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from fullscale.batch_norm import SpanBatchNorm2d
from fullscale.data.image_source import ImageSource
from fullscale.loss import ClassifierLoss
from models_of_scaling.errors import InputError

Part = tuple[Callable[[], Tensor], float]
_SEED = 0


def spread_indices(num_examples: int, of: int) -> list[int]:
    """Return indices that lie evenly over a data set: the same on any number of processes.

    Args:
        num_examples: how many; all where there are fewer.
        of: size of the data set.

    >>> spread_indices(3, of=7)
    [0, 3, 6]
    """
    places = np.linspace(0, of - 1, min(num_examples, of)).round()
    return [int(place) for place in np.unique(places)]


def fixed_batches(trainer: Any, module: Any, *, num_examples: int, per_forward: int) -> list[Any]:
    """Return fixed training examples in forwards, all of them on every process, on the CPU.

    Args:
        trainer: with its training data set up.
        module: ours, whose data are read by index; or another, whose training set is a Dataset.
        num_examples: spread evenly over the training set.
        per_forward: examples of a forward: of a statistic, in training mode of batch norm.

    Returns:
        Batches, as the training step takes them.

    Raises:
        InputError: where the training set can't be read by index.
    """
    source: ImageSource | None = getattr(getattr(module, "data", None), "source", None)
    if source is not None:
        rows = spread_indices(num_examples, of=source.num_train_examples)
        return [_of_source(source, chunk) for chunk in _chunks(rows, per_forward)]
    loader = trainer.train_dataloader
    data, collate = getattr(loader, "dataset", None), getattr(loader, "collate_fn", None)
    if collate is None or not hasattr(data, "__getitem__") or not hasattr(data, "__len__"):
        raise InputError(
            "the sharpness is measured on fixed training examples: the training data must be a "
            "DataLoader of a data set with indices, or give the callback batches"
        )
    assert data is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)  # of augmentation
        rows = spread_indices(num_examples, of=len(data))
        return [collate([data[row] for row in chunk]) for chunk in _chunks(rows, per_forward)]


def _of_source(source: ImageSource, rows: Sequence[int]) -> Any:
    images, labels = source.train_batch(np.array(rows, dtype=np.int64), rows)
    return images, labels, torch.ones(len(labels))


def _chunks(rows: Sequence[int], size: int) -> list[Sequence[int]]:
    return [rows[first : first + size] for first in range(0, len(rows), size)]


def loss_parts(trainer: Any, module: Any, batches: Sequence[Any]) -> list[Part]:
    """Return this process's parts of the mean loss over all batches.

    Args:
        trainer: of the run.
        module: of the run.
        batches: all of them, on every process; process r of n takes each n-th from r.

    Returns:
        For each, a function that returns the mean loss of its examples, and its share of all.
    """
    sizes = [_num_examples(batch) for batch in batches]
    ours = range(trainer.global_rank, len(batches), trainer.world_size)
    return [
        (partial(_loss, module, _on_device(trainer, module, batches[i])), sizes[i] / sum(sizes))
        for i in ours
    ]


def _num_examples(batch: Any) -> int:
    from torch.utils import _pytree as pytree  # noqa: PLC2701 - torch's own walk through a batch

    tensors = [each for each in pytree.tree_leaves(batch) if isinstance(each, Tensor) and each.ndim]
    return len(tensors[0]) if tensors else 1


def _on_device(trainer: Any, module: Any, batch: Any) -> Any:
    return trainer.precision_plugin.convert_input(trainer.strategy.batch_to_device(batch))


def _loss(module: Any, batch: Any) -> Tensor:
    """The mean loss of a batch; a training step's own where the module is not ours."""
    devices = [module.device] if module.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.compiler.set_stance("force_eager"):
        torch.manual_seed(_SEED)  # the same dropout at every call
        if isinstance(getattr(module, "loss", None), ClassifierLoss):
            # Our own step keeps sums of the losses that it sees, and cuts batch norm's groups.
            images, labels, _ = batch
            losses: Tensor = module.loss.per_example(module.scores(images), labels)
            return losses.mean()
        out = module.training_step(batch, 0)
    loss: Tensor = out["loss"] if isinstance(out, dict) else out
    return loss


@contextlib.contextmanager
def held_still(module: nn.Module, *, batch_norm_trains: bool) -> Generator[None]:
    """Let nothing of the module change but what the caller changes.

    Args:
        module: of the run.
        batch_norm_trains: normalise by each forward's own statistics, as in training; else by the
            moving averages. All other layers are in training mode in both cases, but dropout, which
            is off in the second.
    """
    modes = [(each, each.training) for each in module.modules()]
    buffers = [(each, each.detach().clone()) for each in module.buffers()]
    spans = [each for each in module.modules() if isinstance(each, SpanBatchNorm2d)]
    silent = {"log": _no_log, "log_dict": _no_log}
    module.train(batch_norm_trains)
    vars(module).update(silent)
    for layer in spans if batch_norm_trains else ():
        vars(layer)["forward"] = partial(_own_statistics, layer)
    try:
        yield
    finally:
        for layer in spans:
            vars(layer).pop("forward", None)
        for name in silent:
            del vars(module)[name]
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
        for each, mode in modes:
            each.training = mode


def _no_log(*_: Any, **__: Any) -> None:
    """Log nothing: these forwards are no training."""


def _own_statistics(layer: SpanBatchNorm2d, images: Tensor) -> Tensor:
    """A forward here is one group: the step's own cut into groups does not fit it."""
    return batch_norm(images, None, None, layer.weight, layer.bias, True, eps=layer.eps)


def has_two_modes(module: nn.Module) -> bool:
    """Return whether training mode is another function: batch norm or dropout is there."""
    kinds = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd, SpanBatchNorm2d)  # noqa: SLF001
    return any(isinstance(each, kinds) for each in module.modules())

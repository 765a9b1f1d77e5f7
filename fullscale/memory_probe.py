"""Finds how many examples a device holds in one forward and backward, and agrees on it.

Tries 1, 2, 4, ... on a copy of the network until memory runs out, which it survives; the answer of
the device that holds fewest counts for all.
"""

import copy
import gc
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, distributed, nn
from torch.nn.functional import cross_entropy

from fullscale.optimizers.layers import layers_of
from fullscale.optimizers.rule_optimizer import initial_states
from fullscale.optimizers.update_rule import UpdateRule
from models_of_scaling.errors import InputError

# What torch and its libraries say, besides torch.OutOfMemoryError and MemoryError.
_SAYINGS = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "alloc_failed",
    "not enough memory",
)
_FLAG = "--data.max_per_device_batch_size auto"


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, on a GPU or on the host."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(saying in text for saying in _SAYINGS)


def largest_that_fits(attempt: Callable[[int], None], *, limit: int) -> int:
    """Double until memory runs out or the limit is reached.

    Args:
        attempt: does the work for a number of examples; what it raises besides running out of
            memory is raised.
        limit: more than this is of no use.

    Returns:
        The limit, or the largest power of two that went well; 0 where one example does not fit.

    Raises:
        RuntimeError: what an attempt raised for another reason.
    """
    best, size = 0, 1
    while True:
        try:
            attempt(size)
        except MemoryError:
            failed = True
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            failed = True
        else:
            failed = False
        if failed:
            # Outside of `except`: the error's traceback held the tensors of the failed attempt.
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            return best
        best = size
        if size >= limit:
            return best
        size = min(2 * size, limit)


def agree_on_smallest(found: int, *, device: torch.device) -> int:
    """Return the smallest number that any rank found: one collective.

    Args:
        found: this rank's.
        device: of this rank.

    Raises:
        InputError: on every rank, where one has no room for a single example.
    """
    smallest = torch.tensor(found, device=device)
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(smallest, op=distributed.ReduceOp.MIN)
    agreed = int(smallest.item())
    if agreed == 0:
        raise InputError(f"{_FLAG}: a device has no memory for a single example")
    return agreed


class _TrainingAttempt:
    """Forward and backward of so many random examples, beside what training keeps besides.

    What is kept: gradients, the optimizer's state, and one more copy of the gradients (DDP's
    buckets). FSDP2 keeps less, so the answer is on the safe side there.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        rule: UpdateRule,
        image_shape: tuple[int, int, int],
        device: torch.device,
        context: Callable[[], AbstractContextManager[object]],
    ) -> None:
        """Copy the network; the given one is not touched.

        Args:
            network: of the run, in its precision.
            rule: of the optimizer.
            image_shape: channels, height, width.
            device: to try on.
            context: of each forward, for example autocast.
        """
        self._network = copy.deepcopy(network).to(device).train()
        self._shape = image_shape
        self._context = context
        self._kept: list[Tensor] = []
        for parameter in self._network.parameters():
            parameter.grad = torch.zeros_like(parameter)
            self._kept.append(torch.zeros_like(parameter))
        named, layers = dict(self._network.named_parameters()), layers_of(self._network)
        for state in initial_states(rule, named, layers).values():
            self._kept += state.values()

    def __call__(self, examples: int) -> None:
        """Do it.

        Args:
            examples: in one forward.
        """
        parameter = next(self._network.parameters())
        images = torch.zeros(examples, *self._shape, device=parameter.device, dtype=parameter.dtype)
        labels = torch.zeros(examples, device=parameter.device, dtype=torch.int64)
        with self._context():
            # A single example of a single pixel has no variance: batch norm as in evaluation.
            self._network.train(examples > 1)
            loss = cross_entropy(self._network(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]


def probe_per_device_limit(
    network: nn.Module,
    *,
    rule: UpdateRule,
    image_shape: tuple[int, int, int],
    device: torch.device,
    context: Callable[[], AbstractContextManager[object]],
    limit: int,
) -> int:
    """Return how many examples every device can hold in one forward; all ranks must call.

    Args:
        network: of the run, in its precision; not touched.
        rule: of the optimizer.
        image_shape: channels, height, width.
        device: of this rank.
        context: of each forward, for example autocast.
        limit: more than this is of no use.
    """
    attempt = _TrainingAttempt(
        network, rule=rule, image_shape=image_shape, device=device, context=context
    )
    return agree_on_smallest(largest_that_fits(attempt, limit=limit), device=device)

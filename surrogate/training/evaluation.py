"""A member's loss and accuracy on many images, as few and cheap operations.

Members are evaluated one at a time: their activations stay in cache, which is twice as fast as
stacked, and each one's numbers are its own.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from surrogate.training.mapped_step import program_of
from surrogate.training.member_step import Task
from surrogate.training.stacked_network import Stacked

# Images of a forward: the activations of a small network stay in cache.
_IMAGES = 2_048


def mean_loss_and_accuracy(
    task: Task, parameters: Stacked, buffers: Stacked, images: Tensor, labels: Tensor
) -> Tensor:
    """Return the mean loss and the share of right answers of one member, shape (2,).

    Args:
        task: of the member; it keeps the programs, one for each number of images.
        parameters: of the member, unstacked.
        buffers: likewise.
        images: shape (N, channels, height, width), as the task keeps them.
        labels: shape (N,).
    """

    def sums(parameters: Stacked, buffers: Stacked, images: Tensor, labels: Tensor) -> Tensor:
        numbers = task.to_numbers(images)
        logits = task.stacked_network.evaluate_forward(parameters, buffers, numbers)
        # Classes first, as in the step: ten times faster than cross_entropy on (N, classes).
        log_probability = functional.log_softmax(logits.T.contiguous(), dim=0)
        losses = -log_probability.gather(0, labels[None])[0]
        # Over the last axis instead, where a CPU's argmax is the fast one.
        right = (logits.argmax(dim=1) == labels).to(losses.dtype)
        return torch.stack([losses.sum(), right.sum()])

    total: Any = 0
    for start in range(0, len(labels), _IMAGES):
        part = slice(start, start + _IMAGES)
        given = parameters, buffers, images[part], labels[part]
        key = ("evaluation", len(given[3]))
        if key not in task.programs:
            task.programs[key] = program_of(task, sums, given)
        total += task.programs[key](*given)
    means: Tensor = total / len(labels)
    return means

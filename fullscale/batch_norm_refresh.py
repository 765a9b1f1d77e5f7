"""Batch-norm statistics of weights that were never trained: averages over training examples.

Averaged weights (Izmailov et al. 2018, arXiv:1803.05407, section 3.2; Gupta et al. 2020,
arXiv:2001.02312, algorithm 1, phase 3) meet other activations than the weights that they are the
mean of. Statistics are taken anew: the plain mean over steps of training examples, as torch's
`swa_utils.update_bn` does. Differs from it: spans and ranks as in training, so that the statistics
are the same on any number of processes; only batch norm is in training mode, so that no random draw
is made. torch only; nothing here knows Lightning.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from fullscale.batch_norm import BatchNormSpan

Statistics = list[tuple[Tensor, ...]]


def keep_statistics(span: BatchNormSpan) -> Statistics:
    """Return copies of all layers' statistics.

    Args:
        span: of the network.
    """
    return [tuple(buffer.clone() for buffer in layer.averages()) for layer in span.layers]


@torch.no_grad()
def put_back_statistics(span: BatchNormSpan, kept: Statistics) -> None:
    """Undo a refreshment.

    Args:
        span: of the network.
        kept: by `keep_statistics`.
    """
    for layer, values in zip(span.layers, kept, strict=True):
        for buffer, value in zip(layer.averages(), values, strict=True):
            buffer.copy_(value)


@torch.no_grad()
def refresh_statistics(
    span: BatchNormSpan,
    forward: Callable[[Tensor], object],
    steps: Iterable[Iterable[Tensor]],
) -> None:
    """Take the statistics of the network's present weights; all ranks must call.

    Args:
        span: of the network, which is in evaluation mode.
        forward: runs the network on a batch of images.
        steps: of training examples, each the images of its forwards on this rank.
    """
    for layer in span.layers:
        layer.train()
    try:
        for done, images_of_step in enumerate(steps):
            for number, images in enumerate(images_of_step):
                span.begin_forward(number)
                forward(images)
            span.finish_step(momentum=1 / (done + 1))
    finally:
        for layer in span.layers:
            layer.eval()

"""What a forward keeps for its backward, counted on the meta device without a number computed."""

import copy

import torch
from torch import nn

from fullscale.memory_estimate import kept_for_backward

_PROBE_EXAMPLES = 8


def kept_bytes_per_example(
    network: nn.Module, *, image_shape: tuple[int, ...], dtype: torch.dtype
) -> float:
    """Return the bytes that a forward keeps for the backward, by example.

    Args:
        network: of one member; left as it is.
        image_shape: (channels, height, width).
        dtype: of the images.
    """
    # In evaluation mode, where batch norm takes a single example: it keeps the same tensors.
    network = copy.deepcopy(network).to("meta").eval()
    images = torch.empty((_PROBE_EXAMPLES, *image_shape), dtype=dtype, device="meta")
    labels = torch.empty(_PROBE_EXAMPLES, dtype=torch.int64, device="meta")
    with torch.enable_grad():  # whoever asks may have switched it off, and nothing would be kept
        return kept_for_backward(network, images, labels) / _PROBE_EXAMPLES

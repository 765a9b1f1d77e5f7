"""Members' networks as stacked tensors: parameters and buffers, and one network's forward on them.

On a CPU a network with convolutions is stacked only where a member's step is small. Beyond that
its calls cost little beside its arithmetic, in which oneDNN's convolution of one network beats a
product of many: members then take their steps one by one, with torch's own layers.

A network's buffers (batch norm's moving averages and its count of batches) are part of a member
like its parameters. torch's layers write them in place; here the forward works on copies and hands
them back, so that a step is a pure function that `torch.func.vmap` can map over members.
"""

import copy
from collections.abc import Sequence

from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from surrogate.training.activations import kept_bytes_per_example
from surrogate.training.stacked_layers import with_narrow_layers, with_stacked_layers

Stacked = dict[str, Tensor]
# What a member's forward keeps, in bytes, where stacked and one by one are equally fast: measured
# between 360,000 and 550,000 for a CNN of two layers, 330,000 and 650,000 for ResNet-8
# (docs/population.md); half of a core's own cache.
_STACKED_BYTES = 400_000


class StackedNetwork:
    """The structure that all members share, in training and in evaluation mode."""

    def __init__(
        self, template: nn.Module, *, batch_size: int, image_shape: tuple[int, ...]
    ) -> None:
        """Keep a template; its own parameters and buffers are never used.

        Args:
            template: any member's network, on the device and in the precision of the members.
            batch_size: examples per step.
            image_shape: (channels, height, width).
        """
        on_cpu = all(parameter.device.type == "cpu" for parameter in template.parameters())
        # By sizes alone: a resumed sweep must come to the same choice.
        self.one_by_one = (
            on_cpu
            and any(isinstance(module, nn.Conv2d) for module in template.modules())
            and batch_size * _kept(template, image_shape) > _STACKED_BYTES
        )
        # A GPU's own convolution with groups has not been measured against the product.
        stacked = on_cpu and not self.one_by_one
        self._training = (with_stacked_layers if stacked else copy.deepcopy)(template).train()
        # One member at a time is evaluated, so torch's own convolutions know of no other either.
        form = with_narrow_layers if on_cpu else copy.deepcopy
        self._evaluation = form(template).eval()

    @property
    def training_form(self) -> nn.Module:
        """The network that `train_forward` runs, for hooks on its modules."""
        return self._training

    @staticmethod
    def stack(networks: Sequence[nn.Module]) -> tuple[Stacked, Stacked]:
        """Return the parameters and the buffers of K networks, stacked along a first dimension."""
        parameters, buffers = stack_module_state(list(networks))
        return {name: value.detach() for name, value in parameters.items()}, buffers

    def train_forward(
        self, parameters: Stacked, buffers: Stacked, images: Tensor
    ) -> tuple[Tensor, Stacked]:
        """Return one member's outputs and new buffers, in training mode.

        Args:
            parameters: of one member, unstacked.
            buffers: likewise; left as they are.
            images: shape (B, channels, height, width).

        Returns:
            Outputs, shape (B, classes), and the buffers after this forward.
        """
        after = {name: value.clone() for name, value in buffers.items()}
        outputs = functional_call(self._training, (parameters, after), (images,))
        return outputs, after

    def evaluate_forward(self, parameters: Stacked, buffers: Stacked, images: Tensor) -> Tensor:
        """Return one member's outputs in evaluation mode: batch norm by its moving averages."""
        outputs: Tensor = functional_call(self._evaluation, (parameters, buffers), (images,))
        return outputs


def _kept(template: nn.Module, image_shape: tuple[int, ...]) -> float:
    dtype = next(template.parameters()).dtype
    return kept_bytes_per_example(template, image_shape=image_shape, dtype=dtype)

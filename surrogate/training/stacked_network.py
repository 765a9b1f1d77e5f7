"""Members' networks as stacked tensors: parameters and buffers, and one network's forward on them.

A network's buffers (batch norm's moving averages and its count of batches) are part of a member
like its parameters. torch's layers write them in place; here the forward works on copies and hands
them back, so that a step is a pure function that `torch.func.vmap` can map over members.
"""

import copy
from collections.abc import Sequence

from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from surrogate.training.stacked_layers import with_narrow_layers, with_stacked_layers

Stacked = dict[str, Tensor]


class StackedNetwork:
    """The structure that all members share, in training and in evaluation mode."""

    def __init__(self, template: nn.Module) -> None:
        """Keep a template; its own parameters and buffers are never used.

        Args:
            template: any member's network, on the device and in the precision of the members.
        """
        on_cpu = all(parameter.device.type == "cpu" for parameter in template.parameters())
        # A GPU's own convolution with groups has not been measured against the product.
        form = with_stacked_layers if on_cpu else copy.deepcopy
        self._training = form(template).train()
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

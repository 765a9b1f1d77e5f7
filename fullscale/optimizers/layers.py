"""The layers of a network as matrix products, and the Kronecker factors of their curvature.

Martens & Grosse 2015, arXiv:1503.05671, section 2-3, for linear layers; Grosse & Martens 2016,
arXiv:1602.01573, section 3, for convolutions, whose every place counts as an example that shares
the weights ("expand"). With a the inputs of a layer, a 1 appended where it has a bias, and g the
gradients of one example's loss by its outputs, over B examples and T places:

    A = 1/B sum_bt a_bt a_bt^T,    G = 1/(B T) sum_bt g_bt g_bt^T;    curvature of [W b] = A (x) G

Labels: those of the data give the empirical Fisher; drawn from the network's own distribution, the
Fisher itself.

Shapes: B examples, T places (1 for a linear layer of one vector), I inputs, O outputs, C classes.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

# Draws are integers below 2^31, so that products of two fit into 63 bits.
_BITS = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class Factors:
    """Both Kronecker factors of a layer, or sums for them.

    Attributes:
        inputs: A, shape (I, I), the bias's row and column last.
        outputs: G, shape (O, O).
    """

    inputs: Tensor
    outputs: Tensor


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A linear layer or a convolution.

    Attributes:
        path: of the module.
        bias: name of its bias; None without.
        patches: how a convolution's patches are taken (arguments of `unfold`); None: linear.
    """

    path: str
    bias: str | None
    patches: Mapping[str, tuple[int, ...]] | None = None

    def input_rows(self, inputs: Tensor) -> Tensor:
        """Return what the weights are multiplied with.

        Args:
            inputs: of the module, examples first.

        Returns:
            Shape (B, T, I), at least in single precision.
        """
        inputs = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
        if self.patches is None:
            rows = inputs.reshape(len(inputs), -1, inputs.shape[-1])
        else:
            rows = functional.unfold(inputs, **self.patches).mT
        if self.bias is None:
            return rows
        return torch.cat([rows, rows.new_ones((*rows.shape[:2], 1))], dim=2)

    def output_rows(self, gradients: Tensor) -> Tensor:
        """Return gradients by the layer's outputs.

        Args:
            gradients: as the module's outputs.

        Returns:
            Shape (B, T, O), at least in single precision.
        """
        gradients = gradients.to(torch.promote_types(gradients.dtype, torch.float32))
        if self.patches is None:
            return gradients.reshape(len(gradients), -1, gradients.shape[-1])
        return gradients.flatten(2).mT

    def factor_sums(self, inputs: Tensor, gradients: Tensor, weights: Tensor) -> Factors:
        """Return B times A and G of some examples.

        Args:
            inputs: of the module.
            gradients: of each example's loss by the module's outputs.
            weights: of the examples, shape (B,): 0 for a filler.
        """
        rows_in, rows_out = self.input_rows(inputs), self.output_rows(gradients)
        weights = weights.to(rows_in.dtype)[:, None, None]
        weighed_in, weighed_out = (rows_in * weights).flatten(0, 1), rows_out * weights
        return Factors(
            inputs=weighed_in.mT @ rows_in.flatten(0, 1),
            outputs=weighed_out.flatten(0, 1).mT @ rows_out.flatten(0, 1) / rows_out.shape[1],
        )


def layers_of(network: nn.Module) -> dict[str, Layer]:
    """Return the layers that have Kronecker factors, by the name of their weight.

    Args:
        network: its linear layers and plain convolutions count; one with groups, or padded by a
            word or by other than zeros, does not.
    """
    found = {}
    for path, module in network.named_modules():
        prefix = f"{path}." if path else ""
        bias = f"{prefix}bias" if getattr(module, "bias", None) is not None else None
        if isinstance(module, nn.Linear):
            found[f"{prefix}weight"] = Layer(path=path, bias=bias)
        elif type(module) is nn.Conv2d and _is_plain(module):
            words = ("kernel_size", "dilation", "padding", "stride")
            patches = {word: getattr(module, word) for word in words}
            found[f"{prefix}weight"] = Layer(path=path, bias=bias, patches=patches)
    return found


def trained_layers(layers: Mapping[str, Layer], network: nn.Module) -> dict[str, Layer]:
    """Return the layers whose weight trains; one with a frozen bias counts as one without.

    Args:
        layers: of `layers_of`.
        network: the same one, as it trains.
    """
    trained = {name for name, weight in network.named_parameters() if weight.requires_grad}
    return {
        name: layer if layer.bias in trained else replace(layer, bias=None)
        for name, layer in layers.items()
        if name in trained
    }


def _is_plain(layer: nn.Conv2d) -> bool:
    padded = layer.padding_mode != "zeros" or isinstance(layer.padding, str)
    return layer.groups == 1 and not padded


class LayerWatch:
    """What goes into and comes out of a network's layers in a forward."""

    def __init__(self) -> None:
        """Watch nothing yet."""
        self.inputs: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}

    @contextmanager
    def watching(
        self,
        network: nn.Module,
        layers: Mapping[str, Layer],
        probes: Mapping[str, Tensor] | None = None,
    ) -> Generator[None]:
        """Keep inputs and outputs of the forwards inside; the last of each layer.

        Args:
            network: whose modules have the paths of the layers.
            layers: by name.
            probes: are added to the outputs: zeros, whose gradients are the outputs'.

        Yields:
            Nothing.
        """
        handles = [
            network.get_submodule(layer.path).register_forward_hook(self._hook(name, probes))
            for name, layer in layers.items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, name: str, probes: Mapping[str, Tensor] | None) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            self.inputs[name], self.outputs[name] = inputs[0].detach(), output
            return None if probes is None else output + probes[name]

        return hook


def uniform_draws(places: Tensor, steps: int | Tensor) -> Tensor:
    """Return numbers in (0, 1) that depend on an example's place and the step alone.

    The same in every process and in every member: by a hash, not by a generator's state.

    Args:
        places: of the examples in the step, integers, shape (B,).
        steps: done before.

    Returns:
        Shape (B,), double precision.
    """
    if isinstance(steps, Tensor):
        steps = steps.to(torch.int64)
    # Odd multipliers spread neighbours; xor and shift carry high bits down (a 31-bit finaliser).
    mixed = (places * 1_103_515_245 + steps * 1_540_483_477 + 374_761_393) & _BITS
    for shift, factor in ((16, 0x2C1B_3C6D), (13, 0x297A_2D39)):
        mixed = ((mixed ^ (mixed >> shift)) * factor) & _BITS
    mixed = mixed ^ (mixed >> 15)
    return (mixed.to(torch.float64) + 0.5) / 2**31


def drawn_labels(scores: Tensor, draws: Tensor) -> Tensor:
    """Return labels drawn from the distribution that scores stand for, by its inverse.

    Args:
        scores: logits, shape (B, C).
        draws: uniform, shape (B,).

    Returns:
        One-hot, shape (B, C), in the type of the scores.
    """
    below = functional.softmax(scores.double(), dim=1).cumsum(dim=1)[:, :-1] < draws[:, None]
    labels = below.sum(dim=1, keepdim=True)
    classes = torch.arange(scores.shape[1], device=scores.device)
    return (labels == classes).to(scores.dtype)


def score_gradients(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the gradients of each example's cross entropy by its scores.

    Args:
        scores: shape (B, C).
        labels: one-hot or mixed, shape (B, C).
    """
    return functional.softmax(scores, dim=1) - labels

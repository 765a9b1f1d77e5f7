"""Convolution, max pooling and narrow linear layers for many small networks at once on a CPU.

Mapped over members, torch's convolution becomes one with K groups, and oneDNN picks its algorithm,
and so the order of its sums, by K: a member's numbers would depend on who trains beside it. Here a
convolution is a product of its weights with the image patches as columns ("im2col": Chellapilla,
Puri & Simard 2006, section 3), mapped as one batched product whose matrices don't know of each
other. Examples are last in memory, shape (C, H, W, B), so that every copy of a shifted image moves
whole runs of B numbers; to the network the shape is (B, C, H, W) as always.

Max pooling compares shifted images instead of searching windows, for the same layout. Of equal
values the first gets the gradient, as in torch.

A linear layer to few outputs is multiplied with the examples last: a CPU's product is three times
faster over B columns than over ten.

Shapes: B examples, C channels, H and W pixels, O output channels.
"""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

# Outputs of a linear layer up to which they are rows rather than columns: floats of a cache line.
_NARROW = 16


def with_stacked_layers(network: nn.Module) -> nn.Module:
    """Return a copy in which layers have the forms of this file.

    Args:
        network: with torch's layers. What is not a plain convolution (groups, dilation, padding
            other than by zeros), a pooling of windows side by side or a linear layer to few
            outputs stays as it is.

    Returns:
        The copy; its parameters have the same names.
    """
    network = copy.deepcopy(network)
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Conv2d and _is_plain(child):
                setattr(parent, name, _ColumnsConv2d(child))
            elif type(child) is nn.MaxPool2d and _is_side_by_side(child):
                setattr(parent, name, _ComparingMaxPool2d(_pair(child.kernel_size)))
    return with_narrow_layers(network)


def with_narrow_layers(network: nn.Module) -> nn.Module:
    """Return a copy in which linear layers to few outputs have the form of this file.

    Args:
        network: any.

    Returns:
        The copy; its parameters have the same names.
    """
    network = copy.deepcopy(network)
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Linear and child.out_features <= _NARROW:
                setattr(parent, name, _NarrowLinear(child))
    return network


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _is_plain(layer: nn.Conv2d) -> bool:
    return (
        layer.groups == 1
        and layer.dilation == (1, 1)
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
    )


def _is_side_by_side(layer: nn.MaxPool2d) -> bool:
    return (
        layer.stride == layer.kernel_size
        and layer.padding == 0
        and layer.dilation == 1
        and not layer.ceil_mode
        and not layer.return_indices
    )


class _Columns(torch.autograd.Function):
    """Patches of images as columns; torch's own gradient of it writes each patch position anew."""

    generate_vmap_rule = True

    @staticmethod
    def forward(images: Tensor, kernel: tuple[int, int], stride: tuple[int, int]) -> Tensor:
        """Return shape (C kernel, height width B) from padded images of shape (C, H, W, B)."""
        patches = images.unfold(1, kernel[0], stride[0]).unfold(2, kernel[1], stride[1])
        return patches.permute(0, 4, 5, 1, 2, 3).reshape(
            images.shape[0] * kernel[0] * kernel[1], -1
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep the shapes."""
        images, ctx.kernel, ctx.stride = inputs
        ctx.shape = images.shape

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Add every column's entries up where they came from."""
        (channels, height, width, examples), (rows, columns) = ctx.shape, ctx.kernel
        down, right = ctx.stride
        high, wide = (height - rows) // down + 1, (width - columns) // right + 1
        pieces = gradient.reshape(channels, rows, columns, high, wide, examples)
        total = gradient.new_zeros(ctx.shape)
        for i in range(rows):
            for j in range(columns):
                window = total[:, i : i + down * high : down, j : j + right * wide : right]
                window.add_(pieces[:, i, j])
        return total, None, None


class _ColumnsConv2d(nn.Module):
    """A convolution with the parameters of torch's."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self._kernel, self._stride = _pair(layer.kernel_size), _pair(layer.stride)  # type: ignore[arg-type]
        padding = layer.padding
        assert not isinstance(padding, str)
        down, right = padding
        self._padding = (0, 0, right, right, down, down)

    def forward(self, images: Tensor) -> Tensor:
        padded = functional.pad(images.permute(1, 2, 3, 0), self._padding)
        sizes = [
            (size - kernel) // stride + 1
            for size, kernel, stride in zip(
                padded.shape[1:3], self._kernel, self._stride, strict=True
            )
        ]
        columns: Tensor = _Columns.apply(padded, self._kernel, self._stride)  # type: ignore[no-untyped-call]
        outputs = (self.weight.flatten(1) @ columns).view(-1, *sizes, images.shape[0])
        if self.bias is not None:
            outputs = outputs + self.bias[:, None, None, None]
        return outputs.permute(3, 0, 1, 2)


class _LargestOfWindows(torch.autograd.Function):
    """The largest of each window; of equal ones the first gets the gradient, as in torch."""

    generate_vmap_rule = True

    @staticmethod
    def forward(images: Tensor, kernel: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return the largest values and their place in the window, from shape (B, C, H, W)."""
        largest, *others = _windows(images, kernel)
        place = torch.zeros_like(largest, dtype=torch.int8)
        for number, shifted in enumerate(others, 1):
            larger = shifted > largest
            largest = torch.where(larger, shifted, largest)
            place = torch.where(larger, number, place)
        return largest, place

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        """Keep the places."""
        images, ctx.kernel = inputs
        ctx.shape = images.shape
        ctx.save_for_backward(output[1])
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, None]:
        """Hand the gradient to the largest."""
        (place,) = ctx.saved_tensors
        examples, *image = ctx.shape
        total = gradient.new_zeros((*image, examples)).permute(3, 0, 1, 2)
        for number, window in enumerate(_windows(total, ctx.kernel)):
            window.add_(gradient * (place == number))
        return total, None


def _windows(images: Tensor, kernel: tuple[int, int]) -> Iterator[Tensor]:
    """Yield views of images, one for each place in a window; one at a time, to be written to."""
    rows, columns = kernel
    height, width = images.shape[2] // rows * rows, images.shape[3] // columns * columns
    for i in range(rows):
        for j in range(columns):
            yield images[:, :, i:height:rows, j:width:columns]


class _ComparingMaxPool2d(nn.Module):
    """Max pooling of windows side by side."""

    def __init__(self, kernel: tuple[int, int]) -> None:
        super().__init__()
        self._kernel = kernel

    def forward(self, images: Tensor) -> Tensor:
        largest: Tensor = _LargestOfWindows.apply(images, self._kernel)[0]  # type: ignore[no-untyped-call]
        return largest


class _NarrowLinear(nn.Module):
    """A linear layer with the parameters of torch's, its product with the examples last."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = (self.weight @ inputs.transpose(-1, -2)).transpose(-1, -2)
        return outputs if self.bias is None else outputs + self.bias

"""The networks by name: multilayer perceptrons, two convolutional networks, three ResNets.

Surrogate sweeps and the full-scale trainer build the same networks here.
"""

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from models_of_scaling.errors import InputError

ImageShape = tuple[int, int, int]


def _mlp(image_shape: ImageShape, num_classes: int, *, width: int = 32) -> nn.Module:
    """One hidden layer of ReLU units."""
    channels, height, w = image_shape
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * height * w, width),
        nn.ReLU(),
        nn.Linear(width, num_classes),
    )


def _small_cnn(image_shape: ImageShape, num_classes: int, *, width: int = 8) -> nn.Module:
    """Two 3x3 convolutions with max pooling and a linear head; after LeCun et al. 1998."""
    channels, height, w = image_shape
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * width * (height // 4) * (w // 4), num_classes),
    )


def _simple_cnn(image_shape: ImageShape, num_classes: int, *, width: int = 32) -> nn.Module:
    """The simple CNN of Shallue et al. 2018, arXiv:1811.03600, appendix B, in its base size."""
    # 32 and 64 filters, 1,024 hidden units: 3.3 million parameters on 28x28 grey images; `width`
    # scales the three together. Differs from the source: no dropout.
    channels, height, w = image_shape
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel_size=5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, kernel_size=5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * width * (height // 4) * (w // 4), 32 * width),
        nn.ReLU(),
        nn.Linear(32 * width, num_classes),
    )


class _ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm around an identity, or a 1x1 projection."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = (
            nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(channels),
            )
            if stride != 1
            else nn.Identity()
        )

    def forward(self, images: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(relu(self.bn1(self.conv1(images)))))
        return relu(inner + self.shortcut(images))


def _resnet8(image_shape: ImageShape, num_classes: int, *, width: int = 16) -> nn.Module:
    """ResNet-8: He et al. 2015, arXiv:1512.03385, section 4.2, n = 1; with projections."""
    return nn.Sequential(
        nn.Conv2d(image_shape[0], width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        _ResidualBlock(width, width, 1),
        _ResidualBlock(width, 2 * width, 2),
        _ResidualBlock(2 * width, 4 * width, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, num_classes),
    )


def _resnet18(image_shape: ImageShape, num_classes: int) -> nn.Module:
    """ResNet-18, He et al. 2015, table 1, as torchvision has it."""
    from torchvision.models import resnet18

    if image_shape[0] != 3:
        raise InputError(f"model resnet18 wants 3 channels, the data have {image_shape[0]}")
    network: nn.Module = resnet18(weights=None, num_classes=num_classes)
    return network


def _resnet50(image_shape: ImageShape, num_classes: int) -> nn.Module:
    """ResNet-50 v1.5 (stride in the 3x3 convolution), He et al. 2015, as torchvision has it."""
    from torchvision.models import resnet50

    if image_shape[0] != 3:
        raise InputError(f"model resnet50 wants 3 channels, the data have {image_shape[0]}")
    network: nn.Module = resnet50(weights=None, num_classes=num_classes)
    return network


# The rungs of ladders of widths: hidden units, and filters of the first convolution.
MLP_WIDTHS = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256)
CONVOLUTION_WIDTHS = (4, 6, 8, 12, 16, 24, 32, 48, 64)


def _of_widths(
    name: str, network: Callable[..., nn.Module], widths: tuple[int, ...]
) -> dict[str, Callable[[ImageShape, int], nn.Module]]:
    return {f"{name}_width{width}": functools.partial(network, width=width) for width in widths}


NETWORKS: dict[str, Callable[[ImageShape, int], nn.Module]] = {
    "mlp": _mlp,
    "mlp_wide": functools.partial(_mlp, width=128),
    **_of_widths("mlp", _mlp, MLP_WIDTHS),
    "small_cnn": _small_cnn,
    **_of_widths("small_cnn", _small_cnn, CONVOLUTION_WIDTHS),
    "simple_cnn": _simple_cnn,
    **_of_widths("simple_cnn", _simple_cnn, CONVOLUTION_WIDTHS),
    "resnet8": _resnet8,
    **_of_widths("resnet8", _resnet8, CONVOLUTION_WIDTHS),
    "resnet18": _resnet18,
    "resnet50": _resnet50,
}


def build_network(name: str, *, image_shape: ImageShape, num_classes: int, seed: int) -> nn.Module:
    """Return a freshly initialised network; the weights depend on the arguments only.

    Args:
        name: a key of `NETWORKS`.
        image_shape: channels, height, width.
        num_classes: outputs.
        seed: of the initialisation; the caller's random state is left as it was.

    Returns:
        The network, float32, on the CPU, in training mode.

    Raises:
        InputError: where the name is unknown or the network can't take the images.
    """
    if name not in NETWORKS:
        raise InputError(f"model {name!r} is not one of {', '.join(NETWORKS)}")
    # torch's initialisers read the global generator only: fork it.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NETWORKS[name](image_shape, num_classes)


def count_parameters(network: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)

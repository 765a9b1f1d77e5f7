"""What the members of a population share: data, network, update rule, batch size.

Shapes: B examples per step.
"""

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import vmap
from torch.nn import functional

from fullscale.data.image_arrays import ImageArrays
from fullscale.data.normalization import Normalization
from fullscale.loss import ClassifierLoss
from fullscale.models import build_network, count_parameters
from fullscale.optimizers.layers import Layer, LayerWatch, layers_of
from fullscale.optimizers.parameter_groups import ParameterGroups
from fullscale.optimizers.update_rule import State, TensorTraits, UpdateRule
from surrogate.training.activations import kept_bytes_per_example
from surrogate.training.stacked_network import Stacked, StackedNetwork

# The training loss is measured on the whole training set, or its first 2,048 examples if larger.
MAX_TRAIN_LOSS_EXAMPLES = 2_048
# Of an evaluation's forward on a CPU: larger tensors leave the cache, and their pages are fresh at
# every call. Measured on one core, 4,096 images of 32 x 32: ResNet-8 4.4 s by 2,048 images, 2.9 by
# 512, 1.0 by 128 to 32; the simple CNN 3.0, 2.6, 1.7 (128 and 64) and 1.9 s (32).
_FORWARD_BYTES = 32 * 2**20
_MAX_FORWARD_IMAGES = 2_048

StackedStates = dict[str, State]
# Parameters, buffers and the rule's states: all that a step changes.
Changing = tuple[Stacked, Stacked, StackedStates]


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """What all members share: data, network, update rule, batch size, precision, device.

    Attributes:
        data: the data set; uint8 images stay bytes on the device and are standardised there, batch
            by batch, by the training split's mean and standard deviation of each channel.
        model: name of the network, a key of `fullscale.models.NETWORKS`.
        rule: the update rule.
        batch_size: examples per step.
        dtype: of all arithmetic.
        device: where data and members live.
        make_network: seed -> network, for one that `fullscale.models` does not name; `model` is
            then only a name.
        loss: what is minimised; evaluations have plain cross entropy.
        groups: which tensors get weight decay and a trust ratio.
        max_validation_examples: evaluations take the first so many validation examples; None all.
        compiled: the step is compiled by inductor where a C++ compiler is found, else traced.
        memory_limit_bytes: what a population may take; None for a share of what is free.
    """

    data: ImageArrays
    model: str
    rule: UpdateRule
    batch_size: int
    dtype: torch.dtype = torch.float32
    device: str = "cpu"
    make_network: Callable[[int], nn.Module] | None = None
    loss: ClassifierLoss = field(default_factory=ClassifierLoss)
    groups: ParameterGroups = field(default_factory=ParameterGroups)
    max_validation_examples: int | None = None
    compiled: bool = False
    memory_limit_bytes: int | None = None

    def network(self, seed: int) -> nn.Module:
        """Return a freshly initialised network; its numbers are drawn on the CPU."""
        if self.make_network is not None:
            network = self.make_network(seed)
        else:
            network = build_network(
                self.model,
                image_shape=self.data.image_shape,
                num_classes=self.data.num_classes,
                seed=seed,
            )
        return network.to(device=self.device, dtype=self.dtype)

    @functools.cached_property
    def template(self) -> nn.Module:
        """The network whose structure every member has."""
        return self.network(0)

    @functools.cached_property
    def stacked_network(self) -> StackedNetwork:
        """The template's forward on any member's parameters and buffers."""
        return StackedNetwork(
            self.template, batch_size=self.batch_size, image_shape=self.data.image_shape
        )

    def __post_init__(self) -> None:
        """Build the template now: a trace, where it would else be built, may draw no numbers."""
        _ = self.stacked_network, self.traits
        if self.layers:
            _ = self.output_shapes

    @functools.cached_property
    def traits(self) -> dict[str, TensorTraits]:
        """What applies to each parameter tensor of a member."""
        return self.groups.traits(self.template)

    @property
    def takes_whole_set(self) -> bool:
        """Whether every step takes every example: their order is nothing to a sum, nor a copy."""
        return self.batch_size == self.data.num_train_examples

    @functools.cached_property
    def programs(self) -> dict[Any, Any]:
        """What `mapped_step.py` and `evaluation.py` have traced or compiled so far."""
        return {}

    @functools.cached_property
    def num_parameters(self) -> int:
        """Trainable parameters of one member."""
        return count_parameters(self.template)

    @functools.cached_property
    def normalization(self) -> Normalization | None:
        """How uint8 pixels become numbers; None where the images come standardised."""
        pixels = self.data.train_images
        if pixels.dtype != np.uint8:
            return None
        # From counts of the 256 values: exact, and without a float copy of the data.
        values = np.arange(256) / 255
        shares = [
            np.bincount(channel.ravel(), minlength=256) / channel.size
            for channel in np.moveaxis(pixels, 1, 0)
        ]
        mean = [float(share @ values) for share in shares]
        spread = [
            float(np.sqrt(share @ (values - m) ** 2)) for share, m in zip(shares, mean, strict=True)
        ]
        return Normalization(mean=tuple(mean), std=tuple(s or 1.0 for s in spread))

    def _on_device(self, images: NDArray[np.generic]) -> Tensor:
        whole = torch.from_numpy(images).to(self.device)
        return whole if whole.dtype == torch.uint8 else whole.to(self.dtype)

    def to_numbers(self, images: Tensor) -> Tensor:
        """Return images in the precision of the task, standardised if they were bytes."""
        if self.normalization is None:
            return images
        return self.normalization.apply(images, dtype=self.dtype)

    @functools.cached_property
    def images(self) -> Tensor:
        """Training images, shape (num_train_examples, channels, height, width)."""
        return self._on_device(self.data.train_images)

    @functools.cached_property
    def one_hot(self) -> Tensor:
        """Training labels, shape (num_train_examples, num_classes).

        Cross entropy from one-hot labels takes a fifth fewer operations than from indices.
        """
        labels = torch.from_numpy(self.data.train_labels).to(self.device)
        return functional.one_hot(labels, self.data.num_classes).to(self.dtype)

    @functools.cached_property
    def train_loss_set(self) -> tuple[Tensor, Tensor]:
        """Images and labels on which the training loss is measured."""
        labels = torch.from_numpy(self.data.train_labels[:MAX_TRAIN_LOSS_EXAMPLES])
        return self.images[:MAX_TRAIN_LOSS_EXAMPLES], labels.to(self.device)

    @functools.cached_property
    def images_of_a_forward(self) -> int:
        """How many images an evaluation takes at once: a power of two, by sizes alone."""
        if torch.device(self.device).type != "cpu":
            return _MAX_FORWARD_IMAGES
        kept = kept_bytes_per_example(
            self.template, image_shape=self.data.image_shape, dtype=self.dtype
        )
        fits = max(1, int(_FORWARD_BYTES / kept))
        return min(_MAX_FORWARD_IMAGES, 1 << (fits.bit_length() - 1))

    @functools.cached_property
    def validation_set(self) -> tuple[Tensor, Tensor]:
        """All validation images and labels."""
        labels = torch.from_numpy(self.data.validation_labels).to(self.device)
        return self._on_device(self.data.validation_images), labels

    def loss_of_scores(self, scores: Tensor, one_hot: Tensor) -> Tensor:
        """Return the training loss, summed over examples.

        Args:
            scores: logits, shape (B, num_classes).
            one_hot: shape (B, num_classes).
        """
        if self.loss != ClassifierLoss():
            return self.loss.per_example(scores, one_hot).sum()
        # Classes first: over a short last axis torch's CPU log_softmax is ten times slower.
        log_probability = functional.log_softmax(scores.T, dim=0)
        return -(log_probability * one_hot.T).sum()

    @functools.cached_property
    def layers(self) -> dict[str, Layer]:
        """The layers with Kronecker factors, by the name of their weight; none if unneeded."""
        rule = self.rule.gradient_rule
        return layers_of(self.template) if rule is not None and "factors" in rule.needs else {}

    @functools.cached_property
    def output_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of one example's outputs of each of `layers`."""
        watch, network = LayerWatch(), copy.deepcopy(self.template).eval()
        image = torch.zeros((1, *self.data.image_shape), device=self.device, dtype=self.dtype)
        with torch.no_grad(), watch.watching(network, self.layers):
            network(image)
        return {name: tuple(output.shape[1:]) for name, output in watch.outputs.items()}

    def evaluation_parameters(self, parameters: Stacked, states: StackedStates) -> Stacked:
        """Return the weights to evaluate one member with: its own, or the rule's average."""
        choose = self.rule.evaluation_parameter
        if choose is None:
            return parameters
        return {name: choose(value, states[name]) for name, value in parameters.items()}

    def init_states(self, parameters: Stacked) -> StackedStates:
        """Return the rule's states of K members, every tensor with K first.

        Args:
            parameters: stacked.

        Returns:
            By parameter name. A state tensor that does not depend on the parameter's values comes
            out of the map unmapped in storage; it is made whole, so that members share none.
        """
        states = {name: vmap(self.rule.init_state)(value) for name, value in parameters.items()}
        rule = self.rule.gradient_rule
        if rule is not None:
            mapped = vmap(lambda values: rule.init_states(values, self.layers))
            for name, own in mapped(parameters).items():
                states[name] |= own
        return {
            name: {key: value.contiguous().clone() for key, value in state.items()}
            for name, state in states.items()
        }

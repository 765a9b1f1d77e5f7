"""What the members of a population share, and the step that is mapped over them.

Shapes: K members, B examples per step.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional

from fullscale.data.image_arrays import ImageArrays
from fullscale.models import build_network, count_parameters
from fullscale.optimizers.registry import tensor_traits
from fullscale.optimizers.update_rule import State, UpdateRule
from models_of_scaling.errors import InputError

# The training loss is measured on the whole training set, or its first 2,048 examples if larger.
MAX_TRAIN_LOSS_EXAMPLES = 2_048

Stacked = dict[str, Tensor]
StackedStates = dict[str, State]
Step = Callable[[Stacked, StackedStates, Stacked, Tensor, Tensor], tuple[Stacked, StackedStates]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """What all members share: data, network, update rule, batch size and precision."""

    data: ImageArrays
    model: str
    rule: UpdateRule
    batch_size: int
    dtype: torch.dtype = torch.float32
    make_network: Callable[[int], nn.Module] | None = None  # from a seed, instead of by name

    def network(self, seed: int) -> nn.Module:
        """Return a freshly initialised network.

        Raises:
            InputError: where it has buffers (batch norm): these are not stacked yet.
        """
        if self.make_network is not None:
            network = self.make_network(seed)
        else:
            network = build_network(
                self.model,
                image_shape=self.data.image_shape,
                num_classes=self.data.num_classes,
                seed=seed,
            )
        if any(True for _ in network.buffers()):
            raise InputError(f"model {self.model!r} has buffers, which populations do not train")
        return network.to(self.dtype)

    @functools.cached_property
    def template(self) -> nn.Module:
        """The network whose structure every member has."""
        return self.network(0)

    def __post_init__(self) -> None:
        """Build the template now: a trace, where it would else be built, may draw no numbers."""
        _ = self.template

    @functools.cached_property
    def num_parameters(self) -> int:
        """Trainable parameters of one member."""
        return count_parameters(self.template)

    @functools.cached_property
    def images(self) -> Tensor:
        """Training images, shape (num_train_examples, channels, height, width)."""
        return torch.from_numpy(self.data.train_images).to(self.dtype)

    @functools.cached_property
    def one_hot(self) -> Tensor:
        """Training labels, shape (num_train_examples, num_classes).

        Cross entropy from one-hot labels takes a fifth fewer operations than from indices.
        """
        labels = torch.from_numpy(self.data.train_labels)
        return functional.one_hot(labels, self.data.num_classes).to(self.dtype)

    @functools.cached_property
    def evaluation(self) -> tuple[Tensor, Tensor, int]:
        """Images and labels of the evaluation, training part first, and that part's size."""
        part = slice(MAX_TRAIN_LOSS_EXAMPLES)
        images = np.concatenate([self.data.train_images[part], self.data.validation_images])
        labels = np.concatenate([self.data.train_labels[part], self.data.validation_labels])
        size = len(self.data.train_labels[part])
        return torch.from_numpy(images).to(self.dtype), torch.from_numpy(labels), size

    def member_step(
        self,
        parameters: Stacked,
        states: StackedStates,
        numbers: Stacked,
        images: Tensor,
        one_hot: Tensor,
    ) -> tuple[Stacked, StackedStates]:
        """Take one optimizer step of one member; to be mapped over members.

        Args:
            parameters: by name, unstacked.
            states: by parameter name, the rule's state.
            numbers: 0-d tensors.
            images: shape (B, channels, height, width).
            one_hot: shape (B, num_classes).

        Returns:
            The new parameters and states.
        """

        def loss(parameters: Stacked) -> Tensor:
            logits = functional_call(self.template, parameters, (images,))
            # Classes first: over a short last axis torch's CPU log_softmax is ten times slower.
            log_probability = functional.log_softmax(logits.T, dim=0)
            return -(log_probability * one_hot.T).sum() / self.batch_size

        gradients = grad(loss)(parameters)
        updated = {
            name: self.rule.update(
                parameter, gradients[name], states[name], numbers, tensor_traits(parameter)
            )
            for name, parameter in parameters.items()
        }
        return (
            {name: pair[0] for name, pair in updated.items()},
            {name: pair[1] for name, pair in updated.items()},
        )

    @functools.cached_property
    def _traced(self) -> dict[int, Step]:
        return {}

    def population_step(
        self,
        parameters: Stacked,
        states: StackedStates,
        numbers: Stacked,
        images: Tensor,
        one_hot: Tensor,
    ) -> tuple[Stacked, StackedStates]:
        """Take one step of K members; the arguments are `member_step`'s, stacked.

        The mapped step is traced once per K into a flat list of tensor operations, which costs
        0.1 s and takes half the time of `vmap` itself, whose bookkeeping dominates small networks.

        Returns:
            The new stacked parameters and states.
        """
        size = len(images)
        if size not in self._traced:

            def mapped(
                parameters: Stacked,
                states: StackedStates,
                numbers: Stacked,
                images: Tensor,
                one_hot: Tensor,
            ) -> tuple[Stacked, StackedStates]:
                step: Step = vmap(self.member_step)
                return step(parameters, states, numbers, images, one_hot)

            self._traced[size] = make_fx(mapped)(parameters, states, numbers, images, one_hot)
        return self._traced[size](parameters, states, numbers, images, one_hot)

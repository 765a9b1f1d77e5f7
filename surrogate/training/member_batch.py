"""One member's examples of a step, as gradient rules ask them; to be mapped over members.

The counterpart of `fullscale.optimizers.network_batch` for a network that is a function of its
parameters: gradients elsewhere are the gradient function at another point, and the gradients by the
layers' outputs, of which Kronecker factors are made, are those by zeros added to the outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.func import grad, vjp, vmap

from fullscale.optimizers.gradient_rule import Tensors
from fullscale.optimizers.layers import (
    Factors,
    Layer,
    LayerWatch,
    drawn_labels,
    score_gradients,
    uniform_draws,
)
from surrogate.training.stacked_network import Stacked

if TYPE_CHECKING:
    from collections.abc import Callable

    from surrogate.training.task import Task

# For AdaScale's variance: its estimate is as good as of so many gradients.
MOST_PARTS = 8


class MemberBatch:
    """What a member's step is taken of: its weights, buffers and examples."""

    def __init__(
        self,
        task: Task,
        parameters: Stacked,
        buffers: Stacked,
        *,
        examples: tuple[Tensor, Tensor],
        steps: Tensor | None = None,
    ) -> None:
        """Evaluate the gradient at the member's weights, and the factors where they are asked.

        Args:
            task: what members share.
            parameters: of one member.
            buffers: likewise; left as they are.
            examples: images, shape (B, channels, height, width), and one-hot labels.
            steps: done before; given, the layers are watched for their factors.
        """
        self._task, self._buffers = task, buffers
        self._parameters, self._examples = parameters, examples
        self._images, self._one_hot = examples
        self.layers: Mapping[str, Layer] = task.layers
        self._factors: Mapping[str, Factors] = {}
        if steps is None:
            self.gradients, self.buffers = grad(self._loss, has_aux=True)(parameters)
        else:
            self.gradients, self.buffers = self._watched(parameters, steps)

    def _loss(self, parameters: Stacked) -> tuple[Tensor, Stacked]:
        return self._loss_of(parameters, self._buffers, self._images, self._one_hot)

    def _loss_of(
        self, parameters: Stacked, buffers: Stacked, images: Tensor, one_hot: Tensor
    ) -> tuple[Tensor, Stacked]:
        logits, after = self._task.stacked_network.train_forward(parameters, buffers, images)
        return self._task.loss_of_scores(logits, one_hot) / self._task.batch_size, after

    def _watched(self, parameters: Stacked, steps: Tensor) -> tuple[Stacked, Stacked]:
        """Return gradients and buffers, and keep the factors: two backwards of one forward."""
        network = self._task.stacked_network
        watch, size = LayerWatch(), len(self._images)
        probes = {
            name: self._images.new_zeros((size, *shape))
            for name, shape in self._task.output_shapes.items()
        }

        def forward(parameters: Stacked, probes: Stacked) -> tuple[Tensor, tuple[Stacked, Stacked]]:
            with watch.watching(network.training_form, self.layers, probes):
                logits, after = network.train_forward(parameters, self._buffers, self._images)
            return logits, (after, dict(watch.inputs))

        pulled: Any = vjp(forward, parameters, probes, has_aux=True)
        logits: Tensor = pulled[0]
        pull: Callable[[Tensor], tuple[Stacked, Stacked]] = pulled[1]
        after, inputs = pulled[2]
        by_scores = grad(self._task.loss_of_scores)(logits, self._one_hot)
        gradients, _ = pull(by_scores / size)
        rule = self._task.rule.gradient_rule
        assert rule is not None
        # Factors are of the likelihood of labels, whatever the loss adds to it.
        labels = self._one_hot
        if rule.sampled_labels:
            places = torch.arange(size, device=logits.device)
            labels = drawn_labels(logits, uniform_draws(places, steps))
        _, by_outputs = pull(score_gradients(logits, labels) / size)
        ones = logits.new_ones(size)
        self._factors = {}
        for name, layer in self.layers.items():
            sums = layer.factor_sums(inputs[name], size * by_outputs[name], ones)
            self._factors[name] = Factors(inputs=sums.inputs / size, outputs=sums.outputs / size)
        return gradients, after

    def factors(self, steps: Tensor | None) -> Mapping[str, Factors]:
        """Return the Kronecker factors at the member's weights.

        Args:
            steps: not needed: given at the start.
        """
        return self._factors

    def gradients_at(self, parameters: Tensors) -> Tensors:
        """Return the gradients at other weights; batch norm's averages stay.

        Args:
            parameters: by name.
        """
        gradients: Tensors = grad(self._loss, has_aux=True)(parameters)[0]
        return gradients

    def hessian_product(self, direction: Tensors) -> Tensors:
        """Return the product of the loss's Hessian at the member's weights with a vector.

        Args:
            direction: by name.
        """
        # Backwards twice: forward mode would need every layer's own rule, and ours have none.
        product: Tensors = vjp(self.gradients_at, self._parameters)[1](direction)[0]
        return product

    def part_square_norms(self) -> tuple[Tensor, int]:
        """Return the mean squared norm of the gradients of equal parts, and how many they are.

        As many as divide the batch, at most `MOST_PARTS`; batch norm takes each part's statistics.
        """
        size = len(self._images)
        parts = max(count for count in range(1, MOST_PARTS + 1) if size % count == 0)

        def square_norm(buffers: Stacked, images: Tensor, one_hot: Tensor) -> Tensor:
            # The loss divides by the whole batch.
            loss = grad(self._loss_of, has_aux=True)
            found = loss(self._parameters, buffers, images, one_hot)[0]
            return sum(((parts * each).square().sum() for each in found.values()), start=zero)

        zero = self._images.new_zeros(())
        cut = [each.reshape(parts, size // parts, *each.shape[1:]) for each in self._examples]
        # Layers write buffers in place: each part has its own.
        own = {name: value.expand(parts, *value.shape) for name, value in self._buffers.items()}
        norms: Tensor = vmap(square_norm)(own, *cut)
        return norms.mean(), parts

"""What a gradient rule is: how the gradient that an update rule takes is made of a step's batch.

An update rule sees one tensor and its gradient. Some methods need more first: the gradient at
another point (SAM), the curvature layer by layer (K-FAC), its products with vectors (saddle-free
Newton), the gradients of parts of the batch (AdaScale). A gradient rule is a pure function of all
tensors and of a `StepBatch`, which can be asked for that. One definition serves `RuleOptimizer`,
whose batch is a network and its process group, and a population, whose batch is one member's and is
mapped over members: so here too only tensor arithmetic.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from torch import Tensor

from fullscale.optimizers.layers import Factors, Layer
from fullscale.optimizers.rule_types import Number, Numbers, State, TensorTraits

Tensors = dict[str, Tensor]
# What a rule asks a batch for; who makes batches must know it before the first forward.
Need = Literal["gradients elsewhere", "factors", "hessian products", "parts"]


class StepBatch(Protocol):
    """What the examples of one optimizer step can be asked; every answer is over all of them."""

    @property
    def layers(self) -> Mapping[str, Layer]:
        """The layers whose Kronecker factors are known, by the name of their weight."""

    def gradients_at(self, parameters: Tensors) -> Tensors:
        """Return the gradients of the loss at other weights.

        Args:
            parameters: all of them, by name.
        """

    def factors(self, steps: Tensor | None) -> Mapping[str, Factors]:
        """Return the Kronecker factors of this batch at the weights of the step.

        Args:
            steps: done before, for draws of labels; None where the batch knows.
        """

    def hessian_product(self, direction: Tensors) -> Tensors:
        """Return the product of the loss's Hessian, at the weights of the step, with a vector.

        Args:
            direction: by name, a tensor for each parameter.
        """

    def part_square_norms(self) -> tuple[Tensor, int]:
        """Return the mean squared norm of the mean gradients of parts of the batch.

        Returns:
            The mean, each part weighted by its examples; the number of parts.
        """


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a gradient rule works with.

    Attributes:
        parameters: by name.
        gradients: of the loss, there.
        states: of each parameter; the rule's own entries and the update rule's.
        numbers: of the whole method.
        traits: of each parameter.
        batch: the step's examples.
    """

    parameters: Tensors
    gradients: Tensors
    states: Mapping[str, State]
    numbers: Numbers
    traits: Mapping[str, TensorTraits]
    batch: StepBatch


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a gradient rule returns.

    Attributes:
        gradients: for the update rule, by name.
        states: the rule's own entries after the step, by parameter; whole.
        rate_factor: by which the learning rate is multiplied in this step.
    """

    gradients: Tensors
    states: Mapping[str, State] = field(default_factory=dict)
    rate_factor: Number = 1.0


def _no_states(parameters: Tensors, layers: Mapping[str, Layer]) -> dict[str, State]:
    return {}


def _always(phase: str | None) -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class GradientRule:
    """How a method makes its gradient.

    Attributes:
        needs: what it asks of a batch.
        make: the step -> the gradients and the rule's states after it.
        init_states: (parameters, layers with factors) -> the rule's own entries in the states of
            some parameters, before the first step. What belongs to the whole network is kept with
            its first parameter.
        sampled_labels: Kronecker factors are taken with labels drawn from the network's own
            distribution, else with those of the data.
        is_due: the step's phase (`TensorTraits.phase`) -> whether the batch will be asked; where
            not, a trainer gathers nothing for it.
    """

    needs: Sequence[Need]
    make: Callable[[Step], Made]
    init_states: Callable[[Tensors, Mapping[str, Layer]], dict[str, State]] = _no_states
    sampled_labels: bool = False
    is_due: Callable[[str | None], bool] = _always

"""What an update rule is: a pure function of one tensor, its gradient, its state and numbers.

One definition serves every user. `RuleOptimizer` applies it for a trainer, also to tensors that
FSDP2 has cut (DTensors); `surrogate.population` maps it over stacked members with
`torch.func.vmap`, where each number may differ from member to member. So a rule uses tensor
arithmetic only: no `if` on a tensor's value, no in-place change, norms by
`torch.linalg.vector_norm`. A Python `if` on a shape or a trait is fine.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from fullscale.optimizers.gradient_rule import GradientRule
from fullscale.optimizers.rule_types import Number as Number
from fullscale.optimizers.rule_types import Numbers as Numbers
from fullscale.optimizers.rule_types import State as State
from fullscale.optimizers.rule_types import TensorTraits as TensorTraits
from models_of_scaling.errors import InputError

# Shares of the past that is kept: below 1, and searched by the logarithm of 1 - value.
SHARES = frozenset({"momentum", "beta1", "beta2", "average_decay", "factor_decay"})
# Counts of steps: with another number what is due then would never be due.
_COUNTS = frozenset({"lookahead_steps", "average_start_steps", "average_period_steps"})


@dataclass(frozen=True, kw_only=True)
class InPlace:
    """A tensor that a fused step changes, with its state."""

    parameter: Tensor
    gradient: Tensor
    state: State
    traits: TensorTraits


@dataclass(frozen=True, kw_only=True)
class UpdateRule:
    """An optimization method.

    Attributes:
        name: by which recipes and sweeps call it.
        defaults: every number it takes besides `learning_rate`, with its default.
        init_state: parameter -> state: tensors of any shape by name, for example a 0-d count of
            steps, on the parameter's device. The parameter is one network's; a population maps
            `init_state` over its members.
        update: (parameter, gradient, state, numbers, traits) -> (new parameter, new state).
            `numbers` has `learning_rate` and every key of `defaults`: floats, or 0-d tensors.
        needs_whole_tensor: it looks at rows, columns or a matrix, so a tensor that is cut over
            devices is gathered for it, and its state is whole on each.
        evaluation_parameter: (parameter, state) -> the weight to evaluate with, where that is not
            the one that is trained (averages of weights); None where it is.
        fused: the same step in place, for speed; equal to `update` by test. For `RuleOptimizer`.
        phase: (steps done before, numbers) -> what work is due in this step, in a word of the
            rule's own, for `TensorTraits.phase`; None where every step does the same.
        gradient_rule: how the gradient that `update` takes is made of a step's batch; None: it is
            the loss's own.
    """

    name: str
    defaults: Mapping[str, float] = field(default_factory=dict)
    init_state: Callable[[Tensor], State]
    update: Callable[[Tensor, Tensor, State, Numbers, TensorTraits], tuple[Tensor, State]]
    needs_whole_tensor: bool = False
    evaluation_parameter: Callable[[Tensor, State], Tensor] | None = None
    fused: Callable[[Sequence[InPlace], Numbers], None] | None = None
    phase: Callable[[int, Mapping[str, float]], str] | None = None
    gradient_rule: GradientRule | None = None

    def numbers(self, **given: Number) -> dict[str, Number]:
        """Return the given numbers completed by the defaults.

        Raises:
            ValueError: where a number is unknown to the rule, or the learning rate is missing.
        """
        unknown = sorted(set(given) - set(self.defaults) - {"learning_rate"})
        if unknown or "learning_rate" not in given:
            raise ValueError(
                f"{self.name} takes {', '.join(['learning_rate', *self.defaults])}; "
                + (f"not {', '.join(unknown)}" if unknown else "learning_rate is missing")
            )
        return {**self.defaults, **given}


def check_number(name: str, value: float) -> None:
    """Refuse a number that no rule can take.

    Args:
        name: of the number, its last word; before it what the message shall begin with.
        value: given.

    Raises:
        InputError: where it is negative or not finite, a share is not below 1, a period in steps
            is not a whole number from 1 on, or AdaScale's scale is below 1.
    """
    word = name.split()[-1]
    if word in SHARES and not 0 <= value < 1:
        raise InputError(f"{name} {value:g} must be at least 0 and below 1")
    counts = word in _COUNTS or word.endswith("_every")
    if counts and not (value >= 1 and float(value).is_integer()):
        raise InputError(f"{name} {value:g} must be a whole number of steps, at least 1")
    if word == "adascale_scale" and not value >= 1:
        raise InputError(f"{name} {value:g} must be at least 1: the batch over the smaller one")
    if not 0 <= value < math.inf:
        raise InputError(f"{name} {value:g} must be finite and not negative")


def decay_of(numbers: Numbers, traits: TensorTraits) -> Number:
    """Return the weight decay that applies to a tensor.

    Args:
        numbers: of the rule.
        traits: of the tensor.
    """
    return numbers["weight_decay"] if traits.decayed else 0.0


def with_decay(
    gradient: Tensor, parameter: Tensor, numbers: Numbers, traits: TensorTraits
) -> Tensor:
    """Return g + wd w where the tensor is decayed (L2), else g.

    Args:
        gradient: g.
        parameter: w.
        numbers: of the rule.
        traits: of the tensor.
    """
    return gradient + numbers["weight_decay"] * parameter if traits.decayed else gradient

"""What an update rule is: a pure function of one tensor, its gradient, its state and numbers.

One definition serves every user. `RuleOptimizer` applies it in place for a trainer;
`surrogate.population` maps it over stacked members with `torch.func.vmap`, where each number may
differ from member to member. So a rule uses tensor arithmetic only: no `if` on a tensor's value, no
in-place change, norms by `torch.linalg.vector_norm`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

Numbers = Mapping[str, float | Tensor]
State = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class TensorTraits:
    """What applies to one parameter tensor.

    Attributes:
        decayed: it gets weight decay.
        adapted: it gets a layer-wise trust ratio, under rules that have one.
    """

    decayed: bool = True
    adapted: bool = True


@dataclass(frozen=True, kw_only=True)
class UpdateRule:
    """An optimization method.

    Attributes:
        name: by which recipes and sweeps call it.
        defaults: every number it takes besides `learning_rate`, with its default.
        init_state: parameter -> state, one tensor per name; all zeros or ones like the parameter.
        update: (parameter, gradient, state, numbers, traits) -> (new parameter, new state).
            `numbers` has `learning_rate` and every key of `defaults`: floats, or 0-d tensors.
    """

    name: str
    defaults: Mapping[str, float] = field(default_factory=dict)
    init_state: Callable[[Tensor], State]
    update: Callable[[Tensor, Tensor, State, Numbers, TensorTraits], tuple[Tensor, State]]

    def numbers(self, **given: float | Tensor) -> dict[str, float | Tensor]:
        """Return the given numbers completed by the defaults.

        Raises:
            ValueError: where a number is unknown to the rule, or the learning rate is missing.
        """
        unknown = sorted(set(given) - set(self.defaults) - {"learning_rate"})
        if unknown or "learning_rate" not in given:
            raise ValueError(
                f"{self.name} takes learning_rate, {', '.join(self.defaults)}; "
                + (f"not {', '.join(unknown)}" if unknown else "learning_rate is missing")
            )
        return {**self.defaults, **given}

"""The words of rules: numbers, states, and what applies to a tensor."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

Number = float | Tensor
Numbers = Mapping[str, Number]
State = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class TensorTraits:
    """What applies to one parameter tensor.

    Attributes:
        decayed: it gets weight decay.
        adapted: it gets a layer-wise trust ratio, or a matrix method's update, under rules that
            have one.
        phase: what a rule with work that is not done in every step does in this one, where the
            caller counts steps (`UpdateRule.phase`); None: the rule computes all its work and
            chooses by the count in its state, as it must where members differ.
    """

    decayed: bool = True
    adapted: bool = True
    phase: str | None = None

"""A running average of the weights, with which any rule's run is evaluated.

Source: Polyak & Juditsky 1992, the averaging of iterates, with exponential weights as in Kingma &
Ba 2015, section 7.2:

    a <- d a + (1 - d) w, after every step; a starts at the first weights

Differs from the source: no correction for the start. Batch-norm statistics are those of the weights
that are trained, as everywhere in this trainer.
"""

from dataclasses import replace

from torch import Tensor

from fullscale.optimizers.moments import average
from fullscale.optimizers.update_rule import Numbers, State, TensorTraits, UpdateRule

_AVERAGE = "average_of_weights"


def weight_average(inner: UpdateRule) -> UpdateRule:
    """Return a rule that also keeps the average of its weights.

    Args:
        inner: of the weights.
    """

    def init_state(parameter: Tensor) -> State:
        return {**inner.init_state(parameter), _AVERAGE: parameter}

    def update(
        parameter: Tensor, gradient: Tensor, state: State, numbers: Numbers, traits: TensorTraits
    ) -> tuple[Tensor, State]:
        new, inner_state = inner.update(parameter, gradient, state, numbers, traits)
        mean = average(state[_AVERAGE], new, numbers["average_decay"])
        return new, {**inner_state, _AVERAGE: mean}

    return replace(
        inner,
        name=f"ema:{inner.name}",
        defaults={**inner.defaults, "average_decay": 0.999},
        init_state=init_state,
        update=update,
        fused=None,
        evaluation_parameter=lambda _, state: state[_AVERAGE],
    )

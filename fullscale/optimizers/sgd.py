"""Plain stochastic gradient descent.

Source: Robbins & Monro 1951, eq. (7), with an estimated gradient, as every later paper has it:

    w <- w - lr (g + wd w)

Differs from the source: weight decay (L2, in the gradient), which is 0 unless asked for.
"""

from torch import Tensor

from fullscale.optimizers.update_rule import Numbers, State, TensorTraits, UpdateRule, with_decay


def _init_state(parameter: Tensor) -> State:
    return {}


def _update(
    parameter: Tensor, gradient: Tensor, state: State, numbers: Numbers, traits: TensorTraits
) -> tuple[Tensor, State]:
    direction = with_decay(gradient, parameter, numbers, traits)
    return parameter - numbers["learning_rate"] * direction, {}


SGD = UpdateRule(name="sgd", defaults={"weight_decay": 0.0}, init_state=_init_state, update=_update)

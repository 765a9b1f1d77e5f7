"""Yogi: Adam whose second moment moves by steps of the squared gradient's size.

Source: Zaheer, Reddi, Sachan, Kale & Kumar 2018 (NeurIPS), Algorithm 2:

    m <- beta1 m + (1 - beta1) g;    v <- v - (1 - beta2) sign(v - g^2) g^2
    w <- w - lr m / (sqrt(v) + epsilon)

Differs from the source: weight decay is added to the gradient (L2). Both moments start at 0; the
libraries start them at 1e-6 and correct them as Adam does, which Algorithm 2 does not.
"""

import torch
from torch import Tensor

from fullscale.optimizers.moments import average
from fullscale.optimizers.update_rule import Numbers, State, TensorTraits, UpdateRule, with_decay


def _init_state(parameter: Tensor) -> State:
    return {
        "first_moment": torch.zeros_like(parameter),
        "second_moment": torch.zeros_like(parameter),
    }


def _update(
    parameter: Tensor, gradient: Tensor, state: State, numbers: Numbers, traits: TensorTraits
) -> tuple[Tensor, State]:
    gradient = with_decay(gradient, parameter, numbers, traits)
    square, old = gradient * gradient, state["second_moment"]
    first = average(state["first_moment"], gradient, numbers["beta1"])
    second = old - (1 - numbers["beta2"]) * torch.sign(old - square) * square
    step = numbers["learning_rate"] * first / (second.sqrt() + numbers["epsilon"])
    return parameter - step, {"first_moment": first, "second_moment": second}


YOGI = UpdateRule(
    name="yogi",
    # epsilon 1e-3 is the paper's recommendation (section 5).
    defaults={"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-3, "weight_decay": 0.0},
    init_state=_init_state,
    update=_update,
)

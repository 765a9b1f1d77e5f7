"""AdaGrad: a rate per weight that falls with the gradients seen.

Source: Duchi, Hazan & Singer 2011 (JMLR 12), Figure 1, diagonal, composite mirror descent without a
constraint:

    s <- s + g^2;    w <- w - lr g / (sqrt(s) + epsilon)

Differs from the source: weight decay is added to the gradient (L2); the paper's delta, here
epsilon, is 1e-10 unless given.
"""

import torch
from torch import Tensor

from fullscale.optimizers.update_rule import Numbers, State, TensorTraits, UpdateRule, with_decay


def _init_state(parameter: Tensor) -> State:
    return {"square_sum": torch.zeros_like(parameter)}


def _update(
    parameter: Tensor, gradient: Tensor, state: State, numbers: Numbers, traits: TensorTraits
) -> tuple[Tensor, State]:
    gradient = with_decay(gradient, parameter, numbers, traits)
    square_sum = state["square_sum"] + gradient * gradient
    step = numbers["learning_rate"] * gradient / (square_sum.sqrt() + numbers["epsilon"])
    return parameter - step, {"square_sum": square_sum}


ADAGRAD = UpdateRule(
    name="adagrad",
    defaults={"epsilon": 1e-10, "weight_decay": 0.0},
    init_state=_init_state,
    update=_update,
)

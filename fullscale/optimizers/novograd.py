"""NovoGrad: the gradient over its layer's norm, then momentum.

Source: Ginsburg, Castonguay, Hrinchuk, Kuchaiev, Lavrukhin, Leary, Li, Nguyen, Zhang & Cohen 2019,
arXiv:1905.11286, Algorithm 1. Per layer, v a single number:

    v <- |g|^2 at the first step, beta2 v + (1 - beta2) |g|^2 after it
    m <- beta1 m + (g / (sqrt(v) + epsilon) + wd w);    w <- w - lr m

Differs from the source: epsilon also in the first step, so that a gradient of zero is no 0/0.
Tensors without the trait `adapted` are layers like any other: the paper makes no exception.
"""

import torch
from torch import Tensor
from torch.linalg import vector_norm

from fullscale.optimizers.moments import average, no_steps
from fullscale.optimizers.update_rule import Numbers, State, TensorTraits, UpdateRule, decay_of


def _init_state(parameter: Tensor) -> State:
    return {
        "first_moment": torch.zeros_like(parameter),
        "square_norm": no_steps(parameter),
        "steps": no_steps(parameter),
    }


def _update(
    parameter: Tensor, gradient: Tensor, state: State, numbers: Numbers, traits: TensorTraits
) -> tuple[Tensor, State]:
    now = vector_norm(gradient).square()
    later = average(state["square_norm"], now, numbers["beta2"])
    square_norm = torch.where(state["steps"] == 0, now, later)
    direction = gradient / (square_norm.sqrt() + numbers["epsilon"])
    direction = direction + decay_of(numbers, traits) * parameter
    first = numbers["beta1"] * state["first_moment"] + direction
    return parameter - numbers["learning_rate"] * first, {
        "first_moment": first,
        "square_norm": square_norm,
        "steps": state["steps"] + 1,
    }


NOVOGRAD = UpdateRule(
    name="novograd",
    defaults={"beta1": 0.95, "beta2": 0.98, "epsilon": 1e-8, "weight_decay": 0.0},
    init_state=_init_state,
    update=_update,
)

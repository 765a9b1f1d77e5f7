"""Lion: the sign of a blend of momentum and gradient.

Source: Chen, Liang, Huang, Real, Wang, Liu, Pham, Dong, Luong, Hsieh, Lu & Le 2023,
arXiv:2302.06675, Algorithm 2:

    w <- w - lr (sign(beta1 m + (1 - beta1) g) + wd w);    m <- beta2 m + (1 - beta2) g

Differs from the source: nothing.
"""

import torch
from torch import Tensor

from fullscale.optimizers.moments import average
from fullscale.optimizers.update_rule import Numbers, State, TensorTraits, UpdateRule, decay_of


def _init_state(parameter: Tensor) -> State:
    return {"first_moment": torch.zeros_like(parameter)}


def _update(
    parameter: Tensor, gradient: Tensor, state: State, numbers: Numbers, traits: TensorTraits
) -> tuple[Tensor, State]:
    blend = average(state["first_moment"], gradient, numbers["beta1"])
    # torch's sign of what is no number is 0: a tensor that diverged would stand still, unseen.
    sign = torch.where(torch.isnan(blend), blend, torch.sign(blend))
    direction = sign + decay_of(numbers, traits) * parameter
    first = average(state["first_moment"], gradient, numbers["beta2"])
    return parameter - numbers["learning_rate"] * direction, {"first_moment": first}


LION = UpdateRule(
    name="lion",
    defaults={"beta1": 0.9, "beta2": 0.99, "weight_decay": 0.0},
    init_state=_init_state,
    update=_update,
)

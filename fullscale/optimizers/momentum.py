"""SGD with heavy-ball momentum; momentum 0 is plain SGD.

Source: Polyak 1964; Rumelhart, Hinton & Williams 1986, eq. (9); as in Goyal et al. 2017,
arXiv:1706.02677, eq. (9), the learning rate stands outside the velocity:

    v <- m v + (g + wd w);    w <- w - lr v

Differs from the source: Rumelhart's eq. (9) has the learning rate inside the velocity, which is the
same only while it is constant; weight decay is added to the gradient (L2), as torch.optim.SGD does.
"""

import torch
from torch import Tensor

from fullscale.optimizers.fused_step import fused_momentum
from fullscale.optimizers.update_rule import Numbers, State, TensorTraits, UpdateRule, with_decay


def _init_state(parameter: Tensor) -> State:
    return {"velocity": torch.zeros_like(parameter)}


def _update(
    parameter: Tensor, gradient: Tensor, state: State, numbers: Numbers, traits: TensorTraits
) -> tuple[Tensor, State]:
    direction = with_decay(gradient, parameter, numbers, traits)
    velocity = numbers["momentum"] * state["velocity"] + direction
    return parameter - numbers["learning_rate"] * velocity, {"velocity": velocity}


MOMENTUM = UpdateRule(
    name="momentum",
    defaults={"momentum": 0.9, "weight_decay": 0.0},
    init_state=_init_state,
    update=_update,
    fused=fused_momentum,
)

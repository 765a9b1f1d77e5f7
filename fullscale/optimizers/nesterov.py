"""Nesterov's accelerated gradient, as a momentum method.

Source: Sutskever, Martens, Dahl & Hinton 2013, eqs. (3)-(4), written for the weights at which the
gradient is taken (Bengio, Boulanger-Lewandowski & Pascanu 2012, arXiv:1212.0901, eqs. (6)-(7)):

    v <- m v + (g + wd w);    w <- w - lr ((g + wd w) + m v)

Differs from the source: the learning rate stands outside the velocity, as in Goyal et al. 2017, eq.
(9), which is the same only while it is constant; weight decay is added to the gradient (L2).
"""

import torch
from torch import Tensor

from fullscale.optimizers.update_rule import Numbers, State, TensorTraits, UpdateRule, with_decay


def _init_state(parameter: Tensor) -> State:
    return {"velocity": torch.zeros_like(parameter)}


def _update(
    parameter: Tensor, gradient: Tensor, state: State, numbers: Numbers, traits: TensorTraits
) -> tuple[Tensor, State]:
    gradient = with_decay(gradient, parameter, numbers, traits)
    velocity = numbers["momentum"] * state["velocity"] + gradient
    direction = gradient + numbers["momentum"] * velocity
    return parameter - numbers["learning_rate"] * direction, {"velocity": velocity}


NESTEROV = UpdateRule(
    name="nesterov",
    defaults={"momentum": 0.9, "weight_decay": 0.0},
    init_state=_init_state,
    update=_update,
)

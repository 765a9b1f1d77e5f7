"""RMSprop: the gradient over the root of its running mean square.

Source: Tieleman & Hinton 2012, Coursera "Neural Networks for Machine Learning", lecture 6e, slide
29 (share 0.9 of the past):

    s <- beta2 s + (1 - beta2) g^2;    v <- m v + g / (sqrt(s) + epsilon);    w <- w - lr v

Differs from the source: epsilon, which the slide does not have; momentum (0 unless given), in the
place where torch.optim.RMSprop has it; weight decay is added to the gradient (L2).
"""

import torch
from torch import Tensor

from fullscale.optimizers.moments import average
from fullscale.optimizers.update_rule import Numbers, State, TensorTraits, UpdateRule, with_decay


def _init_state(parameter: Tensor) -> State:
    return {"mean_square": torch.zeros_like(parameter), "velocity": torch.zeros_like(parameter)}


def _update(
    parameter: Tensor, gradient: Tensor, state: State, numbers: Numbers, traits: TensorTraits
) -> tuple[Tensor, State]:
    gradient = with_decay(gradient, parameter, numbers, traits)
    mean_square = average(state["mean_square"], gradient * gradient, numbers["beta2"])
    scaled = gradient / (mean_square.sqrt() + numbers["epsilon"])
    velocity = numbers["momentum"] * state["velocity"] + scaled
    new = parameter - numbers["learning_rate"] * velocity
    return new, {"mean_square": mean_square, "velocity": velocity}


RMSPROP = UpdateRule(
    name="rmsprop",
    defaults={"beta2": 0.9, "momentum": 0.0, "epsilon": 1e-8, "weight_decay": 0.0},
    init_state=_init_state,
    update=_update,
)

"""Adam, and AdamW: Adam with decoupled weight decay.

Source: Kingma & Ba 2015, arXiv:1412.6980, Algorithm 1; Loshchilov & Hutter 2019, arXiv:1711.05101,
Algorithm 2. With t the number of this step:

    m <- beta1 m + (1 - beta1) g;    v <- beta2 v + (1 - beta2) g^2
    u = m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon)
    w <- w - lr u                    (adam; its weight decay stands in the gradient: g + wd w)
    w <- w - lr (u + wd w)           (adamw)

Differs from the source: adam's weight decay, which Algorithm 1 does not have, is L2. adamw's decay
is multiplied by the whole learning rate, where Algorithm 2 multiplies it by the schedule's factor
only: its lambda is this weight decay times the peak learning rate.
"""

import torch
from torch import Tensor

from fullscale.optimizers.moments import average, correction, no_steps
from fullscale.optimizers.update_rule import (
    Numbers,
    State,
    TensorTraits,
    UpdateRule,
    decay_of,
    with_decay,
)


def init_state(parameter: Tensor) -> State:
    """Return both moments at zero, and the count of steps.

    Args:
        parameter: of one network.
    """
    return {
        "first_moment": torch.zeros_like(parameter),
        "second_moment": torch.zeros_like(parameter),
        "steps": no_steps(parameter),
    }


def adam_direction(gradient: Tensor, state: State, numbers: Numbers) -> tuple[Tensor, State]:
    """Return Adam's u, and the state after it.

    Args:
        gradient: g.
        state: of `init_state`.
        numbers: with beta1, beta2 and epsilon.
    """
    beta1, beta2 = numbers["beta1"], numbers["beta2"]
    first = average(state["first_moment"], gradient, beta1)
    second = average(state["second_moment"], gradient * gradient, beta2)
    steps = state["steps"] + 1
    root = (second / correction(beta2, steps)).sqrt()
    direction = first / correction(beta1, steps) / (root + numbers["epsilon"])
    return direction, {"first_moment": first, "second_moment": second, "steps": steps}


def _adam(
    parameter: Tensor, gradient: Tensor, state: State, numbers: Numbers, traits: TensorTraits
) -> tuple[Tensor, State]:
    gradient = with_decay(gradient, parameter, numbers, traits)
    direction, state = adam_direction(gradient, state, numbers)
    return parameter - numbers["learning_rate"] * direction, state


def _adamw(
    parameter: Tensor, gradient: Tensor, state: State, numbers: Numbers, traits: TensorTraits
) -> tuple[Tensor, State]:
    direction, state = adam_direction(gradient, state, numbers)
    decayed = direction + decay_of(numbers, traits) * parameter
    return parameter - numbers["learning_rate"] * decayed, state


ADAM = UpdateRule(
    name="adam",
    defaults={"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.0},
    init_state=init_state,
    update=_adam,
)
ADAMW = UpdateRule(
    name="adamw",
    defaults={"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.0},
    init_state=init_state,
    update=_adamw,
)

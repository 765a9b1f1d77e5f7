"""AdaBound: Adam whose rates are held between bounds that close in on one rate.

Source: Luo, Xiong, Liu & Sun 2019, arXiv:1902.09843, Algorithm 2. With t the number of this step, m
and v as in Adam, final rate f = 0.1 and gamma = 1 - beta2 (section 4):

    low = f (1 - 1 / (gamma t + 1));    high = f (1 + 1 / (gamma t))
    w <- w - clip(lr / sqrt(v), low, high) / sqrt(t) m

`adabound_authors` is what the authors' program and those after it do instead: the moments'
corrections of Adam, epsilon beside the root, no 1 / sqrt(t), and a final rate that follows the
schedule: f = final_rate_factor lr.

Differs from the source: weight decay is added to the gradient (L2), as in the authors' program;
where v is 0 the quotient is infinite, and the upper bound counts.
"""

import torch
from torch import Tensor

from fullscale.optimizers.adam import init_state
from fullscale.optimizers.moments import average, correction
from fullscale.optimizers.update_rule import (
    Number,
    Numbers,
    State,
    TensorTraits,
    UpdateRule,
    with_decay,
)


def _bounded(rate: Tensor, final: Number, gamma: Number, steps: Tensor) -> Tensor:
    low = final * (1 - 1 / (gamma * steps + 1))
    high = final * (1 + 1 / (gamma * steps))
    return torch.minimum(torch.maximum(rate, low), high)


def _moments(gradient: Tensor, state: State, numbers: Numbers) -> State:
    return {
        "first_moment": average(state["first_moment"], gradient, numbers["beta1"]),
        "second_moment": average(state["second_moment"], gradient * gradient, numbers["beta2"]),
        "steps": state["steps"] + 1,
    }


def _paper(
    parameter: Tensor, gradient: Tensor, state: State, numbers: Numbers, traits: TensorTraits
) -> tuple[Tensor, State]:
    state = _moments(with_decay(gradient, parameter, numbers, traits), state, numbers)
    rate = numbers["learning_rate"] / state["second_moment"].sqrt()
    rate = _bounded(rate, numbers["final_learning_rate"], 1 - numbers["beta2"], state["steps"])
    return parameter - rate / state["steps"].sqrt() * state["first_moment"], state


def _authors(
    parameter: Tensor, gradient: Tensor, state: State, numbers: Numbers, traits: TensorTraits
) -> tuple[Tensor, State]:
    state = _moments(with_decay(gradient, parameter, numbers, traits), state, numbers)
    steps, rate = state["steps"], numbers["learning_rate"]
    size = rate * correction(numbers["beta2"], steps).sqrt() / correction(numbers["beta1"], steps)
    quotient = size / (state["second_moment"].sqrt() + numbers["epsilon"])
    final = numbers["final_rate_factor"] * rate
    return parameter - _bounded(quotient, final, numbers["gamma"], steps) * state[
        "first_moment"
    ], state


ADABOUND = UpdateRule(
    name="adabound",
    defaults={"beta1": 0.9, "beta2": 0.999, "final_learning_rate": 0.1, "weight_decay": 0.0},
    init_state=init_state,
    update=_paper,
)
ADABOUND_AUTHORS = UpdateRule(
    name="adabound_authors",
    # 100 = 0.1 / 0.001, the final rate over the learning rate there.
    defaults={
        "beta1": 0.9,
        "beta2": 0.999,
        "epsilon": 1e-8,
        "final_rate_factor": 100.0,
        "gamma": 0.001,
        "weight_decay": 0.0,
    },
    init_state=init_state,
    update=_authors,
)

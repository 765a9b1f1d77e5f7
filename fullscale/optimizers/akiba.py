"""RMSprop at the start, momentum SGD later, with a smooth transition.

Source: Akiba, Suzuki & Fukuda 2017, arXiv:1711.04325, section 3. With mu1 = momentum, mu2 = beta2:

    s <- mu2 s + (1 - mu2) g^2
    d <- mu1 d - (alpha_sgd + alpha_rms / (sqrt(s) + epsilon)) g;    w <- w + lr d

alpha_rms = (1 - alpha_sgd) rmsprop_rate; alpha_sgd follows an exponential linear unit: with z the
steps since the centre, in periods, it is exp(2 z) / 2 for z < 0, 1/2 + z until z = 1/2, 1 after.

Differs from the source: centre and period are counted in steps, not epochs (theirs: 10 and 5
epochs; a period of 0 steps is a jump); this step's number is that of the steps before it. Weight
decay is added to the gradient (L2).
"""

import torch
from torch import Tensor

from fullscale.optimizers.moments import average, no_steps
from fullscale.optimizers.update_rule import (
    Numbers,
    State,
    TensorTraits,
    UpdateRule,
    with_decay,
)


def _init_state(parameter: Tensor) -> State:
    return {
        "mean_square": torch.zeros_like(parameter),
        "velocity": torch.zeros_like(parameter),
        "steps": no_steps(parameter),
    }


def _share_of_sgd(steps: Tensor, numbers: Numbers) -> Tensor:
    since = steps - numbers["transition_center_steps"]
    period = numbers["transition_period_steps"] + torch.zeros_like(steps)
    jump = torch.where(since < 0, torch.full_like(since, -torch.inf), torch.ones_like(since))
    z = torch.where(period > 0, since / torch.where(period > 0, period, 1 + period), jump)
    early = torch.exp(2 * torch.minimum(z, torch.zeros_like(z))) / 2
    return torch.where(z < 0, early, torch.clamp(0.5 + z, max=1.0))


def _update(
    parameter: Tensor, gradient: Tensor, state: State, numbers: Numbers, traits: TensorTraits
) -> tuple[Tensor, State]:
    gradient = with_decay(gradient, parameter, numbers, traits)
    mean_square = average(state["mean_square"], gradient * gradient, numbers["beta2"])
    sgd = _share_of_sgd(state["steps"], numbers)
    rms = (1 - sgd) * numbers["rmsprop_rate"] / (mean_square.sqrt() + numbers["epsilon"])
    velocity = numbers["momentum"] * state["velocity"] - (sgd + rms) * gradient
    return parameter + numbers["learning_rate"] * velocity, {
        "mean_square": mean_square,
        "velocity": velocity,
        "steps": state["steps"] + 1,
    }


AKIBA = UpdateRule(
    name="rmsprop_to_sgd",
    # The paper's for ImageNet, its 10 and 5 epochs at batch size 32,768: 39 steps an epoch.
    defaults={
        "momentum": 0.9,
        "beta2": 0.99,
        "rmsprop_rate": 3e-4,
        "transition_center_steps": 390.0,
        "transition_period_steps": 195.0,
        "epsilon": 1e-8,
        "weight_decay": 0.0,
    },
    init_state=_init_state,
    update=_update,
)

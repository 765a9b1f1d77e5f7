"""RAdam: Adam that waits with its adaptive rate until the rate's variance is finite.

Source: Liu, Jiang, He, Chen, Liu, Gao & Han 2020, arXiv:1908.03265, Algorithm 2. With t the number
of this step, m and v as in Adam, rho_inf = 2 / (1 - beta2) - 1:

    rho = rho_inf - 2 t beta2^t / (1 - beta2^t)
    where rho > 4:  r = sqrt((rho - 4)(rho - 2) rho_inf / ((rho_inf - 4)(rho_inf - 2) rho))
                    w <- w - lr r m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon)
    elsewhere:      w <- w - lr m / (1 - beta1^t)

Differs from the source: epsilon, which Algorithm 2 does not have; weight decay is decoupled (lr wd
w), as in the authors' code. `rectified_above` is the paper's 4; torch and the authors' code have 5.
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
    decay_of,
)


def _rectification(beta2: Number, steps: Tensor, above: Number) -> tuple[Tensor, Tensor]:
    """Return r, 1 where it is not defined; and whether it is."""
    limit = 2 / (1 - beta2) - 1
    gathered = correction(beta2, steps)
    length = limit - 2 * steps * (1 - gathered) / gathered
    defined = (length > above) & (length > 4)  # below, r is the root of a negative number
    # 5 in the place of what is not defined: the root of a negative number would be carried along.
    safe = torch.where(defined, length, torch.full_like(length, 5.0))
    square = (safe - 4) * (safe - 2) * limit / ((limit - 4) * (limit - 2) * safe)
    return torch.where(defined, square, torch.ones_like(square)).sqrt(), defined


def _update(
    parameter: Tensor, gradient: Tensor, state: State, numbers: Numbers, traits: TensorTraits
) -> tuple[Tensor, State]:
    beta1, beta2 = numbers["beta1"], numbers["beta2"]
    first = average(state["first_moment"], gradient, beta1)
    second = average(state["second_moment"], gradient * gradient, beta2)
    steps = state["steps"] + 1
    factor, defined = _rectification(beta2, steps, numbers["rectified_above"])
    corrected = first / correction(beta1, steps)
    root = (second / correction(beta2, steps)).sqrt() + numbers["epsilon"]
    direction = torch.where(defined, factor * corrected / root, corrected)
    direction = direction + decay_of(numbers, traits) * parameter
    new = parameter - numbers["learning_rate"] * direction
    return new, {"first_moment": first, "second_moment": second, "steps": steps}


RADAM = UpdateRule(
    name="radam",
    defaults={
        "beta1": 0.9,
        "beta2": 0.999,
        "epsilon": 1e-8,
        "rectified_above": 4.0,
        "weight_decay": 0.0,
    },
    init_state=init_state,
    update=_update,
)

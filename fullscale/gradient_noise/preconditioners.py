"""What an optimizer makes of a gradient before it steps: for the noise of that gradient.

The noise scale of P g, with P as the optimizer's state has it before the step: fixed while the
step's gradients are drawn, so that the estimates stay unbiased. Momentum is left out: it averages
over steps and changes no noise scale of a single one.

- adam: P = 1 / (sqrt(v / (1 - beta2^t)) + epsilon), element by element (Kingma & Ba 2015,
  arXiv:1412.6980, Algorithm 1); also RMSprop's, without the correction.
- lars: P = the trust ratio eta |w| / (|g| + wd |w|), one number a tensor (You et al. 2017,
  arXiv:1708.03888); |g| of the step before.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from models_of_scaling.errors import InputError

PRECONDITIONERS = ("none", "adam", "lars")
# The names of the second moment, of the count of steps and of epsilon: torch's, and our rules'.
_SECOND_MOMENTS = ("exp_avg_sq", "second_moment", "square_avg")
_STEPS = ("step", "steps")


def group_of(optimizer: Optimizer) -> dict[Tensor, dict[str, Any]]:
    """Return each parameter's group of numbers."""
    return {p: group for group in optimizer.param_groups for p in group["params"]}


def _first(names: tuple[str, ...], found: Any) -> Any:
    return next((found[name] for name in names if name in found), None)


def adam_direction(
    gradient: Tensor, *, state: Mapping[str, Any], group: Mapping[str, Any]
) -> Tensor | None:
    """Return a gradient over the root of its second moment; None before the first step.

    Args:
        gradient: of a parameter.
        state: of the parameter, in the optimizer.
        group: of the parameter.

    Returns:
        A new tensor.

    Raises:
        InputError: where the optimizer has a state without a second moment.
    """
    if not state:
        return None
    second = _first(_SECOND_MOMENTS, state)
    if second is None:
        raise InputError(
            f"preconditioner 'adam': the optimizer keeps no second moment, only {', '.join(state)}"
        )
    beta2 = group["betas"][1] if "betas" in group else group.get("beta2")
    steps = _first(_STEPS, state)
    epsilon = group.get("eps", group.get("epsilon", 0.0))
    if beta2 is not None and steps is not None:
        second = second / (1 - beta2**steps)
    direction: Tensor = gradient / (second.sqrt() + epsilon)
    return direction


def trust_ratios(norm_w_P: Tensor, norm_g_P: Tensor, *, eta_P: Tensor, decay_P: Tensor) -> Tensor:
    """Return LARS's ratio of each tensor; 1 where eta is NaN (not adapted) or a norm is zero.

    Args:
        norm_w_P: of the weights.
        norm_g_P: of the gradients.
        eta_P: trust coefficients.
        decay_P: weight decays.
    """
    both = (norm_w_P > 0) & (norm_g_P > 0) & ~torch.isnan(eta_P)
    bottom = torch.where(both, norm_g_P + decay_P * norm_w_P, torch.ones_like(norm_g_P))
    return torch.where(both, eta_P * norm_w_P / bottom, torch.ones_like(bottom))


def lars_numbers(optimizer: Optimizer, parameters: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return each tensor's trust coefficient, NaN where it is not adapted, and weight decay.

    Args:
        optimizer: whose groups have `trust_coefficient`; tensors of one axis (biases, scales of
            norm layers) have no ratio.
        parameters: of the optimizer.

    Returns:
        Two vectors.

    Raises:
        InputError: where the groups have no trust coefficient.
    """
    groups, device = group_of(optimizer), parameters[0].device
    if any("trust_coefficient" not in groups[p] for p in parameters):
        raise InputError("preconditioner 'lars': the optimizer's groups have no trust_coefficient")
    eta = [groups[p]["trust_coefficient"] if p.ndim > 1 else float("nan") for p in parameters]
    decay = [groups[p].get("weight_decay", 0.0) if p.ndim > 1 else 0.0 for p in parameters]
    return torch.tensor(eta, device=device), torch.tensor(decay, device=device)

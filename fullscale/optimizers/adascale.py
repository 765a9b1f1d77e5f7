"""AdaScale: a learning rate that grows with the batch by what the gradient's noise allows.

Source: Johnson, Agrawal, Gu & Guestrin 2020, arXiv:2007.05105, section 3 and Algorithm 1. A rate
was tuned for a batch of B / S examples; with B the rule steps at r times that rate. With the
variance sigma^2 of a gradient of B / S examples and the square mu^2 of its mean, both running
averages,

    r = (sigma^2 + mu^2) / (sigma^2 / S + mu^2), between 1 (no noise) and S (noise only)
    tau <- tau + r: the steps of the small batch that were made up for

Estimates come from P parts of the step's batch with mean gradients g_k of b_k examples, whose mean
is g:  v = (sum_k b_k/B |g_k|^2 - |g|^2) / (P - 1) for sigma^2 / S,  mu^2 = |g|^2 - v. With P = S
equal parts these are the source's. A part costs its forward and backward a second time.

Differs from the source: P need not be S, so that it may be what the hardware gives (the estimate's
mean does not depend on it, the estimate does); the averages start at their first values, and each
is taken as 0 where it is negative; the schedule goes by steps, not by tau, which is kept in the
state of the first parameter.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from fullscale.optimizers.gradient_rule import GradientRule, Made, Step, Tensors
from fullscale.optimizers.layers import Layer
from fullscale.optimizers.moments import no_steps
from fullscale.optimizers.update_rule import State, UpdateRule
from fullscale.optimizers.whole_tensors import norm_of_all

# Batches of the small size over which the averages reach back (the source's section 3.2).
_MEMORY = 1_000.0


def _init_states(parameters: Tensors, layers: Mapping[str, Layer]) -> dict[str, State]:
    name, parameter = next(iter(parameters.items()))
    keys = ("adascale_steps", "adascale_variance", "adascale_square", "adascale_time")
    return {name: {key: no_steps(parameter) for key in keys}}


def gain(variance: Tensor, square: Tensor, scale: Tensor) -> Tensor:
    """Return r.

    Args:
        variance: of the gradient of the whole batch, sigma^2 / S; not negative.
        square: mu^2; not negative.
        scale: S.
    """
    total = variance + square
    known = total > 0
    grown = (scale * variance + square) / torch.where(known, total, torch.ones_like(total))
    return torch.where(known, grown, torch.ones_like(grown))


def _make(step: Step) -> Made:
    name = next(iter(step.parameters))
    state = step.states[name]
    mean_square, parts = step.batch.part_square_norms()
    if parts < 2:
        return Made(gradients=step.gradients)
    square = norm_of_all(step.gradients).square()
    variance = (mean_square - square) / (parts - 1)
    scale = torch.zeros_like(square) + step.numbers["adascale_scale"]
    kept = (1 - scale / _MEMORY).clamp(min=0)
    kept = torch.where(state["adascale_steps"] == 0, torch.zeros_like(kept), kept)
    new = {"adascale_steps": state["adascale_steps"] + 1}
    for key, found in (("variance", variance), ("square", square - variance)):
        old = state[f"adascale_{key}"]
        new[f"adascale_{key}"] = kept * old + (1 - kept) * found.clamp(min=0).to(old.dtype)
    factor = gain(new["adascale_variance"], new["adascale_square"], scale)
    new["adascale_time"] = state["adascale_time"] + factor
    return Made(gradients=step.gradients, states={name: new}, rate_factor=factor)


def adascale(inner: UpdateRule) -> UpdateRule:
    """Return a rule whose rate is multiplied by AdaScale's gain.

    Args:
        inner: whose rate was tuned for a batch `adascale_scale` times smaller.
    """
    return replace(
        inner,
        name=f"adascale:{inner.name}",
        defaults={**inner.defaults, "adascale_scale": 8.0},
        gradient_rule=GradientRule(needs=("parts",), make=_make, init_states=_init_states),
    )

"""LARS: layer-wise adaptive rate scaling, as in the paper and in two programs.

Source: You, Gitman & Ginsburg 2017, arXiv:1708.03888, Algorithm 1. Per layer, with trust
coefficient eta:

    ratio = eta |w| / (|g| + wd |w|);    v <- m v + lr ratio (g + wd w);    w <- w - v

The learning rate stands inside the velocity, so a schedule acts on new gradients only. Kumar et al.
2019, arXiv:1909.09756, section 3, call this un-scaled momentum, and found it to need fewer epochs
than what the MLPerf 0.6 reference did, scaled momentum:

    v <- m v + (g + wd w);    w <- w - lr ratio v                       (lars_scaled_momentum)

`lars_mlperf` is the later MLPerf reference (its ResNet-50 for TensorFlow 2): un-scaled, with
epsilon added to the ratio's denominator, 1e-7 where its argument 0 was meant.

Differs from the source: where |w| or |g| is zero the paper's ratio is 0 or 0/0; here it is 1, as in
MLPerf's reference, so that a zero-initialised layer can leave zero. Tensors without the trait
`adapted` (biases, batch-norm scales) have ratio 1: the paper does not speak of them, its authors'
and MLPerf's code do so. `lars` has no epsilon.
"""

import torch
from torch import Tensor
from torch.linalg import vector_norm

from fullscale.optimizers.fused_step import fused_lars
from fullscale.optimizers.update_rule import (
    Number,
    Numbers,
    State,
    TensorTraits,
    UpdateRule,
    decay_of,
    with_decay,
)


def _init_state(parameter: Tensor) -> State:
    return {"velocity": torch.zeros_like(parameter)}


def _trust_ratio(
    parameter: Tensor, gradient: Tensor, numbers: Numbers, decay: Number, epsilon: Number = 0.0
) -> Tensor:
    norm_w, norm_g = vector_norm(parameter), vector_norm(gradient)
    both = (norm_w > 0) & (norm_g > 0)
    denominator = torch.where(both, norm_g + decay * norm_w + epsilon, torch.ones_like(norm_w))
    ratio = numbers["trust_coefficient"] * norm_w / denominator
    return torch.where(both, ratio, torch.ones_like(ratio))


def _update(
    parameter: Tensor, gradient: Tensor, state: State, numbers: Numbers, traits: TensorTraits
) -> tuple[Tensor, State]:
    direction = with_decay(gradient, parameter, numbers, traits)
    if traits.adapted:
        ratio = _trust_ratio(
            parameter, gradient, numbers, decay_of(numbers, traits), numbers.get("epsilon", 0.0)
        )
        direction = ratio * direction
    velocity = numbers["momentum"] * state["velocity"] + numbers["learning_rate"] * direction
    return parameter - velocity, {"velocity": velocity}


def _update_scaled(
    parameter: Tensor, gradient: Tensor, state: State, numbers: Numbers, traits: TensorTraits
) -> tuple[Tensor, State]:
    direction = with_decay(gradient, parameter, numbers, traits)
    velocity = numbers["momentum"] * state["velocity"] + direction
    rate = numbers["learning_rate"]
    if traits.adapted:
        rate = rate * _trust_ratio(parameter, gradient, numbers, decay_of(numbers, traits))
    return parameter - rate * velocity, {"velocity": velocity}


# 0.001 is the paper's trust coefficient for ImageNet (section 5).
_DEFAULTS = {"momentum": 0.9, "weight_decay": 0.0, "trust_coefficient": 0.001}

LARS = UpdateRule(
    name="lars",
    defaults=_DEFAULTS,
    init_state=_init_state,
    update=_update,
    fused=fused_lars,
)
LARS_MLPERF = UpdateRule(
    name="lars_mlperf",
    defaults={**_DEFAULTS, "epsilon": 1e-7},
    init_state=_init_state,
    update=_update,
    fused=fused_lars,
)
LARS_SCALED_MOMENTUM = UpdateRule(
    name="lars_scaled_momentum",
    defaults=_DEFAULTS,
    init_state=_init_state,
    update=_update_scaled,
)

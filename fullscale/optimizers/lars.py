"""LARS: layer-wise adaptive rate scaling.

Source: You, Gitman & Ginsburg 2017, arXiv:1708.03888, Algorithm 1. Per layer, with trust
coefficient eta:

    ratio = eta |w| / (|g| + wd |w|);    v <- m v + lr ratio (g + wd w);    w <- w - v

The learning rate stands inside the velocity, so a schedule acts on new gradients only.

Differs from the source: where |w| or |g| is zero the paper's ratio is 0 or 0/0; here it is 1, as in
MLPerf's reference, so that a zero-initialised layer can leave zero. Tensors without the trait
`adapted` (biases, batch-norm scales) have ratio 1: the paper does not speak of them, its authors'
and MLPerf's code do so. No epsilon.
"""

import torch
from torch import Tensor
from torch.linalg import vector_norm

from fullscale.optimizers.update_rule import Numbers, State, TensorTraits, UpdateRule


def _init_state(parameter: Tensor) -> State:
    return {"velocity": torch.zeros_like(parameter)}


def _trust_ratio(
    parameter: Tensor, gradient: Tensor, numbers: Numbers, decay: float | Tensor
) -> Tensor:
    norm_w, norm_g = vector_norm(parameter), vector_norm(gradient)
    both = (norm_w > 0) & (norm_g > 0)
    denominator = torch.where(both, norm_g + decay * norm_w, torch.ones_like(norm_w))
    ratio = numbers["trust_coefficient"] * norm_w / denominator
    return torch.where(both, ratio, torch.ones_like(ratio))


def _update(
    parameter: Tensor, gradient: Tensor, state: State, numbers: Numbers, traits: TensorTraits
) -> tuple[Tensor, State]:
    decay = numbers["weight_decay"] if traits.decayed else 0.0
    direction = gradient + decay * parameter
    if traits.adapted:
        direction = _trust_ratio(parameter, gradient, numbers, decay) * direction
    velocity = numbers["momentum"] * state["velocity"] + numbers["learning_rate"] * direction
    return parameter - velocity, {"velocity": velocity}


LARS = UpdateRule(
    name="lars",
    # 0.001 is the paper's trust coefficient for ImageNet (section 5).
    defaults={"momentum": 0.9, "weight_decay": 0.0, "trust_coefficient": 0.001},
    init_state=_init_state,
    update=_update,
)

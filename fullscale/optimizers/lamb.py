"""LAMB: Adam's direction, with a length per layer.

Source: You, Li, Reddi, Hseu, Kumar, Bhojanapalli, Song, Demmel, Keutzer & Hsieh 2020,
arXiv:1904.00962, Algorithm 2, with phi(z) = z. m and v as in Adam, both corrected; per layer

    r = m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon)
    w <- w - lr |w| / |r + wd w| (r + wd w)

Differs from the source: where one of the norms is zero the ratio is 1, as in the authors' program,
so that a zero-initialised layer can leave zero. Tensors without the trait `adapted` (biases,
batch-norm scales) have ratio 1: MLPerf's reference does so. The paper gives no epsilon; 1e-6 is
that of the authors' program.
"""

import torch
from torch import Tensor
from torch.linalg import vector_norm

from fullscale.optimizers.adam import adam_direction, init_state
from fullscale.optimizers.fused_step import fused_lamb
from fullscale.optimizers.update_rule import Numbers, State, TensorTraits, UpdateRule, decay_of


def _trust_ratio(parameter: Tensor, direction: Tensor) -> Tensor:
    norm_w, norm_u = vector_norm(parameter), vector_norm(direction)
    both = (norm_w > 0) & (norm_u > 0)
    one = torch.ones_like(norm_w)
    return torch.where(both, norm_w / torch.where(both, norm_u, one), one)


def _update(
    parameter: Tensor, gradient: Tensor, state: State, numbers: Numbers, traits: TensorTraits
) -> tuple[Tensor, State]:
    direction, state = adam_direction(gradient, state, numbers)
    direction = direction + decay_of(numbers, traits) * parameter
    if traits.adapted:
        direction = _trust_ratio(parameter, direction) * direction
    return parameter - numbers["learning_rate"] * direction, state


LAMB = UpdateRule(
    name="lamb",
    defaults={"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-6, "weight_decay": 0.0},
    init_state=init_state,
    update=_update,
    fused=fused_lamb,
)

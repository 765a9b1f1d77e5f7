"""Momentum, LARS and LAMB in place, by torch's fused kernels: a second form of their rules.

A pure rule makes a new tensor for every operation, so on ResNet-50 it moves three to five times the
memory that it must. These functions change the same tensors in one or two passes. They are no
definition: a rule names one as its `fused`, and tests/fullscale/test_optimizers_fused.py holds it
equal to the rule's `update`, weights and state, to rounding.

torch's fused SGD does v <- m v + (1 - d)(g + wd w), w <- w - lr v. With lr = 1 and 1 - d = lr ratio
that is LARS; its fused Adam from a tensor of zeros, with lr = -1, leaves LAMB's direction there.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.linalg import vector_norm

from fullscale.optimizers.update_rule import InPlace, Numbers, decay_of


def _sgd(
    tensors: Sequence[InPlace], decay: float, momentum: float, rate: float, new: float
) -> None:
    """Make the velocity momentum v + new (g + decay w), and the weight w - rate v."""
    precision = torch.finfo(tensors[0].parameter.dtype).eps
    if abs((1 - (1 - new)) - new) > precision / 4 * new:
        # The kernel takes 1 - new, in which a small number loses its last digits.
        _sgd_by_passes(tensors, decay, momentum, rate, new)
        return
    torch._fused_sgd_(
        [each.parameter for each in tensors],
        [each.gradient for each in tensors],
        [each.state["velocity"] for each in tensors],
        weight_decay=decay,
        momentum=momentum,
        lr=rate,
        dampening=1 - new,
        nesterov=False,
        maximize=False,
        is_first_step=False,
    )


def _sgd_by_passes(
    tensors: Sequence[InPlace], decay: float, momentum: float, rate: float, new: float
) -> None:
    for each in tensors:
        velocity = each.state["velocity"].mul_(momentum).add_(each.gradient, alpha=new)
        if decay:
            velocity.add_(each.parameter, alpha=new * decay)
        each.parameter.add_(velocity, alpha=-rate)


def fused_momentum(tensors: Sequence[InPlace], numbers: Numbers) -> None:
    """Take a step of momentum SGD.

    Args:
        tensors: of one device and type, each dense and with its gradient in the same order.
        numbers: floats; momentum is not 0.
    """
    for decayed in (True, False):
        group = [each for each in tensors if each.traits.decayed == decayed]
        if group:
            decay = float(decay_of(numbers, group[0].traits))
            rate, momentum = float(numbers["learning_rate"]), float(numbers["momentum"])
            _sgd(group, decay, momentum, rate, 1.0)


def fused_lars(tensors: Sequence[InPlace], numbers: Numbers) -> None:
    """Take a step of LARS, with or without epsilon.

    Args:
        tensors: of one device and type, each dense and with its gradient in the same order.
        numbers: floats; momentum is not 0.
    """
    rate, momentum = float(numbers["learning_rate"]), float(numbers["momentum"])
    # One wait for the device, on a GPU, for all norms.
    norms = torch.stack([
        torch.stack(torch._foreach_norm([each.parameter for each in tensors])),  # noqa: SLF001
        torch.stack(torch._foreach_norm([each.gradient for each in tensors])),  # noqa: SLF001
    ]).tolist()
    for each, norm_w, norm_g in zip(tensors, *norms, strict=True):
        decay = float(decay_of(numbers, each.traits))
        ratio = 1.0
        if each.traits.adapted and norm_w > 0 and norm_g > 0:
            denominator = norm_g + decay * norm_w + float(numbers.get("epsilon", 0.0))
            ratio = float(numbers["trust_coefficient"]) * norm_w / denominator
        _sgd([each], decay, momentum, 1.0, rate * ratio)


def fused_lamb(tensors: Sequence[InPlace], numbers: Numbers) -> None:
    """Take a step of LAMB.

    Args:
        tensors: of one device and type, each dense and with its gradient in the same order.
        numbers: floats.
    """
    largest = max(tensors, key=lambda each: each.parameter.numel()).parameter
    scratch = torch.empty(largest.numel(), dtype=largest.dtype, device=largest.device)
    for each in tensors:
        weight = each.parameter
        direction = scratch[: weight.numel()].as_strided(weight.shape, weight.stride()).zero_()
        _adam_direction(each, direction, numbers)
        decay = float(decay_of(numbers, each.traits))
        if decay:
            direction.add_(weight, alpha=decay)
        ratio = 1.0
        if each.traits.adapted:
            norm_w, norm_u = float(vector_norm(weight)), float(vector_norm(direction))
            ratio = norm_w / norm_u if norm_w > 0 and norm_u > 0 else 1.0
        weight.add_(direction, alpha=-float(numbers["learning_rate"]) * ratio)


def _adam_direction(each: InPlace, direction: Tensor, numbers: Numbers) -> None:
    each.state["steps"].add_(1)
    torch._fused_adam_(
        [direction],
        [each.gradient],
        [each.state["first_moment"]],
        [each.state["second_moment"]],
        [],
        [each.state["steps"]],
        lr=-1.0,
        beta1=float(numbers["beta1"]),
        beta2=float(numbers["beta2"]),
        weight_decay=0.0,
        eps=float(numbers["epsilon"]),
        amsgrad=False,
        maximize=False,
    )

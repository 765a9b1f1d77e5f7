"""Momentum, LARS and LAMB in place, by torch's fused kernels: a second form of their rules.

A pure rule makes a new tensor for every operation, so on ResNet-50 it moves three to five times the
memory that it must. These functions change the same tensors in one or two passes. They are no
definition: a rule names one as its `fused`, and tests/fullscale/test_optimizers_fused.py holds it
equal to the rule's `update`, weights and state, to rounding.

torch's fused SGD does v <- m v + (1 - d)(g + wd w), w <- w - lr v. With lr = 1 and 1 - d = lr ratio
that is LARS. Its fused AdamW does w <- (1 - lr d) w - lr u; with lr = -1 and d = wd - 1, on a copy
of w, that is LAMB's direction u + wd w.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.linalg import vector_norm

from fullscale.optimizers.update_rule import InPlace, Numbers, State, decay_of

# Elements that are worked on at once; measured on ResNet-50: smaller blocks cost more in calls.
_BLOCK = 1 << 20
_FUSED_TYPES = (torch.float32, torch.float64)


def is_dense(parameter: Tensor) -> bool:
    """Return whether a fused kernel may go over a tensor as if it were flat.

    Args:
        parameter: to be changed.
    """
    if isinstance(parameter, DTensor) or parameter.dtype not in _FUSED_TYPES:
        return False
    return parameter.is_contiguous() or (
        parameter.ndim == 4 and parameter.is_contiguous(memory_format=torch.channels_last)
    )


def are_alike(parameter: Tensor, first: Tensor, gradient: Tensor, state: State) -> bool:
    """Return whether all belong to one device and type, and lie in memory in the same order.

    Args:
        parameter: to be changed.
        first: of the parameters that are changed with it.
        gradient: its own.
        state: its own.
    """
    others = [gradient, *(value for value in state.values() if value.shape == parameter.shape)]
    return (
        parameter.device == first.device
        and parameter.dtype == first.dtype
        and all(
            value.stride() == parameter.stride() and value.dtype == parameter.dtype
            for value in others
        )
    )


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
    for each, (norm_w, norm_g) in zip(tensors, _norms(tensors), strict=True):
        decay = float(decay_of(numbers, each.traits))
        ratio = 1.0
        if each.traits.adapted and norm_w > 0 and norm_g > 0:
            denominator = norm_g + decay * norm_w + float(numbers.get("epsilon", 0.0))
            ratio = float(numbers["trust_coefficient"]) * norm_w / denominator
        _sgd([each], decay, momentum, 1.0, rate * ratio)


def _norms(tensors: Sequence[InPlace]) -> Iterator[tuple[float, float]]:
    """Yield the norms of weight and gradient, of each tensor when it is asked for.

    On a CPU that is just before its update, which then finds it in the cache; on a GPU all come
    at once, so that it is waited for once.
    """
    if tensors[0].parameter.device.type == "cpu":
        for each in tensors:
            yield float(vector_norm(each.parameter)), float(vector_norm(each.gradient))
        return
    both = [
        torch.stack(torch._foreach_norm(values))  # noqa: SLF001 - one kernel for many tensors
        for values in ([t.parameter for t in tensors], [t.gradient for t in tensors])
    ]
    yield from zip(*torch.stack(both).tolist(), strict=True)


def fused_lamb(tensors: Sequence[InPlace], numbers: Numbers) -> None:
    """Take a step of LAMB.

    Args:
        tensors: of one device and type, each dense and with its gradient in the same order.
        numbers: floats.
    """
    largest = max(tensors, key=lambda each: each.parameter.numel()).parameter
    scratch = torch.empty(largest.numel(), dtype=largest.dtype, device=largest.device)
    for each in tensors:
        each.state["steps"].add_(1)
        weight, direction = _flat(each.parameter), scratch[: each.parameter.numel()]
        blocks = zip(
            *(torch.split(part, _BLOCK) for part in (weight, direction, _flat(each.gradient))),
            *(
                torch.split(_flat(each.state[key]), _BLOCK)
                for key in ("first_moment", "second_moment")
            ),
            strict=True,
        )
        square_w = square_u = torch.zeros((), dtype=weight.dtype, device=weight.device)
        for block in blocks:
            _direction(block, each, numbers)
            if each.traits.adapted:
                square_w = square_w + torch.dot(block[0], block[0])
                square_u = square_u + torch.dot(block[1], block[1])
        both = float(square_w) > 0 and float(square_u) > 0
        ratio = float((square_w / square_u).sqrt()) if both else 1.0
        weight.add_(direction, alpha=-float(numbers["learning_rate"]) * ratio)


def _flat(tensor: Tensor) -> Tensor:
    """Return a dense tensor as one row in the order of its memory."""
    return tensor.as_strided((tensor.numel(),), (1,))


def _direction(block: tuple[Tensor, ...], each: InPlace, numbers: Numbers) -> None:
    """Make a block of the direction, r + decay w: fused AdamW with lr = -1, from w decayed so."""
    weight, direction, gradient, first, second = block
    torch._fused_adamw_(
        [direction.copy_(weight)],
        [gradient],
        [first],
        [second],
        [],
        [each.state["steps"]],
        lr=-1.0,
        beta1=float(numbers["beta1"]),
        beta2=float(numbers["beta2"]),
        weight_decay=float(decay_of(numbers, each.traits)) - 1.0,
        eps=float(numbers["epsilon"]),
        amsgrad=False,
        maximize=False,
    )

"""Shampoo: a preconditioner for each axis of a tensor.

Source: Gupta, Koren & Singer 2018, arXiv:1802.09568, Algorithm 2 (Algorithm 1 for matrices). For a
tensor of k axes, with G_(i) the gradient as a matrix whose rows lie along axis i:

    H_i <- H_i + G_(i) G_(i)^T, from epsilon I;    w <- w - lr G x_1 H_1^(-1/2k) ... x_k H_k^(-1/2k)

The roots are taken by eigenvalues in every step: on ResNet-50 that costs far more than its
gradient. The paper's own programs renew them every 20 to 100 steps.

Differs from the source: axes of length 1 are dropped; an axis longer than 1,024, and that of a
tensor with one axis, has the diagonal of H only; gradients may be averaged before they are
preconditioned (beta1; 0, the paper's algorithm, unless given); weight decay is added to the
gradient (L2).
"""

import torch
from torch import Tensor

from fullscale.optimizers.eigen import symmetric_eigen
from fullscale.optimizers.moments import average
from fullscale.optimizers.update_rule import (
    Number,
    Numbers,
    State,
    TensorTraits,
    UpdateRule,
    with_decay,
)

LONGEST_FULL_AXIS = 1_024


def _sizes(tensor: Tensor) -> tuple[int, ...]:
    """Return the lengths of the axes that count."""
    return tuple(size for size in tensor.shape if size > 1) or (1,)


def _is_full(sizes: tuple[int, ...], axis: int) -> bool:
    return len(sizes) > 1 and sizes[axis] <= LONGEST_FULL_AXIS


def _init_state(parameter: Tensor) -> State:
    sizes, state = _sizes(parameter), {"first_moment": torch.zeros_like(parameter)}
    for axis, size in enumerate(sizes):
        shape = (size, size) if _is_full(sizes, axis) else (size,)
        state[f"axis_{axis}"] = parameter.new_zeros(shape)
    return state


def _gathered(old: Tensor, rows: Tensor) -> Tensor:
    if old.ndim == 2:
        return old + rows @ rows.mT
    return old + (rows * rows).sum(dim=1)


def _preconditioned(rows: Tensor, gathered: Tensor, epsilon: Number, power: float) -> Tensor:
    """Multiply rows, shape (size, others), by (epsilon I + gathered)^power."""
    if gathered.ndim == 1:
        return (gathered + epsilon).pow(power)[:, None] * rows
    values, vectors = symmetric_eigen(gathered)
    # Rounding may leave a zero eigenvalue slightly negative.
    powers = (values.clamp(min=0) + epsilon).pow(power)
    product: Tensor = vectors @ (powers[:, None] * (vectors.mT @ rows))
    return product


def _update(
    parameter: Tensor, gradient: Tensor, state: State, numbers: Numbers, traits: TensorTraits
) -> tuple[Tensor, State]:
    gradient = with_decay(gradient, parameter, numbers, traits)
    first = average(state["first_moment"], gradient, numbers["beta1"])
    sizes, new = _sizes(parameter), {"first_moment": first}
    now, direction = gradient.reshape(sizes), first.reshape(sizes)
    for axis, size in enumerate(sizes):
        new[f"axis_{axis}"] = _gathered(
            state[f"axis_{axis}"], now.movedim(axis, 0).reshape(size, -1)
        )
        moved = direction.movedim(axis, 0)
        rows = _preconditioned(
            moved.reshape(size, -1),
            new[f"axis_{axis}"],
            numbers["epsilon"],
            -1 / (2 * len(sizes)),
        )
        direction = rows.reshape(moved.shape).movedim(0, axis)
    return parameter - numbers["learning_rate"] * direction.reshape(parameter.shape), new


SHAMPOO = UpdateRule(
    name="shampoo",
    defaults={"beta1": 0.0, "epsilon": 1e-4, "weight_decay": 0.0},
    init_state=_init_state,
    update=_update,
    needs_whole_tensor=True,
)

"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner.

Source: Vyas, Morwani, Zhao, Kwun, Shapira, Brandfonbrener, Janson & Kakade 2024, arXiv:2409.11321,
Algorithm 3, and the authors' program. For a tensor of k axes, with G_(i) the gradient as a matrix
whose rows lie along axis i, L_i its statistics and Q_i a basis of that axis:

    m <- beta1 m + (1 - beta1) g;    g' = g x_i Q_i^T,  m' = m x_i Q_i^T   (over all axes i)
    v <- beta2 v + (1 - beta2) g'^2
    n' = sqrt(1 - beta2^t) / (1 - beta1^t) m' / (sqrt(v) + eps)
    w <- (1 - lr wd) (w - lr n' x_i Q_i)
    L_i <- beta2 L_i + (1 - beta2) G_(i) G_(i)^T
    after every `renew_every` steps: Q_i <- the orthogonal factor of L_i Q_i, by QR; its columns and
    v's rows in falling order of q^T L_i q

As in that program the first step only gathers L_i and takes its eigenvectors; moments, steps t and
weights begin with the second. A tensor with one axis, and an axis longer than 10,000, has no
basis.

Differs from the source: the algorithm as printed has no bias corrections, epsilon under the root
and no decay: here they are the program's. Axes of length 1 are dropped. Directions that the first
gradient leaves empty, whose eigenvectors rounding would choose, get a basis by the order of the
axes, so that one process and several have the same. QR is not rounded to single precision.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from fullscale.optimizers.eigen import symmetric_eigen
from fullscale.optimizers.moments import average, correction, no_steps
from fullscale.optimizers.update_rule import (
    Numbers,
    State,
    TensorTraits,
    UpdateRule,
    decay_of,
)

LONGEST_FULL_AXIS = 10_000
_FIRST, _RENEW, _KEEP = "first", "renew", "keep"


def _sizes(tensor: Tensor) -> tuple[int, ...]:
    """Return the lengths of the axes that count."""
    return tuple(size for size in tensor.shape if size > 1) or (1,)


def _full_axes(sizes: tuple[int, ...]) -> list[int]:
    """Return the axes that have a basis."""
    if len(sizes) == 1:
        return []
    return [axis for axis, size in enumerate(sizes) if size <= LONGEST_FULL_AXIS]


def _init_state(parameter: Tensor) -> State:
    sizes = _sizes(parameter)
    state = {
        "first_moment": torch.zeros_like(parameter),
        "second_moment": parameter.new_zeros(sizes),
        "steps": no_steps(parameter),
    }
    for axis in _full_axes(sizes):
        state[f"axis_{axis}"] = parameter.new_zeros((sizes[axis], sizes[axis]))
        state[f"basis_{axis}"] = parameter.new_zeros((sizes[axis], sizes[axis]))
    return state


def _phase(steps: int, numbers: Mapping[str, float]) -> str:
    if steps == 0:
        return _FIRST
    return _RENEW if steps % int(numbers["renew_every"]) == 0 else _KEEP


def _along(tensor: Tensor, axis: int, matrix: Tensor) -> Tensor:
    """Multiply every fibre of a tensor along an axis by a matrix from the left."""
    moved = tensor.movedim(axis, 0)
    return (matrix @ moved.reshape(len(moved), -1)).reshape(moved.shape).movedim(0, axis)


def first_basis(gathered: Tensor) -> Tensor:
    """Return eigenvectors, those of the largest eigenvalue first; of the empty space see the file.

    In rows, as a state must be: torch's checkpoints send a tensor's memory as it lies to other
    ranks, and LAPACK's results lie in columns.

    Args:
        gathered: symmetric, positive semidefinite.
    """
    values, vectors = symmetric_eigen(gathered)
    size = len(values)
    # Rounding leaves n units of the largest eigenvalue's last place where the truth is 0.
    smallest = 4 * size * torch.finfo(values.dtype).eps * values[-1:]
    filled = values > smallest
    empty = (vectors * (~filled)) @ vectors.mT
    ranks = torch.arange(size, 0, -1, dtype=values.dtype, device=values.device) / size
    # Above 2 what is filled, by its eigenvalue; below 1 what is empty, by the order of the axes.
    largest = torch.where(values[-1:] > 0, values[-1:], torch.ones_like(values[-1:]))
    kept = torch.where(filled, 2 + values / largest, torch.zeros_like(values))
    split = (vectors * kept) @ vectors.mT + empty @ (ranks[:, None] * empty)
    basis = symmetric_eigen((split + split.mT) / 2)[1]
    return basis.flip(-1).contiguous()


def _renewed(gathered: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Return the basis after a power iteration, and the order of the old one's columns in it."""
    product = gathered @ basis
    order = (basis * product).sum(dim=0).argsort(descending=True, stable=True)
    renewed: Tensor = torch.linalg.qr(product.index_select(1, order))[0]
    return renewed.contiguous(), order


def _is(phase: str | None, word: str) -> bool:
    """Return whether a phase's work may be due."""
    return phase is None or phase == word


def _moved(
    parameter: Tensor, gradient: Tensor, state: State, numbers: Numbers, traits: TensorTraits
) -> tuple[Tensor, State]:
    """Return the parameter after Adam's step in the basis, and the moments and count after it."""
    sizes = _sizes(parameter)
    first = average(state["first_moment"], gradient, numbers["beta1"])
    turned, direction = gradient.reshape(sizes), first.reshape(sizes)
    for axis in _full_axes(sizes):
        basis = state[f"basis_{axis}"]
        turned, direction = _along(turned, axis, basis.mT), _along(direction, axis, basis.mT)
    second = average(state["second_moment"], turned * turned, numbers["beta2"])
    steps = state["steps"]
    # One at the first step, whose outcome is dropped where steps are chosen by the count.
    counted = steps.clamp(min=1)
    size = correction(numbers["beta2"], counted).sqrt() / correction(numbers["beta1"], counted)
    direction = size * direction / (second.sqrt() + numbers["epsilon"])
    for axis in _full_axes(sizes):
        direction = _along(direction, axis, state[f"basis_{axis}"])
    rate = numbers["learning_rate"]
    new = parameter - rate * direction.reshape(parameter.shape)
    new = new - rate * decay_of(numbers, traits) * new
    return new, {"first_moment": first, "second_moment": second, "steps": steps + 1}


def _axes(gradient: Tensor, state: State, numbers: Numbers) -> Iterator[tuple[int, Tensor]]:
    """Yield each axis with a basis, and its statistics with this gradient."""
    sizes = _sizes(gradient)
    for axis in _full_axes(sizes):
        rows = gradient.reshape(sizes).movedim(axis, 0).reshape(sizes[axis], -1)
        yield axis, average(state[f"axis_{axis}"], rows @ rows.mT, numbers["beta2"])


def _update(
    parameter: Tensor, gradient: Tensor, state: State, numbers: Numbers, traits: TensorTraits
) -> tuple[Tensor, State]:
    phase = traits.phase
    is_first = state["steps"] == 0
    is_due = ~is_first & (torch.remainder(state["steps"], numbers["renew_every"]) == 0)
    new, after = _moved(parameter, gradient, state, numbers, traits)
    if phase == _FIRST:
        new, after = parameter, {**state, "steps": state["steps"] + 1}
    elif phase is None:
        new = torch.where(is_first, parameter, new)
        for name in ("first_moment", "second_moment"):
            after[name] = torch.where(is_first, state[name], after[name])
    for axis, gathered in _axes(gradient, state, numbers):
        basis = state[f"basis_{axis}"]
        if _is(phase, _RENEW):
            renewed, order = _renewed(gathered, basis)
            sorted_moment = after["second_moment"].index_select(axis, order)
            if phase is None:
                renewed = torch.where(is_due, renewed, basis)
                sorted_moment = torch.where(is_due, sorted_moment, after["second_moment"])
            basis, after["second_moment"] = renewed, sorted_moment
        if _is(phase, _FIRST):
            start = first_basis(gathered)
            basis = start if phase else torch.where(is_first, start, basis)
        after[f"axis_{axis}"], after[f"basis_{axis}"] = gathered, basis
    return new, after


SOAP = UpdateRule(
    name="soap",
    defaults={
        "beta1": 0.95,
        "beta2": 0.95,
        "epsilon": 1e-8,
        "weight_decay": 0.0,
        "renew_every": 10.0,
    },
    init_state=_init_state,
    update=_update,
    needs_whole_tensor=True,
    phase=_phase,
)

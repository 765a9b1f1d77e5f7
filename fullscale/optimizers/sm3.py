"""SM3: AdaGrad in the memory of one number per row and column.

Source: Anil, Gupta, Koren & Singer 2019, arXiv:1901.11150, Algorithm SM3-II, whose cover is the
slices along each axis of the tensor (section 4). For each weight i, with mu one number per slice:

    nu_i <- min over the slices r that hold i of mu_r, + g_i^2
    mu_r <- max over the weights i of slice r of nu_i
    m <- beta1 m + (1 - beta1) g / sqrt(nu);    w <- w - lr m           (0/0 = 0)

Differs from the source: SM3-II has no momentum; the average of scaled gradients is that of the
authors' program, and beta1 = 0 takes it away. Weight decay is added to the gradient (L2).
"""

import torch
from torch import Tensor

from fullscale.optimizers.moments import average
from fullscale.optimizers.update_rule import Numbers, State, TensorTraits, UpdateRule, with_decay


def _name(axis: int) -> str:
    return f"largest_of_axis_{axis}"


def _init_state(parameter: Tensor) -> State:
    shape = parameter.shape or (1,)
    slices = {_name(axis): parameter.new_zeros(size) for axis, size in enumerate(shape)}
    return {"first_moment": torch.zeros_like(parameter), **slices}


def _update(
    parameter: Tensor, gradient: Tensor, state: State, numbers: Numbers, traits: TensorTraits
) -> tuple[Tensor, State]:
    gradient = with_decay(gradient, parameter, numbers, traits)
    shape = gradient.shape or (1,)
    square_sum, axes = (gradient * gradient).reshape(shape), range(len(shape))
    smallest = state[_name(0)].reshape(-1, *[1] * (len(shape) - 1))
    for axis in axes[1:]:
        along = [-1 if other == axis else 1 for other in axes]
        smallest = torch.minimum(smallest, state[_name(axis)].reshape(along))
    square_sum = square_sum + smallest
    new = {}
    for axis in axes:
        others = tuple(other for other in axes if other != axis)
        new[_name(axis)] = square_sum.amax(dim=others) if others else square_sum
    root = square_sum.reshape(gradient.shape).sqrt()
    scaled = torch.where(root > 0, gradient / torch.where(root > 0, root, 1 + root), root)
    new["first_moment"] = average(state["first_moment"], scaled, numbers["beta1"])
    return parameter - numbers["learning_rate"] * new["first_moment"], new


SM3 = UpdateRule(
    name="sm3",
    defaults={"beta1": 0.9, "weight_decay": 0.0},
    init_state=_init_state,
    update=_update,
    needs_whole_tensor=True,
)

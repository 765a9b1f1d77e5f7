"""What the moments of many rules share: running averages, counts of steps, their corrections."""

import math

import torch
from torch import Tensor

from fullscale.optimizers.update_rule import Number


def average(old: Tensor, new: Tensor, beta: Number) -> Tensor:
    """Return beta old + (1 - beta) new.

    Args:
        old: the running average.
        new: of the same shape.
        beta: share of the old.
    """
    return beta * old + (1 - beta) * new


def no_steps(parameter: Tensor) -> Tensor:
    """Return a count of steps at zero: 0-d, of the parameter's type and device."""
    return parameter.new_zeros(())


def correction(beta: Number, steps: Tensor) -> Tensor:
    """Return 1 - beta^steps, the weight that a running average from zero has gathered.

    By expm1: in single precision 1 - 0.999 would have lost four digits.

    Args:
        beta: at least 0, below 1.
        steps: at least 1, 0-d.
    """
    if isinstance(beta, Tensor):
        return -torch.expm1(steps * torch.log(beta))
    return -torch.expm1(steps * (math.log(beta) if beta > 0 else -math.inf))

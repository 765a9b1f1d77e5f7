"""How sharp a minimum an optimizer can rest in: the edge of stability.

On a quadratic of curvature h, with learning rate eta and momentum m (Cohen et al. 2021,
arXiv:2103.00065, appendix B), steps stay bounded where

    gradient descent  h < 2 / eta
    momentum          h < (2 + 2 m) / eta
    Nesterov          h < (2 + 2 m) / ((1 + 2 m) eta)

It is a bound of the full batch. With small batches the sharpness stays below it; how far below is
part of what large batches change.
"""

import math
from typing import Literal

Method = Literal["momentum", "nesterov"]


def stability_limit(
    learning_rate: float, *, momentum: float = 0.0, method: Method = "momentum"
) -> float:
    """Return the largest curvature at which steps stay bounded.

    Args:
        learning_rate: eta, of v <- m v + g; w <- w - eta v (PyTorch's form).
        momentum: m, in [0, 1).
        method: momentum, with m = 0 gradient descent; or nesterov.

    Returns:
        In units of the loss over squared weights; inf where the learning rate is 0.

    >>> stability_limit(0.1), round(stability_limit(0.1, momentum=0.9), 12)
    (20.0, 38.0)
    """
    if learning_rate == 0:
        return math.inf
    limit = (2 + 2 * momentum) / learning_rate
    return limit / (1 + 2 * momentum) if method == "nesterov" else limit

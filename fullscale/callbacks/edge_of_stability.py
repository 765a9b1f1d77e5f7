"""The edge of stability of the optimizer at hand, in curvature of the loss without weight decay."""

import math
from typing import Any

from torch.optim import SGD, Optimizer

from models_of_scaling.curvature.stability import Method, stability_limit

_WATCHERS = ("ema:", "swa:")  # average weights for evaluation; what trains is the rule within


def limit_of(optimizer: Optimizer, module: Any, learning_rate: float) -> float:
    """Return the edge of stability of an optimizer, where it is known.

    Args:
        optimizer: torch's SGD, or the one of our module.
        module: of the run.
        learning_rate: of the step.

    Returns:
        The largest stable curvature of the loss without weight decay, which adds its own to it; NaN
        for optimizers that turn or scale the gradient: theirs is another matrix's eigenvalue.
    """
    group = optimizer.param_groups[0]
    rule = getattr(getattr(module, "rule", None), "name", None)
    if rule is not None:
        while rule.startswith(_WATCHERS):
            rule = rule.partition(":")[2]
        if rule not in {"sgd", "momentum", "nesterov"}:
            return math.nan
        numbers = module.numbers
        method: Method = "nesterov" if rule == "nesterov" else "momentum"
        momentum, decay = numbers.get("momentum", 0.0), numbers.get("weight_decay", 0.0)
    elif isinstance(optimizer, SGD) and not group["dampening"]:
        method = "nesterov" if group["nesterov"] else "momentum"
        momentum, decay = group["momentum"], group["weight_decay"]
    else:
        return math.nan
    return stability_limit(learning_rate, momentum=momentum, method=method) - float(decay)

"""A torch.optim.Optimizer around an update rule, for any trainer."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.nn import Parameter

from fullscale.optimizers.registry import tensor_traits
from fullscale.optimizers.update_rule import UpdateRule


class RuleOptimizer(torch.optim.Optimizer):
    """Apply an update rule to every parameter tensor.

    A group's `lr` is the learning rate (torch's schedulers write it); the rule's other numbers
    stand in the group under their own names.
    """

    def __init__(
        self,
        params: Iterable[Parameter],
        *,
        rule: UpdateRule,
        learning_rate: float,
        **numbers: float,
    ) -> None:
        """Collect the parameters into one group.

        Args:
            params: of the network.
            rule: the method.
            learning_rate: before any schedule.
            **numbers: the rule's other numbers; its defaults where missing.
        """
        complete = rule.numbers(learning_rate=learning_rate, **numbers)
        complete["lr"] = complete.pop("learning_rate")
        self._rule = rule
        super().__init__(params, complete)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one optimizer step.

        Args:
            closure: evaluates the loss and its gradients; Lightning passes one.

        Returns:
            What the closure returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            numbers = {name: group[name] for name in self._rule.defaults}
            numbers["learning_rate"] = group["lr"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if not self.state[parameter]:
                    self.state[parameter] = self._rule.init_state(parameter)
                new, self.state[parameter] = self._rule.update(
                    parameter,
                    parameter.grad,
                    self.state[parameter],
                    numbers,
                    tensor_traits(parameter),
                )
                parameter.copy_(new)
        return loss

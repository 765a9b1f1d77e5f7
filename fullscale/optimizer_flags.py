"""The optimizer's numbers, from the flags of the command line and the method's defaults."""

from collections.abc import Mapping

from fullscale.optimizers.update_rule import UpdateRule, check_number
from models_of_scaling.errors import InputError


def rule_numbers(rule: UpdateRule, given: Mapping[str, float | None]) -> dict[str, float]:
    """Complete the optimizer's numbers by its defaults, refusing those that it does not have.

    Args:
        rule: the method.
        given: by name; None where a flag was not given.

    Returns:
        Every number of the method but the learning rate.

    Raises:
        InputError: naming the number and the rule.
    """
    chosen = {name: float(value) for name, value in given.items() if value is not None}
    for name, value in chosen.items():
        if name not in rule.defaults:
            raise InputError(
                f"--model.optimizer_numbers: {name} is not one of {', '.join(rule.defaults)}"
            )
        check_number(f"--model: {name}", value)
    return {**rule.defaults, **chosen}

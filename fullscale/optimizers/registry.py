"""The optimizers by name, wrappers around them, and a user's own by class path."""

import importlib
from collections.abc import Callable

from fullscale.optimizers.lars import LARS
from fullscale.optimizers.momentum import MOMENTUM
from fullscale.optimizers.parameter_groups import tensor_traits as tensor_traits
from fullscale.optimizers.update_rule import UpdateRule
from models_of_scaling.errors import InputError

UPDATE_RULES: dict[str, UpdateRule] = {rule.name: rule for rule in (MOMENTUM, LARS)}
WRAPPERS: dict[str, Callable[[UpdateRule], UpdateRule]] = {}


def get_update_rule(name: str) -> UpdateRule:
    """Return the update rule of this name.

    Args:
        name: one of `UPDATE_RULES`; or a wrapper and a rule, as in `lookahead:adam`; or the path of
            an `UpdateRule` of your own, as in `my_package.my_module.MY_RULE`.

    Raises:
        InputError: where there is none; the known names are listed.
    """
    wrapper, colon, inner = name.partition(":")
    if colon:
        if wrapper not in WRAPPERS:
            raise InputError(f"optimizer {name!r}: {wrapper!r} is not one of {', '.join(WRAPPERS)}")
        return WRAPPERS[wrapper](get_update_rule(inner))
    if name in UPDATE_RULES:
        return UPDATE_RULES[name]
    if "." in name:
        return _import_rule(name)
    raise InputError(f"optimizer {name!r} is not one of {', '.join(UPDATE_RULES)}")


def _import_rule(path: str) -> UpdateRule:
    module, _, attribute = path.rpartition(".")
    try:
        rule = getattr(importlib.import_module(module), attribute, None)
    except ImportError as error:
        raise InputError(f"optimizer {path!r} can't be imported: {error}") from error
    if not isinstance(rule, UpdateRule):
        found = "nothing" if rule is None else type(rule).__name__
        raise InputError(f"optimizer {path!r} must be an UpdateRule, and is {found}")
    return rule

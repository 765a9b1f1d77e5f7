"""The optimizers by name, wrappers around them, and a user's own by class path."""

import importlib
from collections.abc import Callable
from dataclasses import replace

from fullscale.optimizers.adabound import ADABOUND, ADABOUND_AUTHORS
from fullscale.optimizers.adagrad import ADAGRAD
from fullscale.optimizers.adam import ADAM, ADAMW
from fullscale.optimizers.adascale import adascale
from fullscale.optimizers.akiba import AKIBA
from fullscale.optimizers.kfac import KFAC, KFAC_EMPIRICAL
from fullscale.optimizers.lamb import LAMB
from fullscale.optimizers.lars import LARS, LARS_MLPERF, LARS_SCALED_MOMENTUM
from fullscale.optimizers.lion import LION
from fullscale.optimizers.lookahead import lookahead
from fullscale.optimizers.momentum import MOMENTUM
from fullscale.optimizers.muon import MUON
from fullscale.optimizers.nesterov import NESTEROV
from fullscale.optimizers.novograd import NOVOGRAD
from fullscale.optimizers.parameter_groups import tensor_traits as tensor_traits
from fullscale.optimizers.radam import RADAM
from fullscale.optimizers.rmsprop import RMSPROP
from fullscale.optimizers.saddle_free import saddle_free
from fullscale.optimizers.sam import sam
from fullscale.optimizers.sgd import SGD
from fullscale.optimizers.shampoo import SHAMPOO
from fullscale.optimizers.sm3 import SM3
from fullscale.optimizers.soap import SOAP
from fullscale.optimizers.stochastic_weight_average import stochastic_weight_average
from fullscale.optimizers.update_rule import UpdateRule
from fullscale.optimizers.weight_average import weight_average
from fullscale.optimizers.yogi import YOGI
from models_of_scaling.errors import InputError

_RULES = (
    *(SGD, MOMENTUM, NESTEROV),
    *(LARS, LARS_MLPERF, LARS_SCALED_MOMENTUM, LAMB, NOVOGRAD),
    *(ADAGRAD, RMSPROP, AKIBA, ADAM, ADAMW, RADAM, ADABOUND, ADABOUND_AUTHORS, YOGI, SM3, LION),
    *(SHAMPOO, SOAP, MUON),
)
UPDATE_RULES: dict[str, UpdateRule] = {rule.name: rule for rule in _RULES}
# Those that ask a step's batch for more than its gradient.
BATCH_RULES: dict[str, UpdateRule] = {
    rule.name: rule
    for rule in (
        KFAC,
        KFAC_EMPIRICAL,
        replace(sam(MOMENTUM), name="sam"),
        replace(adascale(MOMENTUM), name="adascale"),
        replace(saddle_free(SGD), name="saddle_free"),
    )
}
WRAPPERS: dict[str, Callable[[UpdateRule], UpdateRule]] = {
    "lookahead": lookahead,
    "ema": weight_average,
    "swa": stochastic_weight_average,
    "sam": sam,
    "adascale": adascale,
    "saddle_free": saddle_free,
}
# Wrappers that make the gradient: one at a time.
_MAKERS = (sam, adascale, saddle_free)


def get_update_rule(name: str) -> UpdateRule:
    """Return the update rule of this name.

    Args:
        name: one of `UPDATE_RULES` or `BATCH_RULES`; or a wrapper and a rule, as in
            `lookahead:adam`; or the path of an `UpdateRule` of your own, as in
            `my_package.my_module.MY_RULE`.

    Raises:
        InputError: where there is none; the known names are listed.
    """
    wrapper, colon, inner = name.partition(":")
    if colon:
        if wrapper not in WRAPPERS:
            raise InputError(f"optimizer {name!r}: {wrapper!r} is not one of {', '.join(WRAPPERS)}")
        rule = get_update_rule(inner)
        if rule.gradient_rule is not None and WRAPPERS[wrapper] in _MAKERS:
            raise InputError(f"optimizer {name!r}: {inner} makes its own gradient already")
        wrapped = WRAPPERS[wrapper](rule)
        if len(wrapped.defaults) == len(rule.defaults):
            raise InputError(f"optimizer {name!r}: {wrapper} is there twice")
        return wrapped
    for known in (UPDATE_RULES, BATCH_RULES):
        if name in known:
            return known[name]
    if "." in name:
        return _import_rule(name)
    raise InputError(f"optimizer {name!r} is not one of {', '.join([*UPDATE_RULES, *BATCH_RULES])}")


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

"""Which twin a rule has, and numbers that bring out every term of it in a few steps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fullscale.optimizers.reference import adaptive, gradient_descent, layerwise, matrix
from fullscale.optimizers.reference.arrays import Array


@dataclass(frozen=True, kw_only=True)
class Twin:
    """A rule's slow exact twin.

    Attributes:
        function: the twin.
        numbers: other than the rule's defaults; decay is 0.01 in all.
    """

    function: Callable[..., Array]
    numbers: Mapping[str, float] = field(default_factory=dict)


_LARS = {"trust_coefficient": 0.02}
_ADAM = {"beta1": 0.8, "beta2": 0.95}

TWINS: dict[str, Twin] = {
    "sgd": Twin(function=gradient_descent.sgd_reference),
    "momentum": Twin(function=gradient_descent.momentum_reference),
    "nesterov": Twin(function=gradient_descent.nesterov_reference),
    "lars": Twin(function=layerwise.lars_reference, numbers=_LARS),
    # An epsilon that counts.
    "lars_mlperf": Twin(function=layerwise.lars_reference, numbers={**_LARS, "epsilon": 0.1}),
    "lars_scaled_momentum": Twin(function=layerwise.lars_scaled_momentum_reference, numbers=_LARS),
    "lamb": Twin(function=layerwise.lamb_reference, numbers=_ADAM),
    "novograd": Twin(function=layerwise.novograd_reference, numbers={"beta2": 0.9}),
    "adagrad": Twin(function=adaptive.adagrad_reference, numbers={"epsilon": 1e-3}),
    "rmsprop": Twin(function=adaptive.rmsprop_reference, numbers={"momentum": 0.5}),
    # All three parts of the transition within five steps.
    "rmsprop_to_sgd": Twin(
        function=gradient_descent.akiba_reference,
        numbers={"transition_center_steps": 2.0, "transition_period_steps": 3.0},
    ),
    "adam": Twin(function=adaptive.adam_reference, numbers=_ADAM),
    "adamw": Twin(function=adaptive.adamw_reference, numbers=_ADAM),
    # rho passes 4 between the steps.
    "radam": Twin(function=adaptive.radam_reference, numbers={"beta1": 0.8, "beta2": 0.99}),
    "adabound": Twin(function=adaptive.adabound_reference, numbers=_ADAM),
    "adabound_authors": Twin(
        function=adaptive.adabound_authors_reference,
        numbers={**_ADAM, "final_rate_factor": 2.0, "gamma": 0.5},
    ),
    "yogi": Twin(function=adaptive.yogi_reference, numbers=_ADAM),
    "sm3": Twin(function=adaptive.sm3_reference),
    "lion": Twin(function=adaptive.lion_reference),
    "shampoo": Twin(function=matrix.shampoo_reference, numbers={"beta1": 0.5, "epsilon": 0.1}),
    # The bases are renewed twice within five steps.
    "soap": Twin(function=matrix.soap_reference, numbers={**_ADAM, "renew_every": 2.0}),
    "muon": Twin(function=matrix.muon_reference),
}

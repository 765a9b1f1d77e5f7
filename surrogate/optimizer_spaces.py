"""The search space of each optimizer: one box for all batch sizes, on logarithmic scales.

A box of networks has the learning rate and one number that says how long a gradient is
remembered; what is left is fixed at the method's own defaults, which a test compares with its rule.
Ranges are two to four decades around the rates that the methods are used with. For SGD, momentum,
Nesterov, LARS, LAMB and NovoGrad 48 points each were tried on digits (an MLP, batch sizes 16 and
1,024): the best lie between a quarter and 0.93 of the range. The others were not looked at in this
way. Where a range is too narrow for a workload the protocol widens it and says so.
"""

from typing import Final

from surrogate.search_space import Dimension, SearchSpace


def _learning_rate(low: float, high: float) -> Dimension:
    """The learning rate; with a velocity the effective one, see `SearchSpace`."""
    return Dimension(name="learning_rate", low=low, high=high)


def _decay(name: str, low: float) -> Dimension:
    """1 - decay from `low` to 1; a decay of 0 is as low as it gets."""
    return Dimension(name=name, low=low, high=1.0, complement=True, bounds=("high",))


def _with_velocity(low: float, high: float, **fixed: float) -> SearchSpace:
    """A velocity that sums gradients: effective learning rate and 1 - momentum."""
    return SearchSpace(
        dimensions=(_learning_rate(low, high), _decay("momentum", 0.05)),
        fixed={"weight_decay": 0.0, **fixed},
    )


def _with_mean(low: float, high: float, **fixed: float) -> SearchSpace:
    """A first moment that is a mean of gradients: learning rate and 1 - beta1."""
    return SearchSpace(
        dimensions=(_learning_rate(low, high), _decay("beta1", 0.05)),
        fixed={"weight_decay": 0.0, **fixed},
        velocity_decay="",
    )


def _alone(low: float, high: float, **fixed: float) -> SearchSpace:
    """The learning rate only."""
    return SearchSpace(
        dimensions=(_learning_rate(low, high),),
        fixed={"weight_decay": 0.0, **fixed},
        velocity_decay="",
    )


# The paper's trust coefficient 0.001 is for ImageNet: with it, weights that should move in 20 steps
# need learning rates that tear the biases, which have no trust ratio, apart.
_TRUST: Final = 0.05
_ADAM: Final = {"beta2": 0.999, "epsilon": 1e-8}

# Exact K-FAC: every batch's factors and inverses count at once. Its bound on the step is off, for
# rate and damping are searched; Ma et al. 2019 search the same two.
_KFAC: Final = _with_velocity(
    1e-3, 10.0, factor_decay=0.95, kl_clip=0.0, factors_every=1.0, inverse_every=1.0
).searching(Dimension(name="damping", low=1e-4, high=10.0))

NETWORK_SPACES: Final = {
    "momentum": _with_velocity(0.02, 10.0),
    "sgd": _alone(0.02, 10.0),
    "nesterov": _with_velocity(0.02, 10.0),
    "lars": _with_velocity(0.03, 30.0, trust_coefficient=_TRUST),
    "lars_mlperf": _with_velocity(0.03, 30.0, trust_coefficient=_TRUST, epsilon=1e-7),
    "lars_scaled_momentum": _with_velocity(0.03, 30.0, trust_coefficient=_TRUST),
    "lamb": _with_mean(1e-3, 1.0, beta2=0.999, epsilon=1e-6),
    # Its velocity sums normalised gradients.
    "novograd": SearchSpace(
        dimensions=(_learning_rate(1e-3, 3.0), _decay("beta1", 0.05)),
        fixed={"weight_decay": 0.0, "beta2": 0.98, "epsilon": 1e-8},
        velocity_decay="beta1",
    ),
    "adagrad": _alone(1e-3, 1.0, epsilon=1e-10),
    "rmsprop": _with_velocity(1e-4, 0.3, beta2=0.9, epsilon=1e-8),
    "adam": _with_mean(1e-4, 0.3, **_ADAM),
    "adamw": _with_mean(1e-4, 0.3, **_ADAM),
    "radam": _with_mean(1e-4, 1.0, **_ADAM, rectified_above=4.0),
    "yogi": _with_mean(1e-4, 1.0, beta2=0.999, epsilon=1e-3),
    "adabound": _with_mean(1e-4, 1.0, beta2=0.999, final_learning_rate=0.1),
    "sm3": _with_mean(1e-3, 1.0),
    "lion": _with_mean(1e-5, 0.03, beta2=0.99),
    "shampoo": _with_mean(1e-3, 3.0, epsilon=1e-4),
    "soap": _with_mean(1e-3, 1.0, beta2=0.95, epsilon=1e-8, renew_every=10.0),
    # Its update has one length whatever the momentum: no effective learning rate.
    "muon": SearchSpace(
        dimensions=(_learning_rate(1e-3, 1.0), _decay("momentum", 0.05)),
        fixed={
            "weight_decay": 0.0,
            "adam_rate_factor": 0.015,
            "beta1": 0.9,
            "beta2": 0.95,
            "epsilon": 1e-10,
        },
        velocity_decay="",
    ),
    "kfac": _KFAC,
    "kfac_empirical": _KFAC,
    "saddle_free": _alone(0.01, 10.0).searching(Dimension(name="damping", low=1e-3, high=10.0)),
    # By the effective rate at an eighth of the batch, the default scale.
    "adascale": _with_velocity(3e-3, 3.0, adascale_scale=8.0),
    "sam": _with_velocity(0.02, 10.0).searching(Dimension(name="sam_radius", low=0.01, high=0.5)),
}

# Methods of `surrogate.simulator.methods`; one box serves batch sizes from 1 to 262,144.
_ON_QUADRATICS: Final = SearchSpace(
    dimensions=(_learning_rate(1e-3, 300.0), _decay("momentum", 3e-3)), fixed={"weight_decay": 0.0}
)
SIMULATOR_SPACES: Final = {
    "momentum": _ON_QUADRATICS,
    "nesterov": _ON_QUADRATICS,
    "preconditioned": _ON_QUADRATICS,  # by h^-1/2, which leaves the highest curvature at 1
    # Without momentum no learning rate above 2 is stable.
    "sgd": _alone(1e-3, 10.0, momentum=0.0),
    "averaged": SearchSpace(
        dimensions=(_learning_rate(1e-3, 10.0), _decay("averaging_decay", 1e-6)),
        fixed={"momentum": 0.0, "weight_decay": 0.0},
    ),
}

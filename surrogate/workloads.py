"""What can be swept: data, model, target, batch sizes, search spaces and budgets, by name.

A name may go on with the rung of a ladder, `digits_subset128_width16`: the workload's parameters,
so that a ladder's trials, files and fits say what they are (`surrogate/rungs.py`).
"""

import functools
from typing import TYPE_CHECKING

from models_of_scaling.targets import Target
from surrogate.image_workloads import image_workloads, mixture_workload
from surrogate.search_space import Dimension, SearchSpace
from surrogate.workload import Workload as Workload  # part of this module's face

if TYPE_CHECKING:
    from fullscale.data.image_arrays import ImageArrays
    from surrogate.noisy_quadratic import Spectrum


@functools.cache
def _digits() -> "ImageArrays":
    from fullscale.data.digits import digits_arrays  # scikit-learn takes a second to import

    return digits_arrays()


def _zhang() -> "Spectrum":
    from surrogate.noisy_quadratic import zhang_spectrum

    return zhang_spectrum()


def _momentum(low: float) -> Dimension:
    """1 - momentum from `low` to 1; momentum 0 is as low as it gets."""
    return Dimension(name="momentum", low=low, high=1.0, complement=True, bounds=("high",))


def _learning_rate(low: float, high: float) -> Dimension:
    """The range of the effective learning rate, learning_rate / (1 - momentum)."""
    return Dimension(name="learning_rate", low=low, high=high)


_NETWORK_SPACES = {
    "momentum": SearchSpace(
        dimensions=(_learning_rate(0.02, 10.0), _momentum(0.05)), fixed={"weight_decay": 0.0}
    ),
    # The paper's trust coefficient 0.001 is for ImageNet: with it, weights that should move in 20
    # steps need learning rates that tear the biases, which have no trust ratio, apart.
    "lars": SearchSpace(
        dimensions=(_learning_rate(0.03, 30.0), _momentum(0.05)),
        fixed={"weight_decay": 0.0, "trust_coefficient": 0.05},
    ),
}
# Methods of `surrogate.simulator.methods`.
_WITH_MOMENTUM = SearchSpace(
    dimensions=(_learning_rate(1e-3, 300.0), _momentum(3e-3)), fixed={"weight_decay": 0.0}
)
_DECAY = Dimension(name="averaging_decay", low=1e-6, high=1.0, complement=True, bounds=("high",))
_QUADRATIC_SPACES = {
    "momentum": _WITH_MOMENTUM,
    "nesterov": _WITH_MOMENTUM,
    "preconditioned": _WITH_MOMENTUM,  # by h^-1/2, which leaves the highest curvature at 1
    # Without momentum no learning rate above 2 is stable.
    "sgd": SearchSpace(
        dimensions=(_learning_rate(1e-3, 10.0),), fixed={"momentum": 0.0, "weight_decay": 0.0}
    ),
    "averaged": SearchSpace(
        dimensions=(_learning_rate(1e-3, 10.0), _DECAY),
        fixed={"momentum": 0.0, "weight_decay": 0.0},
    ),
}
# Chosen on real runs, 10 seeds of a tuned configuration at batch sizes 1 to 1,024: every one
# reaches a training loss of 0.05, the whole set in 28 steps (a resolution of 4 %), and the seeds
# differ by 7 to 24 %. A validation loss of 0.2 or an accuracy of 0.95 is near what this network can
# reach at all: there seeds differ by 16 to 37 %, and 4 to 10 of 10 never get there at full batch.
_DIGITS_TARGET = Target(metric="train_loss", direction="<=", value=0.05)
_DIGITS_BATCH_SIZES = tuple(2**power for power in range(11))

WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        Workload(
            name="digits",
            dataset="digits",
            model="mlp",
            target=_DIGITS_TARGET,
            batch_sizes=_DIGITS_BATCH_SIZES,
            quick_batch_sizes=(16, 32, 64, 128, 256, 512, 1024),
            max_batch_size=1024,
            spaces=_NETWORK_SPACES,
            floor_steps=200,
            budget_examples=20_000,
            load=_digits,
        ),
        Workload(
            name="digits_cnn",
            dataset="digits",
            model="small_cnn",
            target=_DIGITS_TARGET,
            batch_sizes=_DIGITS_BATCH_SIZES,
            quick_batch_sizes=(8, 32, 128, 512),
            max_batch_size=1024,
            spaces=_NETWORK_SPACES,
            floor_steps=200,
            budget_examples=20_000,
            load=_digits,
        ),
        Workload(
            name="noisy_quadratic",
            dataset="noisy_quadratic",
            model="diagonal_quadratic",
            engine="noisy_quadratic",
            # Zhang et al. 2019, section 4: expected risk 0.01.
            target=Target(metric="validation_loss", direction="<=", value=0.01),
            batch_sizes=tuple(2**power for power in range(19)),
            quick_batch_sizes=tuple(2**power for power in range(6, 18, 2)),
            max_batch_size=2**24,
            spaces=_QUADRATIC_SPACES,
            floor_steps=2_000,  # tuned runs take 170 steps at least, and 6 million examples
            budget_examples=40_000_000,
            # One space serves batch sizes from 1 to 262,144: it is twice as long, in decades, so
            # that 64 trials missed the best by up to 2x; no noise hides what a second zoom finds.
            search_effort=2,
            zoom_widths=(0.2, 0.06),
            deterministic=True,
            spectrum=_zhang,
        ),
        *image_workloads(_NETWORK_SPACES),
        mixture_workload(_NETWORK_SPACES),
    )
}


def get_workload(name: str) -> Workload:
    """Return the workload of this name, with its parameters where the name goes on with them.

    A path such as `my_package.MyWorkload` is a user's own. A name that is none is refused, with the
    known ones.
    """
    if name in WORKLOADS:
        return WORKLOADS[name]
    from surrogate.rungs import rung_of_name
    from surrogate.user_workload import is_class_path, user_workload

    if is_class_path(name):
        return user_workload(name, _NETWORK_SPACES)
    return rung_of_name(WORKLOADS, name)

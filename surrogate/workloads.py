"""What can be swept: data, model, target, batch sizes, search spaces and budgets, by name.

A name may go on with the rung of a ladder, `digits_subset128_width16`: the workload's parameters,
so that a ladder's trials, files and fits say what they are (`surrogate/rungs.py`).
"""

import functools
from typing import TYPE_CHECKING

from models_of_scaling.targets import Target
from surrogate.image_workloads import image_workloads, mixture_workload
from surrogate.optimizer_spaces import NETWORK_SPACES, SIMULATOR_SPACES
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
            spaces=NETWORK_SPACES,
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
            spaces=NETWORK_SPACES,
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
            spaces=SIMULATOR_SPACES,
            floor_steps=2_000,  # tuned runs take 170 steps at least, and 6 million examples
            budget_examples=40_000_000,
            # One space serves batch sizes from 1 to 262,144: it is twice as long, in decades, so
            # that 64 trials missed the best by up to 2x; no noise hides what a second zoom finds.
            search_effort=2,
            zoom_widths=(0.2, 0.06),
            deterministic=True,
            spectrum=_zhang,
        ),
        *image_workloads(NETWORK_SPACES),
        mixture_workload(NETWORK_SPACES),
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
        return user_workload(name, NETWORK_SPACES)
    return rung_of_name(WORKLOADS, name)

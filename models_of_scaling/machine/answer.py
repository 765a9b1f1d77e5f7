"""All that `machine` says of a fit, a step's time and a choice of machines, in one call."""

from collections.abc import Sequence

from models_of_scaling.fit_record import FitRecord
from models_of_scaling.machine.guidance import elasticities, useful_machine
from models_of_scaling.machine.machines import Machines
from models_of_scaling.machine.step_time_belief import StepTimeBelief
from models_of_scaling.machine.time_to_target import (
    OBJECTIVES,
    choose,
    time_options,
    twice_as_fast,
)
from models_of_scaling.machine.words import MachineAnswer


def answer_machine(
    fit: FitRecord,
    belief: StepTimeBelief,
    machines: Machines,
    batch_sizes: Sequence[int],
    *,
    saving: float = 0.1,
    level: float | None = None,
) -> MachineAnswer:
    """Return every option, the best by each objective, and what limits them.

    Args:
        fit: the record of the laws.
        belief: about the step's time.
        machines: to choose from.
        batch_sizes: to choose from, for example `machines.candidate_batch_sizes`.
        saving: share of the time that a doubling of the nodes must cut to help, in (0, 1).
        level: of the intervals; that of the fit when None.

    Returns:
        The answer, without price and power.
        Errors are those of `time_options` and `useful_machine`.
    """
    chosen_level = fit.level if level is None else level
    options = time_options(fit, belief, machines, batch_sizes, level=chosen_level)
    chosen = {objective: choose(options, objective) for objective in OBJECTIVES}
    return MachineAnswer(
        options=options,
        chosen=chosen,
        twice=twice_as_fast(options, chosen["cheapest"]),
        elasticities=elasticities(fit, belief, chosen["balanced"]),
        useful=useful_machine(fit, belief, machines, options, saving=saving, level=chosen_level),
        belief=belief,
        price_per_device_hour=None,
        watts_per_device=None,
    )

"""Which batch size to run at, and for how many steps, with the reasons in words.

With a model of the step's time the objective decides (`time_to_target.choose`). Without one, time
is taken as proportional to the steps S and cost to the examples E, as if devices grew with the
batch and nothing else cost time:

    fastest    the fewest steps, but of batch sizes within 10 % of them the one of fewest examples
    cheapest   the fewest examples, but of those within 10 % the one of fewest steps
    balanced   the least S E; for the hyperbola that is B = B_crit exactly

The run's length is the upper end of a one-sided predictive interval: a new study's steps lie below
it with the stated probability. One run scatters a little more than a study's mean.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from models_of_scaling.errors import InputError
from models_of_scaling.fit_record import FitRecord
from models_of_scaling.intervals import Interval, weighted_quantile
from models_of_scaling.machine.cluster import Placement
from models_of_scaling.machine.machines import Machines
from models_of_scaling.machine.step_time_belief import StepTimeBelief
from models_of_scaling.machine.steps_draws import StepsDraws
from models_of_scaling.machine.time_to_target import Objective, Option, choose, time_options
from models_of_scaling.machine.words import time_in_words, time_interval_in_words
from models_of_scaling.prediction import estimated_steps, predictive_interval
from models_of_scaling.wording import number_in_words

_AS_GOOD: Final = 1.1


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The batch size and length of a run.

    Attributes:
        placement: batch size on the machines.
        steps: to the target, predicted.
        length_steps: by which the target is reached with `probability`.
        probability: of that.
        option: with time and cost; None without a model of the step's time.
        reasons: sentences, for the batch size.
    """

    placement: Placement
    steps: Interval
    length_steps: int
    probability: float
    option: Option | None
    reasons: tuple[str, ...]


def choose_run(
    fit: FitRecord,
    belief: StepTimeBelief | None,
    machines: Machines,
    batch_sizes: Sequence[int],
    *,
    objective: Objective,
    probability: float,
) -> Choice:
    """Choose batch size, nodes and length.

    Args:
        fit: the record of the laws.
        belief: about the step's time; None to go by steps and examples alone.
        machines: to choose from.
        batch_sizes: to choose from.
        objective: what to make small.
        probability: of reaching the target within the length, in [0.5, 1).

    Returns:
        The choice.

    Raises:
        InputError: for a probability outside, several numbers of nodes without a belief, or a
            target that no length reaches.
    """
    if not 0.5 <= probability < 1:
        raise InputError(f"--probability {probability} must be in [0.5, 1)")
    option = None
    if belief is None:
        placement, reason = _by_steps(fit, machines, batch_sizes, objective)
        steps = predictive_interval(fit, placement.batch_size, level=fit.level)
    else:
        options = time_options(fit, belief, machines, batch_sizes, level=fit.level)
        option = choose(options, objective)
        placement, steps = option.placement, option.steps
        reason = _reason(option, objective, len(options))
    values, weights = StepsDraws(fit, seed=0).predictive(placement.batch_size)
    length = float(weighted_quantile(values, weights, [probability])[0])
    if not math.isfinite(max(length, steps.estimate)):
        raise InputError(
            f"--probability {probability}: by the fitted laws the target is not reached with that "
            f"probability at batch size {placement.batch_size}, however long the run; give a "
            "smaller --batch-size or a lower --probability"
        )
    return Choice(
        placement=placement,
        steps=steps,
        length_steps=math.ceil(max(length, steps.estimate)),
        probability=probability,
        option=option,
        reasons=(reason, *_warnings(fit, placement, option)),
    )


def _by_steps(
    fit: FitRecord, machines: Machines, batch_sizes: Sequence[int], objective: Objective
) -> tuple[Placement, str]:
    if len(machines.nodes) > 1:
        raise InputError(
            "--nodes: to choose between several numbers of nodes the time of a step must be "
            "known; give --throughput CSV or a roofline (--flops-per-example ...), or one number"
        )
    placements = [
        place for size in batch_sizes if (place := machines.place(size, machines.nodes[0]))
    ]
    if not placements:
        needed = machines.nodes[0] * machines.devices_per_node
        raise InputError(
            f"--nodes {machines.nodes[0]}: {needed} devices need a batch size of at least "
            f"{needed}, and the largest considered is {max(batch_sizes)}"
        )
    steps = {place.batch_size: estimated_steps(fit, place.batch_size) for place in placements}
    examples = {size: size * count for size, count in steps.items()}
    product = {size: steps[size] * examples[size] for size in steps}
    if objective == "balanced":
        size = min(product, key=lambda each: product[each])
        words = "the least product of steps (time) and examples (cost)"
    else:
        first, second = (steps, examples) if objective == "fastest" else (examples, steps)
        names = ("steps", "examples") if objective == "fastest" else ("examples", "steps")
        near = [each for each in first if first[each] <= _AS_GOOD * min(first.values())]
        size = min(near, key=lambda each: second[each])
        words = (
            f"of those within {100 * (_AS_GOOD - 1):.0f} % of the fewest {names[0]}, the one of "
            f"fewest {names[1]}"
        )
    place = next(each for each in placements if each.batch_size == size)
    return place, (
        f"Batch size {size:,}: {objective} of {len(placements)} considered, {words}. No model of "
        "the step's time was given, so this is by steps and examples alone: give --throughput or "
        "a roofline to choose by time and cost."
    )


def _reason(option: Option, objective: Objective, considered: int) -> str:
    place = option.placement
    return (
        f"Batch size {place.batch_size:,} on {place.nodes:,} x {place.devices_per_node} devices: "
        f"{objective} of {considered} combinations of batch size and nodes; predicted "
        f"{number_in_words(option.seconds_per_step.estimate)} s per step, "
        f"{time_in_words(option.time_s.estimate)} to the target ({100 * option.time_s.level:g} % "
        f"interval {time_interval_in_words(option.time_s)}), "
        f"{number_in_words(option.device_hours)} device hours."
    )


def _warnings(fit: FitRecord, placement: Placement, option: Option | None) -> list[str]:
    found = []
    if placement.batch_size > fit.largest_batch_size:
        found.append(
            f"Extrapolated: {placement.batch_size / fit.largest_batch_size:.3g}x the largest "
            f"batch size that was fitted ({fit.largest_batch_size:,})."
        )
    if option is not None and option.notes:
        found.append("The step's time is extrapolated: " + "; ".join(option.notes) + ".")
    if fit.code != "converged":
        found.append(" ".join([f"The fit's result code is {fit.code}.", *fit.advice]))
    return found

"""The simulator's engine: each candidate's expected risk as a trial; there is no run."""

import functools
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

from models_of_scaling.provenance import collect_provenance
from models_of_scaling.trials import Trial
from surrogate.finished_trial import DIVERGENCE_FACTOR, finished_trial
from surrogate.noisy_quadratic import ExpectedRun, Spectrum, one_step, run_to_target
from surrogate.protocol import Plan, Stage
from surrogate.simulator.configuration import run_configuration
from surrogate.simulator.methods import METHODS
from surrogate.workloads import Workload, get_workload


def run_simulator(
    plan: Plan, workload: Workload, batch_size: int, stage: Stage
) -> Iterator[list[Trial]]:
    """Give each candidate's expected risk; there is no run, so nothing is stopped early.

    Args:
        plan: the study.
        workload: that of the plan, of this engine.
        batch_size: examples per step.
        stage: what to run.

    Yields:
        One trial at a time.
    """
    spectrum = _spectrum(plan.workload)
    provenance = vars(collect_provenance())
    for candidate in stage.candidates:
        started = time.perf_counter()
        run = _expected_run(
            plan, spectrum, candidate.hyper_parameters, batch_size, plan.budget.steps(batch_size)
        )
        yield [
            finished_trial(
                plan,
                workload,
                batch_size,
                candidate,
                # No training set: every example is a fresh draw, and an epoch has no meaning.
                num_train_examples=0,
                num_parameters=len(spectrum.curvature_P),
                status=run.status,
                steps=run.steps,
                wall_time_s=time.perf_counter() - started,
                curve_steps=run.curve_steps,
                # The expected risk is the loss on fresh examples: training and validation loss.
                curve_train_loss=run.curve_risk,
                curve_validation_loss=run.curve_risk,
                curve_validation_accuracy=[math.nan] * len(run.curve_steps),
                **provenance,
            )
        ]


def _expected_run(
    plan: Plan,
    spectrum: Spectrum,
    hyper_parameters: Mapping[str, float],
    batch_size: int,
    max_steps: int,
) -> ExpectedRun:
    limits: dict[str, Any] = {
        "target_risk": plan.target.value,
        "max_steps": max_steps,
        "divergence_factor": DIVERGENCE_FACTOR,
    }
    if plan.optimizer == "momentum":  # two states, three moments: twice as fast as the general way
        step = one_step(
            spectrum,
            batch_size=batch_size,
            learning_rate=hyper_parameters["learning_rate"],
            momentum=hyper_parameters["momentum"],
        )
        return run_to_target(spectrum, step, **limits)
    method = METHODS[plan.optimizer]
    searched = {axis.name: hyper_parameters[axis.name] for axis in method.axes}
    return run_configuration(
        spectrum, method.configuration(searched), batch_size=batch_size, **limits
    )


@functools.cache
def _spectrum(workload: str) -> Spectrum:
    spectrum = get_workload(workload).spectrum
    assert spectrum is not None
    return spectrum()

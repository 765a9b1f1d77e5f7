"""The simulator's engine: each candidate's expected risk as a trial; there is no run."""

import functools
import math
import time
from collections.abc import Iterator

from models_of_scaling.provenance import collect_provenance
from models_of_scaling.trials import Trial
from surrogate.finished_trial import DIVERGENCE_FACTOR, finished_trial
from surrogate.noisy_quadratic import Spectrum, one_step, run_to_target
from surrogate.protocol import Plan, Stage
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
        run = run_to_target(
            spectrum,
            one_step(
                spectrum,
                batch_size=batch_size,
                learning_rate=candidate.hyper_parameters["learning_rate"],
                momentum=candidate.hyper_parameters["momentum"],
            ),
            target_risk=plan.target.value,
            max_steps=workload.max_steps(batch_size),
            divergence_factor=DIVERGENCE_FACTOR,
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


@functools.cache
def _spectrum(workload: str) -> Spectrum:
    spectrum = get_workload(workload).spectrum
    assert spectrum is not None
    return spectrum()

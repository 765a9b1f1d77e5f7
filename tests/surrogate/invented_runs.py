"""Invented runs of a search: a bowl in the logs of rate and momentum, with luck if asked for."""

import math
from datetime import UTC, datetime

import numpy as np

from models_of_scaling.targets import Target
from models_of_scaling.trials import Trial
from surrogate.budget import Budget
from surrogate.protocol import Plan, Protocol
from surrogate.search import next_stage
from surrogate.search_space import Dimension, SearchSpace

SPACE = SearchSpace(
    dimensions=(
        Dimension(name="learning_rate", low=0.01, high=10.0),
        Dimension(name="momentum", low=0.05, high=1.0, complement=True, bounds=("high",)),
    ),
    fixed={"weight_decay": 0.0},
)
MAX_STEPS = 10**15


def plan(**protocol):
    return Plan(
        workload="digits",
        optimizer="momentum",
        target=Target.parse("train_loss<=0.05"),
        space=SPACE,
        protocol=Protocol(**{"trials": 32, "repeats": 5} | protocol),
        budget=Budget(floor_steps=MAX_STEPS, budget_examples=0),
    )


def trial(study, batch_size, candidate, *, steps, status):
    return Trial(
        study=study.study,
        phase=candidate.phase,
        workload=study.workload,
        dataset="invented",
        num_train_examples=1024,
        model="none",
        num_parameters=1,
        optimizer=study.optimizer,
        hyper_parameters=candidate.hyper_parameters,
        settings=candidate.settings,
        batch_size=batch_size,
        seed=candidate.seed,
        target=str(study.target),
        status=status,
        steps=steps,
        examples=steps * batch_size,
        wall_time_s=0.0,
        curve_steps=[steps],
        curve_train_loss=[0.04 if status == "reached" else 1.0],
        curve_validation_loss=[0.1],
        curve_validation_accuracy=[0.9],
        commit="none",
        dirty=False,
        versions={},
        device="none",
        start_time=datetime(2026, 1, 1, tzinfo=UTC),
    )


def true_steps(batch_size, numbers, *, best_rate=0.5):
    """A bowl in the logs of the effective learning rate and of 1 - momentum."""
    effective = numbers["learning_rate"] / (1 - numbers["momentum"])
    distance = (
        math.log(effective / best_rate) ** 2 + 0.2 * math.log((1 - numbers["momentum"]) / 0.3) ** 2
    )
    return 20 * (1 + 200 / batch_size) * math.exp(0.5 * distance)


def run_together(study, batch_size, stage, *, best_rate=0.5, noise=0.0):
    """What a population does: all at once, so the fastest is known before the slow are stopped."""
    steps = []
    for candidate in stage.candidates:
        numbers = candidate.hyper_parameters
        rng = np.random.default_rng([candidate.seed, int(1e9 * numbers["learning_rate"])])
        luck = math.exp(rng.normal() * noise)
        steps.append(round(true_steps(batch_size, numbers, best_rate=best_rate) * luck))
    limit = MAX_STEPS
    if stage.name != "repeat":
        fewest = min([*steps, stage.fewest_steps or MAX_STEPS])
        limit = min(MAX_STEPS, int(study.protocol.slowest_factor * fewest))
    return [
        trial(
            study,
            batch_size,
            candidate,
            steps=min(each, limit),
            status="reached" if each <= limit else "not_reached",
        )
        for candidate, each in zip(stage.candidates, steps, strict=True)
    ]


def sweep(study, batch_size, *, done=(), **world):
    """Run stages until none is missing; returns the trials and the stages' names."""
    done, names = list(done), []
    while stage := next_stage(study, batch_size, done):
        names.append(stage.name)
        done += run_together(study, batch_size, stage, **world)
        assert len(names) < 20
    return done, names

"""Data sets with a known truth, for the tests of this folder."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from models_of_scaling.laws import Law
from models_of_scaling.measurements import Measurements, TableSource
from models_of_scaling.trials import Status, Trial

TARGET = "validation_accuracy>=0.9"


def measurements(
    batch_size: Sequence[int] | np.ndarray,
    steps: Sequence[float] | np.ndarray,
    *,
    cap: float = np.inf,
    grid: float | None = None,
) -> Measurements:
    """Rows of a table; those above `cap` are censored there, a `grid` is the evaluation's."""
    steps = np.asarray(steps, dtype=float)
    reached = steps <= cap
    steps = np.where(reached, steps, cap)
    low = steps if grid is None else np.where(reached, np.floor(steps / grid) * grid, steps)
    high = np.where(reached, steps if grid is None else low + grid, np.inf)
    return Measurements(
        batch_size=np.asarray(batch_size, dtype=np.int64),
        steps=np.where(reached, high, steps),
        reached=reached,
        steps_low=low,
        steps_high=high,
        weight=np.ones(len(steps)),
        group=np.full(len(steps), ""),
        workload="",
        source=TableSource(path="simulated", kind="table", sha256="", num_rows=len(steps)),
    )


def noisy_rows(
    law: Law, sizes: np.ndarray, rng: np.random.Generator, *, seeds: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    """Batch sizes and steps with 3 % noise from tuning and 5 % from seeds."""
    batch_size = np.repeat(sizes, seeds)
    tuning = np.repeat(0.03 * rng.standard_normal(len(sizes)), seeds)
    log_noise = tuning + 0.05 * rng.standard_normal(len(batch_size))
    return batch_size, law.steps_to_target(batch_size) * np.exp(log_noise)


def trial(
    *,
    batch_size: int = 8,
    curve: Sequence[tuple[int, float]] = ((10, 0.5), (20, 0.95)),
    status: Status = "reached",
    phase: str = "search",
    learning_rate: float = 0.1,
    seed: int = 0,
    workload: str = "digits",
    optimizer: str = "sgd",
    steps: int | None = None,
    target: str = TARGET,
) -> Trial:
    """One trial with a curve of (step, validation accuracy)."""
    done = curve[-1][0] if steps is None and curve else steps or 0
    nothing = [float("nan")] * len(curve)
    return Trial(
        study="simulated",
        phase=phase,
        workload=workload,
        dataset="digits",
        num_train_examples=1437,
        model="mlp",
        num_parameters=100,
        optimizer=optimizer,
        hyper_parameters={"learning_rate": learning_rate, "momentum": 0.9},
        settings={"schedule": "constant"},
        batch_size=batch_size,
        seed=seed,
        target=target,
        status=status,
        steps=done,
        examples=done * batch_size,
        wall_time_s=1.0,
        curve_steps=[step for step, _ in curve],
        curve_train_loss=nothing,
        curve_validation_loss=nothing,
        curve_validation_accuracy=[value for _, value in curve],
        commit="0" * 40,
        dirty=False,
        versions={"numpy": "2"},
        device="cpu",
        start_time=datetime(2026, 1, 1, tzinfo=UTC),
    )


def curve_reaching(steps: float, *, every: int, cap: int) -> tuple[list[tuple[int, float]], bool]:
    """Evaluations every so many steps up to the first at or after `steps`, or to the cap."""
    points = [(step, 0.5) for step in range(every, cap + 1, every) if step < steps]
    last = len(points) * every + every
    if last <= cap:
        return [*points, (last, 0.95)], True
    return points, False


def study_trials(
    law: Law,
    sizes: Sequence[int],
    rng: np.random.Generator,
    *,
    searched: int = 32,
    repeats: int = 3,
    cap_factor: float = 6.0,
) -> list[Trial]:
    """A sweep by the project's protocol: a search at each batch size, its best run again.

    A configuration's own factor is exp(|z|), 1 at best; each seed multiplies by 4 % noise.
    """
    found = []
    for size in sizes:
        truth = float(law.steps_to_target(size))
        every, cap = max(round(truth / 50), 1), round(cap_factor * truth)
        rates = rng.uniform(0.01, 1.0, searched)
        factors = np.exp(np.abs(rng.standard_normal(searched)) * 0.6)
        values = truth * factors * np.exp(0.04 * rng.standard_normal(searched))
        runs = [(value, "search", rate, 0) for value, rate in zip(values, rates, strict=True)]
        best = int(np.argmin(values))
        again = truth * factors[best] * np.exp(0.04 * rng.standard_normal(repeats))
        runs += [(v, "repeat", rates[best], 100 + i) for i, v in enumerate(again)]
        for value, phase, rate, seed in runs:
            curve, reached = curve_reaching(value, every=every, cap=cap)
            found.append(
                trial(
                    batch_size=size, curve=curve, phase=phase, learning_rate=float(rate),
                    seed=seed, status="reached" if reached else "not_reached",
                )
            )  # fmt: skip
    return found

"""Whole studies with a known truth: simulated, fitted and asked, in processes of their own.

A module beside the tests, because a spawned process has to find it by name. A study's random
numbers depend on its number alone, so neither the count of processes nor their order matters.
"""

import multiprocessing
import os
import warnings
from collections.abc import Callable, Generator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np

from models_of_scaling.families import FAMILIES, LawFamily
from models_of_scaling.fit_record import FitRecord
from models_of_scaling.gaussian_process import covariance
from models_of_scaling.intervals import weighted_quantile
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.laws import Law, LawName
from models_of_scaling.measurements import Measurements, TableSource
from models_of_scaling.mixture import mixed
from models_of_scaling.noise import NOISE_SIZES, NoiseKnowledge, misfit_beyond
from models_of_scaling.prediction import predict
from models_of_scaling.priors import log_prior_of_critical_batch_size

LEVEL = 0.9
TIMES = (1, 2, 4)  # the largest batch size
_BATCH = 25  # studies per task of a process


@dataclass(frozen=True, kw_only=True)
class Study:
    """How one study is simulated and fitted.

    Attributes:
        law: the truth.
        laws: that are fitted; empty for the averaged ones.
        sizes: batch sizes.
        seeds: rows at each.
        tuning_noise: of each batch size's search, in logs, as a standard deviation.
        seed_noise: of each row.
        bad_factor: by which one batch size, another in every study, has more steps.
        deviation: amplitude of a Gaussian process about the law, in logs.
    """

    law: Law
    laws: tuple[LawName, ...] = ()
    sizes: tuple[int, ...] = tuple(2**k for k in range(3, 12))
    seeds: int = 3
    tuning_noise: float = 0.03
    seed_noise: float = 0.05
    bad_factor: float = 1.0
    deviation: float = 0.0


# What was asked of one study: whether its interval held the truth, and high / low.
Answers = dict[str, tuple[bool, float]]


@contextmanager
def processes() -> Generator[ProcessPoolExecutor, None, None]:
    """Two fresh ones, of one thread each, in which a warning is an error."""
    context = multiprocessing.get_context("spawn")
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with (
        mock.patch.dict(os.environ, one_thread),
        ProcessPoolExecutor(2, mp_context=context, initializer=_no_warnings) as pool,
    ):
        yield pool


def _no_warnings() -> None:
    warnings.simplefilter("error")


def run_all(
    pool: ProcessPoolExecutor, ask: Callable[[Any, int], Answers], study: Any, count: int
) -> list[Answers]:
    """Run so many studies; `ask` is one of the two functions below."""
    tasks = [
        pool.submit(_run_some, ask, study, range(start, min(start + _BATCH, count)))
        for start in range(0, count, _BATCH)
    ]
    return [answers for task in tasks for answers in task.result()]


def _run_some(ask: Callable[[Any, int], Answers], study: Any, numbers: range) -> list[Answers]:
    return [ask(study, number) for number in numbers]


def rows_of(batch_size: np.ndarray, steps: np.ndarray) -> Measurements:
    """Rows of a table that all reached the target."""
    count = len(steps)
    return Measurements(
        batch_size=batch_size.astype(np.int64),
        steps=steps,
        reached=np.ones(count, dtype=bool),
        steps_low=steps,
        steps_high=steps,
        weight=np.ones(count),
        group=np.full(count, ""),
        workload="",
        source=TableSource(path="simulated", kind="table", sha256="", num_rows=count),
    )


def fit_of(rows: Measurements, laws: tuple[LawName, ...], number: int, draws: int) -> FitRecord:
    """Fit; without rolling-origin scores where they can't matter: one law alone has weight 1."""
    choice = FitChoice(laws=laws, replicates=draws, level=LEVEL, seed=number, scored=len(laws) != 1)
    return fit_laws(rows, choice)


def ask_study(study: Study, number: int) -> Answers:
    """Simulate a study, fit it, and look what its intervals hold.

    Asked are the parameters, each with its own interval (B_crit's over all laws for an averaged
    fit); what a new study measures; the same where the law itself errs beyond the rows by as much
    as a prediction allows for; and the curve, by the draws alone.
    """
    rng = np.random.default_rng([number, 7])
    largest = study.sizes[-1]
    sizes = np.array([*study.sizes, *(times * largest for times in TIMES)], dtype=float)
    truth = np.log(study.law.steps_to_target(sizes))
    if study.deviation:
        at = np.log(sizes)
        together = covariance(at, study.deviation, 2.8)
        truth += rng.multivariate_normal(np.zeros(len(at)), together, method="eigh")
    found = truth + study.tuning_noise * rng.standard_normal(len(sizes))
    found[rng.integers(len(study.sizes))] += np.log(study.bad_factor)
    log_rows = found[:, None] + study.seed_noise * rng.standard_normal((len(sizes), study.seeds))
    known = len(study.sizes)
    rows = rows_of(np.repeat(sizes[:known], study.seeds), np.exp(log_rows[:known]).ravel())
    fit = fit_of(rows, study.laws, number, 100)
    answers: Answers = {}
    for name, value in vars(study.law).items():
        interval = fit.best.parameters.get(name) if study.laws else None
        if name == "critical_batch_size" and not study.laws:
            interval = fit.critical_batch_size
        if interval is not None and not study.deviation:
            width = interval.high / interval.low if interval.is_bounded else np.inf
            answers[name] = interval.holds(value), width
    asked = predict(fit, [times * largest for times in TIMES])
    for times, answer, log_truth, log_new in zip(
        TIMES, asked, truth[known:], log_rows[known:].mean(axis=1), strict=True
    ):
        interval = answer.steps
        width = interval.high / interval.low
        answers[f"{times}x"] = interval.holds(np.exp(log_new)), width
        if times > 1:
            off = misfit_beyond(np.log(times)) * rng.standard_normal()
            answers[f"{times}x, law off"] = interval.holds(np.exp(log_new + off)), width
        low, high = curve_interval(fit, times * largest)
        answers[f"curve at {times}x"] = bool(low <= np.exp(log_truth) <= high), high / low
    return answers


def curve_interval(fit: FitRecord, batch_size: float, level: float = LEVEL) -> tuple[float, float]:
    """Return where the draws of S(B) lie, without the noise of a new study."""
    values, weights = mixed(fit.laws, lambda law: law.replicate_steps(batch_size))
    low, high = weighted_quantile(values, weights, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def ask_prior_study(name: LawName, number: int) -> Answers:
    """Draw a truth from the priors themselves, a study from it, and look what its draws hold.

    Everything is as the posterior assumes: the shape from the prior, the noise's size from the
    prior (on the posterior's own grid), one row per batch size with Student's t about the law.
    Asked are the quantiles of the draws, not intervals that are opened where rows tell nothing.
    """
    family = FAMILIES[name]
    rng = np.random.default_rng([number, 11, list(FAMILIES).index(name)])
    sizes = 2.0 ** np.arange(3, 14)  # of which the last three are asked for
    known = len(sizes) - 3
    reference = float(np.exp(np.log(sizes[:known]).mean()))
    x_N = np.log(sizes / reference)
    theta_RP = _prior_truth(family, rng, float(x_N[known - 1]), np.log(reference))
    theta_RP[:, :2] += np.log(1000.0)
    truth = family.log_steps(theta_RP, x_N)[0][0]
    odds = np.exp(NoiseKnowledge().log_probability(NOISE_SIZES))
    noise = float(rng.choice(NOISE_SIZES, p=odds / odds.sum()))
    measured = truth[:known] + noise * rng.standard_t(4, known)
    fit = fit_of(rows_of(sizes[:known], np.exp(measured)), (name,), number, 200)
    answers: Answers = {}
    natural = dict(zip(family.parameter_names, family.natural(theta_RP, reference)[0], strict=True))
    for parameter, value in natural.items():
        _hold(answers, parameter, np.array(fit.best.replicates[parameter]), float(value))
    predictions = predict(fit, [int(size) for size in sizes[known - 1 :]])
    for times, answer, log_truth, size in zip(
        (1, 2, 4, 8), predictions, truth[known - 1 :], sizes[known - 1 :], strict=True
    ):
        _hold(
            answers, f"curve at {times}x", fit.best.replicate_steps(size), float(np.exp(log_truth))
        )
        steps, off = answer.steps, noise * rng.standard_t(4)
        answers[f"{times}x"] = steps.holds(np.exp(log_truth + off)), steps.high / steps.low
    return answers


def _prior_truth(
    family: LawFamily, rng: np.random.Generator, x_last: float, log_reference: float
) -> np.ndarray:
    """Return log parameters (1, P) with S_min = 1, as likely as all priors together say."""
    while True:
        deviates = rng.standard_normal(len(family.prior_mean_K))
        for place, degrees in enumerate(family.prior_degrees_K):
            if np.isfinite(degrees):
                deviates[place] *= np.sqrt(degrees / rng.chisquare(degrees))
        shape_K = family.prior_mean_K + family.prior_sd_K * deviates
        theta_RP = family.theta_of_shape(shape_K[None], x_last)
        log_critical = family.log_critical(theta_RP)
        if log_critical is None:
            return theta_RP
        log_odds = log_prior_of_critical_batch_size(log_critical + log_reference)[0]
        if rng.uniform() < np.exp(log_odds):
            return theta_RP


def _hold(answers: Answers, name: str, draws_R: np.ndarray, truth: float) -> None:
    """Note whether the middle 90 % and 50 % of the draws hold the truth."""
    for share in (0.9, 0.5):
        ends = [(1 - share) / 2, (1 + share) / 2]
        low, high = weighted_quantile(draws_R, np.ones_like(draws_R), ends)
        answers[f"{name} {share:.0%}"] = bool(low <= truth <= high), float(high / low)

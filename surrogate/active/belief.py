"""What is believed before a measurement and after it: posterior draws, weighed anew.

Source: Lindley 1956, Annals of Mathematical Statistics 27:986, and Chaloner & Verdinelli 1995,
Statistical Science 10:273: the worth of an experiment is the expected utility of the posterior
that it will leave, over what it may measure. Here the utility is minus the log width of the asked
interval. A possible outcome y is drawn from the predictive distribution, each draw r of the laws
gets the weight w_r p(y | r), and the weighted quantiles of the quantity give the width:

    gain = width(w) - E_y width(w p(y | .))

Differs from the source: the utility is an interval's width, not entropy or a variance.

Shapes: R = draws, K = possible outcomes, C = batch sizes that could be measured, M = batch sizes
that an action measures.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import ndtri

from models_of_scaling.fit_record import FitRecord
from models_of_scaling.mixture import mixed
from models_of_scaling.noise import (
    OUTLIER_DEGREES,
    log_deviation_density,
    log_probability_below,
)
from models_of_scaling.quantities import Floats
from surrogate.active.question import Question

_OUTCOMES: Final = 48


@dataclass(frozen=True, kw_only=True, eq=False)
class Belief:
    """Draws of the laws with what each says.

    Attributes:
        log_value_R: log of the asked quantity.
        weight_R: sums to 1.
        log_steps_RC: log steps to target at each batch size.
        noise_R: size of the noise of a batch size's mean log steps.
        level: of the interval.
    """

    log_value_R: Floats
    weight_R: Floats
    log_steps_RC: Floats
    noise_R: Floats
    level: float

    @property
    def log_width(self) -> float:
        """Log of high over low of the quantity's interval now."""
        return float(self.log_widths(self.weight_R[None])[0])

    def log_widths(self, weights: Floats) -> Floats:
        """Return the log width of the interval under other weights.

        Args:
            weights: (K, R), one row of weights each.

        Returns:
            (K,). Between two draws the quantile is interpolated: a width must not jump because
            one draw lost a thousandth of its weight.
        """
        order = np.argsort(self.log_value_R)
        value, running = self.log_value_R[order], np.cumsum(weights[:, order], axis=1)
        middle = running - 0.5 * weights[:, order]
        tail = (1 - self.level) / 2
        return np.array([
            np.interp((1 - tail) * total, each, value) - np.interp(tail * total, each, value)
            for each, total in zip(middle, running[:, -1], strict=True)
        ])


def belief_of(fit: FitRecord, question: Question, batch_sizes: tuple[int, ...]) -> Belief:
    """Return what a fit believes.

    Args:
        fit: the record.
        question: what is asked.
        batch_sizes: that could be measured, C.
    """
    laws = question.laws(fit)
    log_value_R, weight_R = question.log_values(fit)

    def steps_at(size: int) -> Floats:
        return mixed(laws, lambda law: law.replicate_steps(size))[0]

    columns = [steps_at(size) for size in batch_sizes]
    return Belief(
        log_value_R=log_value_R,
        weight_R=weight_R,
        log_steps_RC=np.log(np.stack(columns, axis=1)),
        noise_R=mixed(laws, lambda law: law.noise_of_draws)[0],
        level=fit.level,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Experiment:
    """What an action would measure.

    Attributes:
        log_steps_RM: what each draw says of each batch size measured.
        noise_RM: size of the measurement's noise about it.
        log_budgets: log steps of a run's budget: a mean above it is only known to be above.
    """

    log_steps_RM: Floats
    noise_RM: Floats
    log_budgets: Floats


def expected_log_width(belief: Belief, experiment: Experiment, *, seed: int) -> float:
    """Return the log width to be expected after an experiment.

    Args:
        belief: before it.
        experiment: what is measured.
        seed: of the possible outcomes; actions compared by one seed differ by the action alone.

    Returns:
        The mean over possible outcomes.
    """
    rng = np.random.default_rng(seed)
    # Even steps through the draws' weights: fewer outcomes than independent ones would need.
    even = (rng.permutation(_OUTCOMES) + rng.uniform()) / _OUTCOMES
    truth_K = np.searchsorted(np.cumsum(belief.weight_R), even * belief.weight_R.sum())
    truth_K = np.minimum(truth_K, len(belief.weight_R) - 1)
    deviates = rng.standard_t(OUTLIER_DEGREES, size=(_OUTCOMES, 64))
    log_weights = np.log(np.maximum(belief.weight_R, 1e-300))[None] + np.zeros((_OUTCOMES, 1))
    for place, log_budget in enumerate(experiment.log_budgets):
        mu_R, noise_R = experiment.log_steps_RM[:, place], experiment.noise_RM[:, place]
        y_K = mu_R[truth_K] + noise_R[truth_K] * deviates[:, place % 64]
        seen = log_deviation_density((y_K[:, None] - mu_R) / noise_R) - np.log(noise_R)
        above_R = log_probability_below((mu_R - log_budget) / noise_R)
        log_weights += np.where((y_K > log_budget)[:, None], above_R, seen)
    log_weights -= log_weights.max(axis=1, keepdims=True)
    return float(belief.log_widths(np.exp(log_weights)).mean())


def with_misfit(log_width: float, misfit: float, level: float) -> float:
    """Return a log width that also holds what a law may be wrong by.

    Args:
        log_width: by the draws.
        misfit: standard deviation, normal and independent of the draws.
        level: of the interval.
    """
    return math.hypot(log_width, 2 * float(ndtri((1 + level) / 2)) * misfit)

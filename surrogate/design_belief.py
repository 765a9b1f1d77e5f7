"""What is believed before a measurement and after it: posterior draws, weighed anew.

Source: Lindley 1956, Annals of Mathematical Statistics 27:986, and Chaloner & Verdinelli 1995,
Statistical Science 10:273: the worth of an experiment is the expected utility of the posterior
that it will leave, over what it may measure. Here the utility is minus the log width of the asked
interval. A possible outcome y is drawn from the predictive distribution, each draw j of the laws
gets the weight w_j p(y | j), and the weighted quantiles of the quantity give the width:

    gain = width(w) - E_y width(w p(y | .))

Differs from the source: the utility is an interval's width, not entropy or a variance.

Shapes: J = draws, M = possible outcomes, C = batch sizes that could be measured, A = batch sizes
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
from surrogate.design_question import Question

_OUTCOMES: Final = 48


@dataclass(frozen=True, kw_only=True, eq=False)
class Belief:
    """Draws of the laws with what each says.

    Attributes:
        log_value_J: log of the asked quantity.
        weight_J: sums to 1.
        log_steps_JC: log steps to target at each batch size.
        noise_J: size of the noise of a batch size's mean log steps.
        level: of the interval.
    """

    log_value_J: Floats
    weight_J: Floats
    log_steps_JC: Floats
    noise_J: Floats
    level: float

    @property
    def log_width(self) -> float:
        """Log of high over low of the quantity's interval now."""
        return float(self.log_widths(self.weight_J[None])[0])

    def log_widths(self, weight_MJ: Floats) -> Floats:
        """Return the log width of the interval under other weights.

        Args:
            weight_MJ: one row of weights each.

        Returns:
            (M,). Between two draws the quantile is interpolated: a width must not jump because
            one draw lost a thousandth of its weight.
        """
        order = np.argsort(self.log_value_J)
        value, running = self.log_value_J[order], np.cumsum(weight_MJ[:, order], axis=1)
        middle = running - 0.5 * weight_MJ[:, order]
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
    log_value_J, weight_J = question.log_values(fit)
    columns = [
        mixed(laws, lambda law, size=size: law.replicate_steps(size))[0] for size in batch_sizes
    ]
    return Belief(
        log_value_J=log_value_J,
        weight_J=weight_J,
        log_steps_JC=np.log(np.stack(columns, axis=1)),
        noise_J=mixed(laws, lambda law: law.noise_of_draws)[0],
        level=fit.level,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Experiment:
    """What an action would measure.

    Attributes:
        log_steps_JA: what each draw says of each batch size measured.
        noise_JA: size of the measurement's noise about it.
        log_budget_A: log steps of a run's budget: a mean above it is only known to be above.
    """

    log_steps_JA: Floats
    noise_JA: Floats
    log_budget_A: Floats


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
    truth_M = np.searchsorted(np.cumsum(belief.weight_J), even * belief.weight_J.sum())
    truth_M = np.minimum(truth_M, len(belief.weight_J) - 1)
    deviates = rng.standard_t(OUTLIER_DEGREES, size=(_OUTCOMES, 64))
    log_weight_MJ = np.log(np.maximum(belief.weight_J, 1e-300))[None] + np.zeros((_OUTCOMES, 1))
    for place, log_budget in enumerate(experiment.log_budget_A):
        mu_J, noise_J = experiment.log_steps_JA[:, place], experiment.noise_JA[:, place]
        y_M = mu_J[truth_M] + noise_J[truth_M] * deviates[:, place % 64]
        seen_MJ = log_deviation_density((y_M[:, None] - mu_J) / noise_J) - np.log(noise_J)
        above_J = log_probability_below((mu_J - log_budget) / noise_J)
        log_weight_MJ += np.where((y_M > log_budget)[:, None], above_J, seen_MJ)
    log_weight_MJ -= log_weight_MJ.max(axis=1, keepdims=True)
    return float(belief.log_widths(np.exp(log_weight_MJ)).mean())


def with_misfit(log_width: float, misfit: float, level: float) -> float:
    """Return a log width that also holds what a law may be wrong by.

    Args:
        log_width: by the draws.
        misfit: standard deviation, normal and independent of the draws.
        level: of the interval.
    """
    return math.hypot(log_width, 2 * float(ndtri((1 + level) / 2)) * misfit)

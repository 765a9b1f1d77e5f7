"""Draws of steps to target by batch size, to be paired with draws of a step's time."""

import numpy as np

from models_of_scaling.fit_record import FitRecord
from models_of_scaling.mixture import mixed
from models_of_scaling.prediction import estimated_steps, predictive_draws
from models_of_scaling.quantities import Floats


class StepsDraws:
    """Draws of steps to target by batch size, with weights, in one order for all batch sizes."""

    def __init__(self, fit: FitRecord, *, seed: int) -> None:
        """Pair each draw of the laws with a draw of the step's time.

        Args:
            fit: the record.
            seed: of the pairing.
        """
        self._fit = fit
        self._rng_seed = seed
        self._estimates: dict[int, float] = {}
        self._values: dict[int, tuple[Floats, Floats]] = {}

    def estimate(self, batch_size: int) -> float:
        """Return the estimated steps, as `prediction` has them."""
        if batch_size not in self._estimates:
            self._estimates[batch_size] = estimated_steps(self._fit, batch_size)
        return self._estimates[batch_size]

    def predictive(self, batch_size: int) -> tuple[Floats, Floats]:
        """Return draws of what a new study would measure, and their weights."""
        if batch_size not in self._values:
            self._values[batch_size] = predictive_draws(self._fit, batch_size)
        return self._values[batch_size]

    def certain(self, batch_size: int) -> tuple[Floats, Floats]:
        """Return draws of the law alone, without a new study's noise, and their weights."""
        return mixed(self._fit.laws, lambda law: law.replicate_steps(batch_size))

    def paired(self, seconds_R: Floats, count: int) -> Floats:
        """Return draws of a step's time in the order of the draws of steps, shuffled once.

        Args:
            seconds_R: draws of the time.
            count: draws of steps.
        """
        shuffled = np.random.default_rng(self._rng_seed).permutation(count)
        return np.resize(seconds_R, count)[shuffled]

"""Draws of steps to target by batch size, to be paired with draws of a step's time."""

from typing import Final

import numpy as np
from scipy.special import ndtri

from models_of_scaling.fit_record import FitRecord, FittedLaw
from models_of_scaling.mixture import mixed
from models_of_scaling.prediction import estimated_steps
from models_of_scaling.quantities import Floats

# Equally likely normal deviates for the noise of a new study, as in `prediction`.
_DEVIATES: Final = ndtri((np.arange(16) + 0.5) / 16)


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

            def of_law(law: FittedLaw) -> Floats:
                noise_R = np.array(law.replicates["noise"])
                steps_R = law.replicate_steps(batch_size)
                return np.asarray(steps_R[:, None] * np.exp(noise_R[:, None] * _DEVIATES))

            self._values[batch_size] = mixed(self._fit.laws, of_law)
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

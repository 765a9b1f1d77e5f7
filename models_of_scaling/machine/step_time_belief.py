"""What is believed about the time of a step, from measured throughput or from a data sheet.

Both answer alike: an estimate, and draws that differ in the parameters and in the misfit of the
model. A draw's misfit is the same at every placement, so that a comparison of two placements does
not drown in it.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from models_of_scaling.machine.cluster import Placement, Roofline, StepTime
from models_of_scaling.machine.step_time_fit import NUM_DRAWS, StepTimeFit
from models_of_scaling.quantities import Floats

_NINETY_PERCENT: Final = 1.6448536269514722  # a normal deviate exceeds it in 5 % of cases


@dataclass(frozen=True, kw_only=True)
class StepTimeBelief:
    """A model of the step's time with its uncertainty.

    Attributes:
        point: the most likely one.
        draws: with arrays of R draws, or the point itself where only the misfit is uncertain.
        log_misfit: log of real over modelled time, shape (R,).
        fit: of measured throughput; None for a data sheet.
        roofline: the data sheet; None for measured throughput.
    """

    point: StepTime
    draws: StepTime
    log_misfit: Floats
    fit: StepTimeFit | None = None
    roofline: Roofline | None = None

    def seconds(self, placement: Placement) -> tuple[float, Floats]:
        """Return the estimated seconds per step and draws of it, shape (R,).

        Args:
            placement: of the batch.
        """
        drawn = self.draws.parts(placement).total_s * np.exp(self.log_misfit)
        return float(self.point.parts(placement).total_s), np.asarray(drawn)

    def notes(self, placement: Placement) -> tuple[str, ...]:
        """Return in what a placement lies beyond what was measured.

        Args:
            placement: of the batch.
        """
        return self.fit.extrapolation(placement) if self.fit else ()


def belief_from_fit(fit: StepTimeFit, *, seed: int) -> StepTimeBelief:
    """Return the belief after a fit.

    Args:
        fit: of measured throughput.
        seed: of the misfits.
    """
    deviates = np.random.default_rng(seed).standard_normal(len(fit.noise))
    return StepTimeBelief(
        point=fit.point, draws=fit.draws, log_misfit=fit.noise * deviates, fit=fit
    )


def belief_from_roofline(
    roofline: Roofline, point: StepTime, *, error_factor: float, seed: int
) -> StepTimeBelief:
    """Return the belief after reading a data sheet.

    Args:
        roofline: of the device.
        point: of the cluster.
        error_factor: 90 % of real times lie within this factor of the modelled one.
        seed: of the misfits.

    Raises:
        ValueError: for a factor below 1.
    """
    if not 1 <= error_factor < math.inf:
        raise ValueError(f"error_factor {error_factor} must be at least 1")
    deviates = np.random.default_rng(seed).standard_normal(NUM_DRAWS)
    return StepTimeBelief(
        point=point,
        draws=point,
        log_misfit=math.log(error_factor) / _NINETY_PERCENT * deviates,
        roofline=roofline,
    )

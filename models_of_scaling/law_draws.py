"""Draws of any law, whatever is behind it: a family's parameters, or a Gaussian process around one.

Shapes: C = batch sizes (cells), P = parameters, R = draws, M = places asked for.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from models_of_scaling.families import FAMILIES, LawFamily
from models_of_scaling.gaussian_process import Deviation, Kernel, fit_kernel
from models_of_scaling.laws import LawName
from models_of_scaling.noise import NoiseKnowledge
from models_of_scaling.posterior import draw_posterior
from models_of_scaling.process_draws import draw_process
from models_of_scaling.quantities import Floats
from models_of_scaling.study_rows import CellMeans

GAUSSIAN_PROCESS: Final = "gaussian_process"
_MEAN_LAW: Final = "hyperbola"
# Draws of the mean law per draw of the process, which uses some often and others never.
_MEANS_PER_DRAW: Final = 3


@dataclass(frozen=True, kw_only=True)
class LawDraws:
    """Draws of a law.

    Attributes:
        family: of the parameters.
        theta_RP: log parameters, in the family's own form.
        noise_R: noise size of each draw.
        log_evidence: log marginal likelihood of the rows.
        deviation: of the Gaussian process, in log of batch size over the reference one; or None.
    """

    family: LawFamily
    theta_RP: Floats
    noise_R: Floats
    log_evidence: float
    deviation: Deviation | None = None

    def log_steps(self, x: float) -> Floats:
        """Return log S of each draw at a log batch size over the reference one, (R,)."""
        log_steps = self.family.log_steps(self.theta_RP, np.array([x]))[0][:, 0]
        if self.deviation is not None:
            log_steps = log_steps + self.deviation.log_factor(np.exp([x]))[:, 0]
        return np.asarray(log_steps)


def family_of(name: LawName) -> LawFamily:
    """Return the family whose parameters a law has."""
    return FAMILIES[_MEAN_LAW if name == GAUSSIAN_PROCESS else name]


def draw_law(
    name: LawName,
    cells: CellMeans,
    noise: NoiseKnowledge,
    theta_P: Floats,
    count: int,
    rng: np.random.Generator,
) -> LawDraws:
    """Draw a law from its posterior.

    Args:
        name: of the law.
        cells: the data.
        noise: what is known of its size.
        theta_P: log parameters of the point fit.
        count: R.
        rng: source of randomness.

    Returns:
        The draws.
    """
    family = family_of(name)
    if name != GAUSSIAN_PROCESS:
        draws = draw_posterior(family, cells, noise, theta_P, count, rng)
        return LawDraws(
            family=family,
            theta_RP=draws.theta_RP,
            noise_R=draws.noise_R,
            log_evidence=draws.log_evidence,
        )
    draws = draw_posterior(family, cells, noise, theta_P, _MEANS_PER_DRAW * count, rng)
    measured = cells.take(cells.measured_C)
    residual = measured.log_steps_C - family.log_steps(draws.theta_RP, measured.x_C)[0]
    process = draw_process(measured, noise, residual, count, rng)
    return LawDraws(
        family=family,
        theta_RP=draws.theta_RP[process.law_R],
        noise_R=process.noise_R,
        log_evidence=draws.log_evidence + process.log_evidence,
        deviation=process.deviation,
    )


def kernel_about(
    family: LawFamily, cells: CellMeans, noise: NoiseKnowledge, theta_P: Floats
) -> Kernel:
    """Return the process about a point fit.

    Args:
        family: of the mean law.
        cells: the data.
        noise: what is known of its size.
        theta_P: log parameters of the point fit.
    """
    at = cells.measured_C
    mu_C = family.log_steps(theta_P[None], cells.x_C[at])[0][0]
    return fit_kernel(
        cells.x_C[at],
        cells.log_steps_C[at] - mu_C,
        smallest_noise=max(noise.variance**0.5, 0.5 * noise.size),
    )

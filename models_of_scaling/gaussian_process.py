"""The flexible law: a Gaussian process in log batch size around a law, in log steps.

    log S(B) = log S_law(B) + f(log B),   f ~ GP(0, a^2 exp(-(x - x')^2 / (2 l^2)))

(Rasmussen & Williams 2006, eqs. 2.23 and 2.24). Near the rows it follows them wherever they go, far
from them it falls back to the law with the width that a allows. Its mean law is the hyperbola. The
point fit takes the likeliest a, l and noise (scikit-learn, within bounds); the draws have their own
each, see `process_draws`.
Shapes: C = batch sizes that were measured, R = draws, M = batch sizes asked for.
"""

import dataclasses
import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from models_of_scaling.quantities import Floats

# In log batch size: 1.4 is two octaves. A shorter scale would follow the noise of neighbours, a
# longer one than 6 (nine octaves) is the law's own level again.
LENGTH_BOUNDS: Final = (1.4, 6.0)
# In log steps: from 1 % to 40 %, where a law is none.
AMPLITUDE_BOUNDS: Final = (0.01, 0.4)
_NOISE_BOUNDS: Final = (0.003, 0.8)
_START: Final = (0.1, 2.8)


# Frequencies of a draw's path. Each draw has its own evenly spread ones, so that over the draws the
# covariance is exact whatever their number.
FREQUENCIES: Final = 8


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """The likeliest process.

    Attributes:
        amplitude: a, standard deviation of the log steps about the law.
        length: l, in log batch size.
        noise: of each batch size's measured log steps.
    """

    amplitude: float
    length: float
    noise: float


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """Draws of f, each a whole smooth path.

    A path is one of the process before any row (a sum of waves with normal heights; Rahimi and
    Recht 2007) corrected by what the rows say (Matheron's rule; Wilson et al. 2020,
    arXiv:2002.09309): so also differences between batch sizes have the process's own spread.

    Attributes:
        x_C: log of the measured batch sizes.
        amplitude_R: a of each draw.
        length_R: l of each draw.
        weights_RC: (K + V)^-1 (residuals less path and noise) of each draw.
        shift_R: in [0, 1), places the frequencies of each draw's waves.
        heights: standard normal, the waves' heights, cosines and then sines; 0 for the mean.
    """

    x_C: Floats
    amplitude_R: Floats
    length_R: Floats
    weights_RC: Floats
    shift_R: Floats
    heights: Floats

    def log_factor(self, batch_size: Floats) -> Floats:
        """Return f at batch sizes (M,) or (R, M), as (R, M)."""
        x_RM = np.broadcast_to(np.log(batch_size), (len(self.length_R), np.shape(batch_size)[-1]))
        length_R = self.length_R[:, None]
        value = self.path(x_RM)
        for place, x in enumerate(self.x_C):  # C is small, and R x M x C would be large
            near = np.exp(-0.5 * ((x_RM - x) / length_R) ** 2)
            value += (self.amplitude_R**2 * self.weights_RC[:, place])[:, None] * near
        return value

    def path(self, x_RM: Floats) -> Floats:
        """Return the path before any row at log batch sizes (R, M), of that shape."""
        value = np.zeros(x_RM.shape)
        if not self.heights.any():
            return value
        scale_R = self.amplitude_R / np.sqrt(FREQUENCIES)
        for wave in range(FREQUENCIES):
            frequency_R = ndtri((wave + self.shift_R) / FREQUENCIES) / self.length_R
            angle = frequency_R[:, None] * (x_RM - self.x_C[0])
            value += (scale_R * self.heights[:, wave])[:, None] * np.cos(angle)
            value += (scale_R * self.heights[:, FREQUENCIES + wave])[:, None] * np.sin(angle)
        return value


def covariance(x: Floats, amplitude: npt.ArrayLike, length: npt.ArrayLike) -> Floats:
    """Return the covariance of f between log batch sizes (C,), shape (..., C, C).

    Args:
        x: log batch sizes.
        amplitude: a, any shape.
        length: l, of the same shape.
    """
    scale, far = (np.asarray(each, dtype=float)[..., None, None] for each in (amplitude, length))
    return np.asarray(scale**2 * np.exp(-0.5 * ((x[:, None] - x) / far) ** 2))


def mean_deviation(kernel: Kernel, x_C: Floats, residual_C: Floats) -> Deviation:
    """Return what the rows make of f on average under one kernel, as a single draw.

    Args:
        kernel: of the process.
        x_C: log of the measured batch sizes.
        residual_C: measured less the law's log steps.
    """
    matrix = covariance(x_C, kernel.amplitude, kernel.length) + kernel.noise**2 * np.eye(len(x_C))
    return Deviation(
        x_C=x_C,
        amplitude_R=np.array([kernel.amplitude]),
        length_R=np.array([kernel.length]),
        weights_RC=np.asarray(np.linalg.solve(matrix, residual_C))[None],
        shift_R=np.full(1, 0.5),
        heights=np.zeros((1, 2 * FREQUENCIES)),
    )


def draw_paths(
    x_C: Floats,
    amplitude_and_length: tuple[Floats, Floats],
    variance_RC: Floats,
    residual_RC: Floats,
    rng: np.random.Generator,
) -> Deviation:
    """Draw paths of the process given residuals.

    Args:
        x_C: log of the measured batch sizes.
        amplitude_and_length: a (R,) and l (R,) of each draw.
        variance_RC: of the noise in each draw's residuals.
        residual_RC: measured less the law's log steps.
        rng: source of randomness.

    Returns:
        The draws.
    """
    amplitude_R, length_R = amplitude_and_length
    count, cells = residual_RC.shape
    before = Deviation(
        x_C=x_C,
        amplitude_R=amplitude_R,
        length_R=length_R,
        weights_RC=np.zeros((count, cells)),
        shift_R=np.asarray(rng.uniform(size=count)),
        heights=rng.standard_normal((count, 2 * FREQUENCIES)),
    )
    off = residual_RC - before.path(np.broadcast_to(x_C, (count, cells)))
    off -= np.sqrt(variance_RC) * rng.standard_normal((count, cells))
    matrix = covariance(x_C, amplitude_R, length_R)
    matrix[:, np.arange(cells), np.arange(cells)] += variance_RC
    weights = np.asarray(np.linalg.solve(matrix, off[..., None]))[..., 0]
    return dataclasses.replace(before, weights_RC=weights)


def fit_kernel(x_C: Floats, residual_C: Floats, *, smallest_noise: float) -> Kernel:
    """Estimate amplitude, length and noise from the residuals of a law.

    Args:
        x_C: log batch sizes.
        residual_C: measured less the law's log steps.
        smallest_noise: what the measured log steps scatter by at least.

    Returns:
        The kernel of the largest marginal likelihood within bounds.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    low, high = AMPLITUDE_BOUNDS
    quiet = min(max(smallest_noise, _NOISE_BOUNDS[0]), 0.99 * _NOISE_BOUNDS[1])
    kernel = ConstantKernel(_START[0] ** 2, (low**2, high**2)) * RBF(_START[1], LENGTH_BOUNDS)
    kernel += WhiteKernel(quiet**2, (quiet**2, _NOISE_BOUNDS[1] ** 2))
    with warnings.catch_warnings():
        # Few batch sizes often want a bound: that is what the bounds are for.
        warnings.simplefilter("ignore", ConvergenceWarning)
        process = GaussianProcessRegressor(kernel).fit(x_C[:, None], residual_C)
    log_constant, log_length, log_noise = process.kernel_.theta
    return Kernel(
        amplitude=float(np.exp(0.5 * log_constant)),
        length=float(np.exp(log_length)),
        noise=float(np.exp(0.5 * log_noise)),
    )

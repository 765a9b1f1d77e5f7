"""The flexible law: a Gaussian process in log batch size around a law, in log steps.

    log S(B) = log S_law(B) + f(log B),   f ~ GP(0, a^2 exp(-(x - x')^2 / (2 l^2)))

(Rasmussen & Williams 2006, eqs. 2.23 and 2.24; scikit-learn estimates a and l by the marginal
likelihood of the law's residuals, within bounds). Near the rows it follows them wherever they go,
far from them it falls back to the law with the width that a allows. Its mean law is the hyperbola,
drawn from its posterior, so that the law's own uncertainty stays in.
Shapes: C = batch sizes that were measured, R = draws, M = batch sizes asked for.
"""

import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np

from models_of_scaling.quantities import Floats

# In log batch size: 1.4 is two octaves. A shorter scale would follow the noise of neighbours, a
# longer one than 6 (nine octaves) is the law's own level again.
_LENGTH_BOUNDS: Final = (1.4, 6.0)
# In log steps: from 1 % to 40 %, where a law is none.
_AMPLITUDE_BOUNDS: Final = (0.01, 0.4)
_NOISE_BOUNDS: Final = (0.003, 0.8)
_START: Final = (0.1, 2.8)


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """The process and where it was observed.

    Attributes:
        amplitude: a, standard deviation of the log steps about the law.
        length: l, in log batch size.
        x_C: log of the measured batch sizes.
        noise: of each one's measured log steps.
    """

    amplitude: float
    length: float
    noise: float
    x_C: tuple[float, ...]

    def covariance(self, x: Floats) -> Floats:
        """Return the covariance of f at x (...) with f at the measured batch sizes, (..., C)."""
        off = (np.asarray(x)[..., None] - np.array(self.x_C)) / self.length
        return np.asarray(self.amplitude**2 * np.exp(-0.5 * off**2))

    def _matrix(self) -> Floats:
        return np.asarray(
            self.covariance(np.array(self.x_C)) + self.noise**2 * np.eye(len(self.x_C))
        )

    def solved(self, residuals: Floats) -> Floats:
        """Return (K + V)^-1 r, of the shape of the residuals (..., C)."""
        return np.asarray(residuals @ np.linalg.inv(self._matrix()))

    def sd(self, x: Floats) -> Floats:
        """Return what is left open about f at x after the measurements, of its shape."""
        across = self.covariance(x)
        told = np.einsum("...c,cd,...d->...", across, np.linalg.inv(self._matrix()), across)
        return np.asarray(np.sqrt(np.maximum(self.amplitude**2 - told, 0.0)))


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """Draws of f: the mean that each draw's residuals give, and a deviate for what they leave open.

    A draw has one deviate for all batch sizes, so its curve is smooth and each batch size's
    distribution over the draws is the process's own.

    Attributes:
        kernel: of the process.
        weights_RC: (K + V)^-1 r of each draw's residuals.
        deviate_R: standard normal numbers; 0 for the middle.
    """

    kernel: Kernel
    weights_RC: Floats
    deviate_R: Floats

    def log_factor(self, batch_size: Floats) -> Floats:
        """Return f at batch sizes (M,) or (R, M), as (R, M)."""
        x = np.log(batch_size)
        across = self.kernel.covariance(x)
        mean = np.einsum("...mc,rc->rm" if x.ndim == 1 else "rmc,rc->rm", across, self.weights_RC)
        return np.asarray(mean + self.kernel.sd(x) * self.deviate_R[:, None])


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

    low, high = _AMPLITUDE_BOUNDS
    quiet = min(max(smallest_noise, _NOISE_BOUNDS[0]), 0.99 * _NOISE_BOUNDS[1])
    kernel = ConstantKernel(_START[0] ** 2, (low**2, high**2)) * RBF(_START[1], _LENGTH_BOUNDS)
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
        x_C=tuple(x_C.tolist()),
    )

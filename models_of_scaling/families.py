"""The laws as the fitter sees them: log steps and derivatives in log parameters, in one batch.

Shapes: R = replicates, N = rows, P = parameters of the law.

Both laws are log S = log(exp(t0) + exp(t1 - alpha x)), with x = log(B / B_ref) for a reference
batch size in the middle of the data, t0 = log S_min, t1 the log of the part that falls with B at
x = 0, and t2 = log alpha (fixed at 0 for the hyperbola). Referring x to the middle makes t1 and
t2 nearly independent. To add a law, write one more class with these members and name it in
`FAMILIES` and in `laws.LawName`.
"""

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from models_of_scaling.laws import Hyperbola, Law, LawName, PowerWithFloor
from models_of_scaling.quantities import Floats

# Theory: one constant noise scale gives alpha = 1 (McCandlish et al. 2018); 90 % of this prior
# is alpha in 0.61 .. 1.64, which holds the slopes that Shallue et al. 2019 (arXiv:1811.03600)
# call perfect scaling or close to it. It only matters where the rows hardly tell the exponent:
# its weight against n rows of noise sigma is sigma^2, nothing at all for noise-free data.
LOG_EXPONENT_PRIOR_SD: Final = 0.3

# Below this share of S at the largest batch size a floor cannot be told from none, and a falling
# part cannot be told from none at the smallest; parameters stay inside so that no start runs away.
NEGLIGIBLE_SHARE: Final = 1e-3
_SMALLEST_SHARE: Final = 1e-5


class LawFamily(Protocol):
    """One law with free parameters, in the fitter's log parameters."""

    @property
    def name(self) -> LawName:
        """The law's name."""

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the natural parameters, P of them."""

    @property
    def prior_sd_P(self) -> Floats:
        """Standard deviation of the normal prior (mean 0) on each log parameter; inf for none."""

    def log_steps(self, theta_RP: Floats, x_N: Floats) -> tuple[Floats, Floats]:
        """Return log S of shape (R, N) and its derivatives of shape (R, N, P)."""

    def starts(self, log_steps_RN: Floats, x_N: Floats) -> Floats:
        """Return K starting points, of shape (K, R, P); rows that do not count are NaN."""

    def bounds(self, log_steps_RN: Floats, x_N: Floats) -> tuple[Floats, Floats]:
        """Return the smallest and the largest log parameters that are told apart, each (R, P)."""

    def natural(self, theta_RP: Floats, reference_batch_size: float) -> Floats:
        """Return the natural parameters, of shape (R, P)."""

    def law(self, natural_P: Floats) -> Law:
        """Return the law with these natural parameters."""


@dataclass(frozen=True, kw_only=True)
class PowerFamily:
    """The hyperbola (fixed exponent) and the power law with floor (free exponent).

    Attributes:
        name: the law's name.
        free_exponent: whether alpha is fitted, else 1.
    """

    name: LawName
    free_exponent: bool

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the natural parameters."""
        names = ("min_steps", "critical_batch_size", "exponent")
        return names if self.free_exponent else names[:2]

    @property
    def prior_sd_P(self) -> Floats:
        """Standard deviation of the prior on each log parameter; inf for none."""
        sd = np.array([np.inf, np.inf, LOG_EXPONENT_PRIOR_SD])
        return sd if self.free_exponent else sd[:2]

    def log_steps(self, theta_RP: Floats, x_N: Floats) -> tuple[Floats, Floats]:
        """Return log S (R, N) and its derivatives (R, N, P) in the log parameters."""
        floor, fall = theta_RP[:, 0:1], theta_RP[:, 1:2]
        alpha = np.exp(theta_RP[:, 2:3]) if self.free_exponent else np.ones_like(floor)
        slope_RN = alpha * x_N
        mu_RN = np.logaddexp(floor, fall - slope_RN)
        floor_share_RN = np.exp(floor - mu_RN)
        fall_share_RN = np.exp(fall - slope_RN - mu_RN)
        columns = [floor_share_RN, fall_share_RN]
        if self.free_exponent:
            columns.append(-fall_share_RN * slope_RN)
        return mu_RN, np.stack(columns, axis=-1)

    def starts(self, log_steps_RN: Floats, x_N: Floats) -> Floats:
        """Return starting points (K, R, P): floors that are a share of the fewest steps seen."""
        lowest_R, first_R, x_first_R = _ends(log_steps_RN, x_N)
        points = []
        for share, log_alpha in (
            (0.3, 0.0), (0.9, 0.0), (0.02, 0.0), (0.3, -0.5), (0.6, 0.4),
        )[: 5 if self.free_exponent else 3]:  # fmt: skip
            rest_R = np.exp(first_R - lowest_R) - share  # positive: first is not below lowest
            fall_R = lowest_R + np.log(rest_R) + np.exp(log_alpha) * x_first_R
            point = [lowest_R + np.log(share), fall_R, np.full_like(fall_R, log_alpha)]
            points.append(np.stack(point[: 3 if self.free_exponent else 2], axis=-1))
        return np.stack(points)

    def bounds(self, log_steps_RN: Floats, x_N: Floats) -> tuple[Floats, Floats]:
        """Return the box (R, P), (R, P) of log parameters."""
        lowest_R, first_R, x_first_R = _ends(log_steps_RN, x_N)
        tiny = np.log(_SMALLEST_SHARE)
        # exp(-1.6) .. exp(1.1): five prior standard deviations down, four up.
        low_alpha, high_alpha = -1.6, 1.1
        fall_at_1 = first_R + x_first_R
        low = [
            lowest_R + tiny,
            lowest_R + tiny - 3 * np.abs(x_first_R),
            np.full_like(lowest_R, low_alpha),
        ]
        high = [
            first_R + 1,
            fall_at_1 + 3 * np.abs(x_first_R) + 2,
            np.full_like(lowest_R, high_alpha),
        ]
        count = 3 if self.free_exponent else 2
        return np.stack(low[:count], axis=-1), np.stack(high[:count], axis=-1)

    def natural(self, theta_RP: Floats, reference_batch_size: float) -> Floats:
        """Return S_min, B_crit and, where free, alpha, of shape (R, P)."""
        log_alpha_R = theta_RP[:, 2] if self.free_exponent else np.zeros(len(theta_RP))
        ratio_R = (theta_RP[:, 1] - theta_RP[:, 0]) / np.exp(log_alpha_R)
        log_critical_R = np.log(reference_batch_size) + ratio_R
        columns = [np.exp(theta_RP[:, 0]), np.exp(log_critical_R), np.exp(log_alpha_R)]
        return np.stack(columns[: theta_RP.shape[1]], axis=-1)

    def law(self, natural_P: Floats) -> Law:
        """Return the law with these natural parameters."""
        values = [float(value) for value in natural_P]
        if self.free_exponent:
            return PowerWithFloor(
                min_steps=values[0], critical_batch_size=values[1], exponent=values[2]
            )
        return Hyperbola(min_steps=values[0], critical_batch_size=values[1])


def _ends(log_steps_RN: Floats, x_N: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the fewest log steps, the most at the smallest batch size, and that batch's x."""
    counts_RN = np.isfinite(log_steps_RN)
    lowest_R = np.min(np.where(counts_RN, log_steps_RN, np.inf), axis=1)
    x_first_R = np.min(np.where(counts_RN, x_N, np.inf), axis=1)
    at_first_RN = counts_RN & (x_N == x_first_R[:, None])
    first_R = np.max(np.where(at_first_RN, log_steps_RN, -np.inf), axis=1)
    return lowest_R, first_R, x_first_R


FAMILIES: Final[dict[LawName, LawFamily]] = {
    "hyperbola": PowerFamily(name="hyperbola", free_exponent=False),
    "power_with_floor": PowerFamily(name="power_with_floor", free_exponent=True),
}

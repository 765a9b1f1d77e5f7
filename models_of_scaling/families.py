"""The laws as the fitter sees them: log steps and derivatives in log parameters, in one batch.

Shapes: R = replicates, N = rows, P = parameters of the law, K = P - 1 that shape its curve.

All laws are log S = log(exp(q t0) + exp(q (t1 - alpha x))) / q, with x = log(B / B_ref) for a
reference batch size in the middle of the data, t0 = log S_min, t1 the log of the part that falls
with B at x = 0, and t2 = log alpha (power with floor) or log q (p-norm knee); what a law lacks
is 1. Referring x to the middle makes t1 and t2 nearly independent.

Priors are on the K shape coordinates: where the knee lies, as the log of the falling part over
the floor at the largest batch size that reached the target, alpha log(K / B_largest), and t2. The
level of the curve has none. To add a law, write one more class with the members of `LawFamily`
and name it in `FAMILIES` and in `laws.LawName`.
"""

from dataclasses import dataclass
from typing import Final, Literal, Protocol

import numpy as np

from models_of_scaling.laws import Hyperbola, Law, LawName, PNormKnee, PowerWithFloor
from models_of_scaling.quantities import Floats, fall_over_floor

# Where does the knee lie, relative to the largest batch size that was measured? Nothing in theory
# says so: it is where someone stopped. The prior's centre is a knee right there, and 90 % of it is
# a corner within a factor of 27 to either side. On MLPerf's ResNet-50 reference points (corner at
# about 10,000 to 30,000, batch sizes 1,632 to 67,840) every study that stops somewhere after its
# fourth batch size lies within a factor of 7; McCandlish et al. 2018 (table 1) measure B_crit from
# tens to 1e5 examples for image classifiers, to which the factor of 27 from an ordinary largest
# batch of 1,024 reaches. Without a prior, rows that still scale perfectly send S_min to 0 and the
# fit claims that scaling goes on for ever. Against rows of noise sigma it weighs sigma^2 / 4 of
# their information, nothing at all for noise-free data.
LOG_KNEE_PRIOR_MEAN: Final = 0.0
LOG_KNEE_PRIOR_SD: Final = 2.0

# Theory: one constant noise scale gives alpha = 1 (McCandlish et al. 2018); 90 % of this prior
# is alpha in 0.61 .. 1.64, which holds the slopes that Shallue et al. 2019 (arXiv:1811.03600)
# call perfect scaling or close to it. It only matters where the rows hardly tell the exponent.
LOG_EXPONENT_PRIOR_SD: Final = 0.3

# Theory: q = 1 for plain SGD where one noise scale holds (McCandlish et al. 2018). Simulation: the
# noisy quadratic model with the learning rate and momentum tuned at every batch size (curvatures
# i^-0.5, i^-1, i^-1.5; noise proportional to curvature to the 0, 1, 2; two targets; 36 studies)
# gives q of 0.7 to 3.5 in 34 of them with a median of 1.5, and twice the rounded corner of a few
# whole steps. 90 % of this prior is q in 0.66 .. 3.4.
LOG_SHARPNESS_PRIOR_MEAN: Final = 0.4
LOG_SHARPNESS_PRIOR_SD: Final = 0.5

# How likely each law is before any row speaks. Of the 36 simulated studies above, AICc at 2 % noise
# prefers the hyperbola in 6, the power with floor in 8 and the p-norm knee in 22; no network is a
# quadratic, so these are taken half the way to equal odds: 0.22, 0.26, 0.52.
LAW_ODDS: Final[dict[LawName, float]] = {
    "hyperbola": 1.0,
    "power_with_floor": 1.0,
    "p_norm_knee": 2.0,
}

# Below this share of S at the largest batch size a floor is none for any noise of ours; parameters
# stay inside so that no start runs away.
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
    def prior_mean_K(self) -> Floats:
        """Centre of the normal prior on each shape coordinate."""

    @property
    def prior_sd_K(self) -> Floats:
        """Standard deviation of the normal prior on each shape coordinate."""

    def shape_coordinates(self, theta_RP: Floats, x_last_R: Floats) -> tuple[Floats, Floats]:
        """Return what shapes the curve (R, K) and its derivatives (R, K, P).

        Args:
            theta_RP: log parameters.
            x_last_R: log of the largest batch size over the reference batch size.
        """

    def theta_of_shape(self, shapes: Floats, x_last: float) -> Floats:
        """Return the log parameters (R, P) with these shape coordinates and S_min = 1."""

    def log_steps(self, theta_RP: Floats, x_N: Floats) -> tuple[Floats, Floats]:
        """Return log S of shape (R, N) and its derivatives of shape (R, N, P)."""

    def starts(self, log_steps_RN: Floats, x_N: Floats) -> Floats:
        """Return starting points, (number of them, R, P); rows that do not count are NaN."""

    def bounds(self, log_steps_RN: Floats, x_N: Floats) -> tuple[Floats, Floats]:
        """Return the smallest and the largest log parameters that are told apart, each (R, P)."""

    def natural(self, theta_RP: Floats, reference_batch_size: float) -> Floats:
        """Return the natural parameters, of shape (R, P)."""

    def law(self, natural_P: Floats) -> Law:
        """Return the law with these natural parameters."""


@dataclass(frozen=True, kw_only=True)
class KneeFamily:
    """The three laws of one shape.

    Attributes:
        name: the law's name.
        free: what is fitted besides S_min and B_crit, None for the hyperbola.
    """

    name: LawName
    free: Literal["exponent", "sharpness"] | None

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the natural parameters."""
        names = ("min_steps", "critical_batch_size")
        return names if self.free is None else (*names, self.free)

    @property
    def prior_mean_K(self) -> Floats:
        """Centre of the prior on each shape coordinate."""
        means = {"exponent": [0.0], "sharpness": [LOG_SHARPNESS_PRIOR_MEAN]}
        return np.array([LOG_KNEE_PRIOR_MEAN, *means.get(self.free or "", [])])

    @property
    def prior_sd_K(self) -> Floats:
        """Standard deviation of the prior on each shape coordinate."""
        sds = {"exponent": [LOG_EXPONENT_PRIOR_SD], "sharpness": [LOG_SHARPNESS_PRIOR_SD]}
        return np.array([LOG_KNEE_PRIOR_SD, *sds.get(self.free or "", [])])

    def _exponent_and_sharpness(self, theta_RP: Floats) -> tuple[Floats, Floats]:
        """Return alpha and q of each replicate, (R,) each."""
        ones_R = np.ones(len(theta_RP))
        if self.free == "exponent":
            return np.exp(theta_RP[:, 2]), ones_R
        return ones_R, np.exp(theta_RP[:, 2]) if self.free == "sharpness" else ones_R

    def shape_coordinates(self, theta_RP: Floats, x_last_R: Floats) -> tuple[Floats, Floats]:
        """Return log(falling part / floor) at the largest batch size and t2, with derivatives."""
        alpha_R, _ = self._exponent_and_sharpness(theta_RP)
        count = len(self.parameter_names)
        shapes = theta_RP[:, 1:].copy()
        shapes[:, 0] -= theta_RP[:, 0] + alpha_R * x_last_R
        slopes = np.zeros((len(theta_RP), count - 1, count))
        slopes[:, :, 1:] = np.eye(count - 1)
        slopes[:, 0, 0] = -1.0
        if self.free == "exponent":
            slopes[:, 0, 2] = -alpha_R * x_last_R
        return shapes, slopes

    def theta_of_shape(self, shapes: Floats, x_last: float) -> Floats:
        """Return the log parameters with these shape coordinates and S_min = 1."""
        theta_RP = np.concatenate([np.zeros((len(shapes), 1)), shapes], axis=1)
        theta_RP[:, 1] += self._exponent_and_sharpness(theta_RP)[0] * x_last
        return theta_RP

    def log_steps(self, theta_RP: Floats, x_N: Floats) -> tuple[Floats, Floats]:
        """Return log S (R, N) and its derivatives (R, N, P) in the log parameters."""
        alpha_R, q_R = self._exponent_and_sharpness(theta_RP)
        floor, q = theta_RP[:, 0:1], q_R[:, None]
        slope_RN = alpha_R[:, None] * x_N
        fall_RN = theta_RP[:, 1:2] - slope_RN
        mu_RN = np.logaddexp(q * floor, q * fall_RN) / q
        floor_share_RN = np.exp(q * (floor - mu_RN))
        fall_share_RN = np.exp(q * (fall_RN - mu_RN))
        columns = [floor_share_RN, fall_share_RN]
        if self.free == "exponent":
            columns.append(-fall_share_RN * slope_RN)
        if self.free == "sharpness":
            # Both differences are at most 0: the knee rounds less as q grows.
            columns.append(floor_share_RN * (floor - mu_RN) + fall_share_RN * (fall_RN - mu_RN))
        return mu_RN, np.stack(columns, axis=-1)

    def starts(self, log_steps_RN: Floats, x_N: Floats) -> Floats:
        """Return starting points: floors that are a share of the fewest steps seen."""
        lowest_R, first_R, x_first_R = _ends(log_steps_RN, x_N)
        thirds = {"exponent": (-0.5, 0.4), "sharpness": (-0.4, 1.2)}.get(self.free or "", ())
        points = []
        for share, third in (
            (0.3, 0.0),
            (0.9, 0.0),
            (0.02, 0.0),
            *zip((0.3, 0.6), thirds, strict=False),
        ):
            alpha = np.exp(third) if self.free == "exponent" else 1.0
            q = np.exp(third) if self.free == "sharpness" else 1.0
            # positive: first is not below lowest
            rest_R = np.exp(q * (first_R - lowest_R)) - share**q
            fall_R = lowest_R + np.log(rest_R) / q + alpha * x_first_R
            point = [lowest_R + np.log(share), fall_R, np.full_like(fall_R, third)]
            points.append(np.stack(point[: len(self.parameter_names)], axis=-1))
        return np.stack(points)

    def bounds(self, log_steps_RN: Floats, x_N: Floats) -> tuple[Floats, Floats]:
        """Return the box (R, P), (R, P) of log parameters."""
        lowest_R, first_R, x_first_R = _ends(log_steps_RN, x_N)
        tiny = np.log(_SMALLEST_SHARE)
        # Five standard deviations of the prior down, four (alpha) or five (q) up.
        low_third, high_third = (-1.6, 1.1) if self.free == "exponent" else (-2.1, 2.9)
        fall_at_1 = first_R + x_first_R
        low = [
            lowest_R + tiny,
            lowest_R + tiny - 3 * np.abs(x_first_R),
            np.full_like(lowest_R, low_third),
        ]
        high = [
            first_R + 1,
            fall_at_1 + 3 * np.abs(x_first_R) + 2,
            np.full_like(lowest_R, high_third),
        ]
        count = len(self.parameter_names)
        return np.stack(low[:count], axis=-1), np.stack(high[:count], axis=-1)

    def natural(self, theta_RP: Floats, reference_batch_size: float) -> Floats:
        """Return S_min, B_crit and, where free, alpha or q, of shape (R, P)."""
        alpha_R, q_R = self._exponent_and_sharpness(theta_RP)
        # At the reference y = exp(t1 - t0), and y = y(B_crit) (B_crit / B)^alpha.
        at_critical_R = fall_over_floor(1.0, critical_batch_size=1.0, sharpness=q_R)
        ratio_R = (theta_RP[:, 1] - theta_RP[:, 0] - np.log(at_critical_R)) / alpha_R
        critical_R = np.exp(np.log(reference_batch_size) + ratio_R)
        return np.column_stack([np.exp(theta_RP[:, 0]), critical_R, np.exp(theta_RP[:, 2:])])

    def law(self, natural_P: Floats) -> Law:
        """Return the law with these natural parameters."""
        values = [float(value) for value in natural_P]
        ends = {"min_steps": values[0], "critical_batch_size": values[1]}
        if self.free == "exponent":
            return PowerWithFloor(**ends, exponent=values[2])
        if self.free == "sharpness":
            return PNormKnee(**ends, sharpness=values[2])
        return Hyperbola(**ends)


def _ends(log_steps_RN: Floats, x_N: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the fewest log steps, the most at the smallest batch size, and that batch's x."""
    counts_RN = np.isfinite(log_steps_RN)
    lowest_R = np.min(np.where(counts_RN, log_steps_RN, np.inf), axis=1)
    x_first_R = np.min(np.where(counts_RN, x_N, np.inf), axis=1)
    at_first_RN = counts_RN & (x_N == x_first_R[:, None])
    first_R = np.max(np.where(at_first_RN, log_steps_RN, -np.inf), axis=1)
    return lowest_R, first_R, x_first_R


FAMILIES: Final[dict[LawName, LawFamily]] = {
    "hyperbola": KneeFamily(name="hyperbola", free=None),
    "power_with_floor": KneeFamily(name="power_with_floor", free="exponent"),
    "p_norm_knee": KneeFamily(name="p_norm_knee", free="sharpness"),
}

"""The laws as the fitter sees them: log steps and derivatives in log parameters, in one batch.

Shapes: R = replicates, N = rows, P = parameters of the law, K = P - 1 that shape its curve.

All laws are one expression, of which each frees some parts,

    log S = log(exp(q (t0 - beta x)) + exp(q (t1 - alpha x))) / q + exp(x - u),

with x = log(B / B_ref) for a reference batch size in the middle of the data, t0 = log S_min, t1 the
log of the part that falls with B at x = 0, alpha its slope, beta (fitted as a share of alpha) what
slope is left beyond the knee, q the knee's sharpness and u the log of the batch size from where
steps rise again. What a law does not free is alpha = q = 1, beta = 0, no rise. Referring x to the
middle makes t1 and the others nearly independent. Priors (`priors`) are on the K shape coordinates:
where the knee lies, as the log of the falling part over the floor at the largest batch size that
reached the target, and the freed parts. The level of the curve has none. To add a law, name what it
frees in `FAMILIES` and add its class to `laws`.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from models_of_scaling.laws import LAWS, Law, LawName
from models_of_scaling.priors import PRIORS, NormalPrior
from models_of_scaling.quantities import Floats, fall_over_floor

# What a law may free besides S_min and the knee's place; the order of its log parameters.
Freed = Literal["exponent", "second_exponent", "sharpness", "turning_batch_size"]

# Below this share of S at the largest batch size a floor is none for any noise of ours; parameters
# stay inside so that no start runs away.
_SMALLEST_SHARE: Final = 1e-5
# Log parameters beyond these are outside five standard deviations of their priors, or tell the
# same curve as the bound does. The turning batch size is bounded relative to the largest one.
_BOUNDS: Final[dict[Freed, tuple[float, float]]] = {
    "exponent": (-1.6, 1.1),
    "second_exponent": (-6.5, -0.05),
    "sharpness": (-2.1, 2.9),
    "turning_batch_size": (-1.5, 12.0),
}
# Where else to start than at the priors' centres.
_OTHER_STARTS: Final[dict[Freed, tuple[float, float]]] = {
    "exponent": (-0.5, 0.4),
    "second_exponent": (-3.5, -1.2),
    "sharpness": (-0.4, 1.2),
    "turning_batch_size": (0.7, 2.0),
}
# exp(4) in log steps is no training any more; beyond it only overflow would be gained.
_STEEPEST_RISE: Final = 4.0
_FARTHEST_CORNER: Final = 100.0  # in log batch size


@dataclass(frozen=True, kw_only=True)
class LawFamily:
    """One law with its free parameters, in the fitter's log parameters.

    Attributes:
        name: the law's name.
        free: what is fitted besides S_min and the knee's place.
    """

    name: LawName
    free: tuple[Freed, ...] = ()

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the natural parameters."""
        return LAWS[self.name].parameter_names()

    @property
    def prior_mean_K(self) -> Floats:
        """Centre of the prior on each shape coordinate."""
        return np.array([prior.mean for prior in self._priors])

    @property
    def prior_sd_K(self) -> Floats:
        """Standard deviation of the prior on each shape coordinate."""
        return np.array([prior.sd for prior in self._priors])

    @property
    def prior_degrees_K(self) -> Floats:
        """Degrees of freedom of the prior on each shape coordinate, inf for a normal."""
        return np.array([prior.degrees for prior in self._priors])

    @property
    def _priors(self) -> list[NormalPrior]:
        return [PRIORS["knee"], *(PRIORS[part] for part in self.free)]

    def _part(self, theta_RP: Floats, part: Freed, otherwise: float) -> Floats:
        """Return a freed part of each replicate, not in logs, (R, 1)."""
        if part not in self.free:
            return np.full((len(theta_RP), 1), otherwise)
        return np.exp(theta_RP[:, [2 + self.free.index(part)]])

    def _slopes(self, theta_RP: Floats) -> tuple[Floats, Floats]:
        """Return alpha and beta, (R, 1) each."""
        alpha_R = self._part(theta_RP, "exponent", 1.0)
        # A share of alpha, so that the second slope is always the smaller one.
        return alpha_R, alpha_R * self._part(theta_RP, "second_exponent", 0.0)

    def shape_coordinates(self, theta_RP: Floats, x_last_R: Floats) -> tuple[Floats, Floats]:
        """Return what shapes the curve (R, K) and its derivatives (R, K, P).

        The first is the log of the falling part over the floor at the largest batch size.

        Args:
            theta_RP: log parameters.
            x_last_R: log of the largest batch size over the reference batch size.
        """
        alpha_R, beta_R = (each[:, 0] for each in self._slopes(theta_RP))
        count = theta_RP.shape[1]
        shapes = theta_RP[:, 1:].copy()
        shapes[:, 0] -= theta_RP[:, 0] + (alpha_R - beta_R) * x_last_R
        slopes = np.zeros((len(theta_RP), count - 1, count))
        slopes[:, :, 1:] = np.eye(count - 1)
        slopes[:, 0, 0] = -1.0
        for place, part in enumerate(self.free, start=2):
            if part == "exponent":
                slopes[:, 0, place] = (beta_R - alpha_R) * x_last_R
            elif part == "second_exponent":
                slopes[:, 0, place] = beta_R * x_last_R
            elif part == "turning_batch_size":
                shapes[:, place - 1] -= x_last_R
        return shapes, slopes

    def theta_of_shape(self, shapes: Floats, x_last: float) -> Floats:
        """Return the log parameters (R, P) with these shape coordinates and S_min = 1."""
        theta_RP = np.concatenate([np.zeros((len(shapes), 1)), shapes], axis=1)
        if "turning_batch_size" in self.free:
            theta_RP[:, 2 + self.free.index("turning_batch_size")] += x_last
        alpha_R, beta_R = self._slopes(theta_RP)
        theta_RP[:, 1] += (alpha_R - beta_R)[:, 0] * x_last
        return theta_RP

    def log_steps(self, theta_RP: Floats, x_N: Floats) -> tuple[Floats, Floats]:
        """Return log S (R, N) and its derivatives (R, N, P) in the log parameters."""
        alpha_R, beta_R = self._slopes(theta_RP)
        q = self._part(theta_RP, "sharpness", 1.0)
        left_RN = theta_RP[:, 0:1] - beta_R * x_N
        fall_RN = theta_RP[:, 1:2] - alpha_R * x_N
        # One exponential for log S and both shares: half the time of logaddexp and two more.
        falls_RN = fall_RN > left_RN
        smaller_RN = np.exp(-q * np.abs(fall_RN - left_RN))
        mu_RN = np.maximum(left_RN, fall_RN) + np.log1p(smaller_RN) / q
        larger_share_RN = 1 / (1 + smaller_RN)
        smaller_share_RN = smaller_RN * larger_share_RN
        floor_share_RN = np.where(falls_RN, smaller_share_RN, larger_share_RN)
        fall_share_RN = np.where(falls_RN, larger_share_RN, smaller_share_RN)
        columns = [floor_share_RN, fall_share_RN]
        for place, part in enumerate(self.free, start=2):
            if part == "exponent":
                columns.append(-(fall_share_RN * alpha_R + floor_share_RN * beta_R) * x_N)
            elif part == "second_exponent":
                columns.append(-floor_share_RN * beta_R * x_N)
            elif part == "sharpness":
                # Both differences are at most 0: the knee rounds less as q grows.
                away = floor_share_RN * (left_RN - mu_RN) + fall_share_RN * (fall_RN - mu_RN)
                columns.append(away)
            else:
                past = np.minimum(x_N - theta_RP[:, place : place + 1], _STEEPEST_RISE)
                mu_RN = mu_RN + np.exp(past)
                columns.append(-np.exp(past))
        return mu_RN, np.stack(columns, axis=-1)

    def starts(self, log_steps_RN: Floats, x_N: Floats) -> Floats:
        """Return starting points, (number of them, R, P): floors as shares of the fewest steps.

        Args:
            log_steps_RN: what was measured; rows that do not count are NaN.
            x_N: log of batch size over the reference batch size.
        """
        ends = _ends(log_steps_RN, x_N)
        centre = {part: PRIORS[part].mean for part in self.free}
        tries = [(share, centre) for share in (0.3, 0.9, 0.02)]
        for part in self.free:
            low, high = _OTHER_STARTS[part]
            tries += [(0.3, {**centre, part: low}), (0.6, {**centre, part: high})]
        return np.stack([self._start(share, parts, ends) for share, parts in tries])

    def _start(
        self, share: float, parts: dict[Freed, float], ends: tuple[Floats, Floats, Floats, Floats]
    ) -> Floats:
        """Return one starting point (R, P) with a floor and the freed parts' logs given."""
        lowest_R, first_R, x_first_R, x_last_R = ends
        q = np.exp(parts.get("sharpness", 0.0))
        alpha = np.exp(parts.get("exponent", 0.0))
        rest_R = np.exp(q * (first_R - lowest_R)) - share**q  # positive: first >= lowest
        columns = [lowest_R + np.log(share), lowest_R + np.log(rest_R) / q + alpha * x_first_R]
        for part, value in parts.items():
            offset_R = x_last_R if part == "turning_batch_size" else 0.0
            columns.append(np.full_like(lowest_R, value) + offset_R)
        return np.stack(columns, axis=-1)

    def bounds(self, log_steps_RN: Floats, x_N: Floats) -> tuple[Floats, Floats]:
        """Return the smallest and the largest log parameters that are told apart, each (R, P)."""
        lowest_R, first_R, x_first_R, x_last_R = _ends(log_steps_RN, x_N)
        tiny, reach_R = np.log(_SMALLEST_SHARE), 3 * np.abs(x_first_R)
        low = [lowest_R + tiny, lowest_R + tiny - reach_R]
        high = [first_R + 1, first_R + x_first_R + reach_R + 2]
        for part in self.free:
            offset_R = x_last_R if part == "turning_batch_size" else np.zeros_like(x_last_R)
            low.append(offset_R + _BOUNDS[part][0])
            high.append(offset_R + _BOUNDS[part][1])
        return np.stack(low, axis=-1), np.stack(high, axis=-1)

    def log_critical(self, theta_RP: Floats) -> Floats | None:
        """Return log of B_crit over the reference batch size, (R,); None without a floor."""
        if "second_exponent" in self.free:
            return None
        return np.asarray(np.log(self.natural(theta_RP, 1.0)[:, 1]))

    def moved(self, theta_RP: Floats, shift_R: Floats) -> Floats:
        """Return the same curves, (R, P), for reference batch sizes larger by these logs."""
        alpha_R, beta_R = (each[:, 0] for each in self._slopes(theta_RP))
        moved_RP = theta_RP.copy()
        moved_RP[:, 0] -= beta_R * shift_R
        moved_RP[:, 1] -= alpha_R * shift_R
        if "turning_batch_size" in self.free:
            moved_RP[:, 2 + self.free.index("turning_batch_size")] -= shift_R
        return moved_RP

    def natural(self, theta_RP: Floats, reference_batch_size: float) -> Floats:
        """Return the natural parameters, (R, P), in the order of `parameter_names`."""
        alpha_R, beta_R = (each[:, 0] for each in self._slopes(theta_RP))
        log_corner_R = (theta_RP[:, 1] - theta_RP[:, 0]) / (alpha_R - beta_R)
        # Two nearly equal slopes cross anywhere; as far out as this it is one slope.
        log_corner_R = np.clip(log_corner_R, -_FARTHEST_CORNER, _FARTHEST_CORNER)
        corner_R = np.exp(np.log(reference_batch_size) + log_corner_R)
        rest = np.exp(theta_RP[:, 2:])
        if "second_exponent" in self.free:
            rest[:, self.free.index("second_exponent")] *= alpha_R
            level_R = np.exp(theta_RP[:, 0] - beta_R * log_corner_R)
            return np.column_stack([level_R, corner_R, rest])
        if "turning_batch_size" in self.free:
            rest[:, self.free.index("turning_batch_size")] *= reference_batch_size
        # y = (K / B)^alpha is 1 at the corner K and y(B_crit) at B_crit.
        q_R = self._part(theta_RP, "sharpness", 1.0)[:, 0]
        at_critical_R = fall_over_floor(1.0, critical_batch_size=1.0, sharpness=q_R)
        critical_R = corner_R * at_critical_R ** (-1 / alpha_R)
        return np.column_stack([np.exp(theta_RP[:, 0]), critical_R, rest])

    def law(self, natural_P: Floats) -> Law:
        """Return the law with these natural parameters."""
        values = (float(value) for value in natural_P)
        return LAWS[self.name](**dict(zip(self.parameter_names, values, strict=True)))


def _ends(log_steps_RN: Floats, x_N: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Return the fewest log steps, the most at the smallest batch size, and both ends' x."""
    counts_RN = np.isfinite(log_steps_RN)
    lowest_R = np.min(np.where(counts_RN, log_steps_RN, np.inf), axis=1)
    x_first_R = np.min(np.where(counts_RN, x_N, np.inf), axis=1)
    x_last_R = np.max(np.where(counts_RN, x_N, -np.inf), axis=1)
    at_first_RN = counts_RN & (x_N == x_first_R[:, None])
    first_R = np.max(np.where(at_first_RN, log_steps_RN, -np.inf), axis=1)
    return lowest_R, first_R, x_first_R, x_last_R


FAMILIES: Final[dict[LawName, LawFamily]] = {
    "hyperbola": LawFamily(name="hyperbola"),
    "power_with_floor": LawFamily(name="power_with_floor", free=("exponent",)),
    "p_norm_knee": LawFamily(name="p_norm_knee", free=("sharpness",)),
    "smoothly_broken_power": LawFamily(
        name="smoothly_broken_power", free=("exponent", "second_exponent", "sharpness")
    ),
    "knee_with_upturn": LawFamily(name="knee_with_upturn", free=("turning_batch_size",)),
}

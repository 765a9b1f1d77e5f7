"""A law in which one log parameter is exchanged for the log of a natural quantity.

The fitter can then hold the quantity by equal bounds, exactly. The log parameter that gives way is
the one of the same number: log S_min for S_min, the log of the falling part for B_crit, and so on;
the quantity's log is linear in it for every law there is, and nearly so is enough.

Shapes: R = problems, N = rows, P = parameters of the law, K = P - 1.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from models_of_scaling.families import LawFamily
from models_of_scaling.quantities import Floats

_DIFFERENCE: Final = 1e-5  # central: errors are its square, 1e-10
_MOST_CORRECTIONS: Final = 5
_EXACT: Final = 1e-10


@dataclass(frozen=True, kw_only=True)
class FixedQuantity:
    """A law whose log parameter number `place` is exchanged for the log of natural one.

    Attributes:
        family: the law.
        place: number of the natural parameter, and of the log parameter that gives way to it.
        reference_batch_size: to which the law's x refers.
        with_prior: whether the law's prior counts.
    """

    family: LawFamily
    place: int
    reference_batch_size: float
    with_prior: bool

    @property
    def prior_mean_K(self) -> Floats:
        """Centre of the prior on each shape coordinate."""
        return self.family.prior_mean_K

    @property
    def prior_sd_K(self) -> Floats:
        """Standard deviation of the prior; inf for none."""
        sd_K = self.family.prior_sd_K
        return sd_K if self.with_prior else np.full_like(sd_K, np.inf)

    def log_quantity(self, theta_RP: Floats) -> Floats:
        """Return the quantity's log, (R,)."""
        natural_RP = self.family.natural(theta_RP, self.reference_batch_size)
        return np.asarray(np.log(natural_RP[:, self.place]))

    def exchanged(self, theta_RP: Floats) -> Floats:
        """Return the parameters with the quantity in its place."""
        phi_RP = theta_RP.copy()
        phi_RP[:, self.place] = self.log_quantity(theta_RP)
        return phi_RP

    def theta(self, phi_RP: Floats) -> Floats:
        """Return the family's log parameters: the inverse of `exchanged`.

        Args:
            phi_RP: with the quantity in its place.

        Returns:
            Shape (R, P); NaN where no parameters give that quantity, as where both slopes of a
            law are equal and it has no corner. The fitter takes no such step.
        """
        theta_RP, found_R = self._solved(phi_RP)
        return np.where(found_R[:, None], theta_RP, np.nan)

    def _solved(self, phi_RP: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Return the family's parameters, 0 where there are none, and where they were found."""
        theta_RP, wanted_R = phi_RP.copy(), phi_RP[:, self.place]
        with np.errstate(all="ignore"):
            theta_RP[:, self.place] = 0.0
            at_0_R = self.log_quantity(theta_RP)
            theta_RP[:, self.place] = 1.0
            slope_R = self.log_quantity(theta_RP) - at_0_R
            theta_RP[:, self.place] = (wanted_R - at_0_R) / slope_R
            for _ in range(_MOST_CORRECTIONS):
                off_R = wanted_R - self.log_quantity(theta_RP)
                found_R = np.abs(off_R) < _EXACT * (1 + np.abs(wanted_R))
                if found_R.all():
                    break
                theta_RP[:, self.place] += np.where(found_R, 0.0, off_R / slope_R)
        theta_RP[~found_R] = 0.0
        return theta_RP, found_R

    def _slopes(self, theta_RP: Floats) -> Floats:
        """Return the derivatives (R, P) of the log parameter that gave way in the new ones."""
        gradient_RP = np.empty_like(theta_RP)
        with np.errstate(all="ignore"):
            for place in range(theta_RP.shape[1]):
                step_P = np.zeros(theta_RP.shape[1])
                step_P[place] = _DIFFERENCE
                rise_R = self.log_quantity(theta_RP + step_P) - self.log_quantity(theta_RP - step_P)
                gradient_RP[:, place] = rise_R / (2 * _DIFFERENCE)
            own_R = gradient_RP[:, self.place].copy()
            gradient_RP[:, self.place] = -1.0
            return np.asarray(-gradient_RP / own_R[:, None])

    def _in_new_parameters(self, derivatives: Floats, theta_RP: Floats) -> Floats:
        """Return derivatives (R, any, P) in the new parameters."""
        own = derivatives[:, :, self.place].copy()
        changed = derivatives.copy()
        changed[:, :, self.place] = 0.0
        return np.asarray(changed + own[:, :, None] * self._slopes(theta_RP)[:, None, :])

    def shape_coordinates(self, theta_RP: Floats, x_last_R: Floats) -> tuple[Floats, Floats]:
        """Return what shapes the curve (R, K) and its derivatives in the new parameters."""
        inner_RP, _ = self._solved(theta_RP)
        shapes, slopes = self.family.shape_coordinates(inner_RP, x_last_R)
        return shapes, self._in_new_parameters(slopes, inner_RP)

    def log_steps(self, theta_RP: Floats, x_N: Floats) -> tuple[Floats, Floats]:
        """Return log S (R, N) and its derivatives in the new parameters."""
        inner_RP, found_R = self._solved(theta_RP)
        mu_RN, jacobian_RNP = self.family.log_steps(inner_RP, x_N)
        mu_RN = np.where(found_R[:, None], mu_RN, np.nan)
        return mu_RN, self._in_new_parameters(jacobian_RNP, inner_RP)

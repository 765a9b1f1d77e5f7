"""How far each measured batch size lies from the averaged curve, in units of the noise.

A batch size that was searched badly needs more steps than its neighbours say. The laws give it
little weight (`posterior`), so the curve passes it by, and it stands out here.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from models_of_scaling.fit_record import FitRecord
from models_of_scaling.intervals import weighted_quantile
from models_of_scaling.mixture import mixed
from models_of_scaling.prediction import estimated_steps

# In units of noise. Of 120 simulated studies with normal noise and nothing amiss 3 passed it; one
# batch size of eight with 1.4 times its steps was found in nine of ten (noise 3 % to 6 %).
OUTLIER: Final = 3.0


@dataclass(frozen=True, kw_only=True)
class BatchSizeResidual:
    """One batch size against the curve.

    Attributes:
        batch_size: examples per step.
        log_ratio: log of the geometric mean of its measured steps over the curve's; where no row
            reached the target, of the most steps done, and the truth is more.
        in_noise: the same in units of the noise of one batch size's estimate, to which sparse
            evaluation adds the twelfth of its interval's square (an even phase).
        reached: whether a row reached the target.
    """

    batch_size: int
    log_ratio: float
    in_noise: float
    reached: bool

    @property
    def is_outlier(self) -> bool:
        """Whether it is farther off than noise explains; too few steps say nothing if censored."""
        return self.in_noise > OUTLIER or (self.reached and self.in_noise < -OUTLIER)

    def in_words(self) -> str:
        """Return a sentence that says how far off it is and what to look at."""
        percent = 100 * abs(math.expm1(self.log_ratio))
        way = "more" if self.log_ratio > 0 else "fewer"
        cause = "it may be luck, or another set-up"
        if self.log_ratio > 0:
            cause = "its learning rate may be badly tuned"
        if not self.reached:
            cause = "the target may be out of reach there, or the search too narrow"
        least = "" if self.reached else "at least "
        return (
            f"Batch size {self.batch_size:,} needed {least}{percent:.0f} % {way} "
            f"steps than the curve through all says, {abs(self.in_noise):.1f} times "
            f"the noise: {cause}."
        )


def noise_of_one(fit: FitRecord) -> float:
    """Return the noise of one batch size's estimate over all laws, in logs, groups included."""
    values, weights = mixed(fit.laws, lambda law: law.noise_of_draws)
    return math.hypot(float(weighted_quantile(values, weights, [0.5])[0]), fit.group_sd)


def batch_size_residuals(fit: FitRecord) -> list[BatchSizeResidual]:
    """Return the residual of each fitted batch size, ascending.

    Args:
        fit: the record; its held-out rows are no part of this.
    """
    rows, noise = fit.measured, noise_of_one(fit)
    sizes, reached = np.array(rows.batch_size), np.array(rows.reached, dtype=bool)
    steps = np.array(rows.steps)
    # As `prediction.held_out_steps`: an interval from 0 has no logarithm.
    low = np.log(np.maximum(np.array(rows.steps_low), 1e-3 * steps))
    high = np.log(np.where(reached, np.array(rows.steps_high), 1.0))
    found = []
    for size in np.unique(sizes):
        at = sizes == size
        met = at & reached
        measured = (
            float(0.5 * (low[met] + high[met]).mean())
            if met.any()
            else float(np.log(steps[at].max()))
        )
        width = float(np.median(high[met] - low[met])) if met.any() else 0.0
        log_ratio = measured - math.log(estimated_steps(fit, float(size)))
        found.append(
            BatchSizeResidual(
                batch_size=int(size),
                log_ratio=log_ratio,
                in_noise=log_ratio / math.sqrt(noise**2 + width**2 / 12),
                reached=bool(met.any()),
            )
        )
    return found

"""What is known of B_crit beside the rows: a noise scale, a surrogate ladder, someone's estimate.

It is one more observation, of log B_crit instead of log steps, with Student's t about it as rows
have (`noise`): where the rows contradict it by far it counts little instead of bending the curve.
B_crit is where S = 2 S_min. A gradient noise scale is another quantity; what stands between the
two, and how far the ratio scatters, is for whoever states the factor (docs/laws.md).
"""

import math
from dataclasses import dataclass

from scipy.special import stdtrit

from models_of_scaling.errors import InputError
from models_of_scaling.noise import OUTLIER_DEGREES, log_t
from models_of_scaling.quantities import Floats

_LARGEST_FACTOR = 1e6


@dataclass(frozen=True, kw_only=True)
class KneeEvidence:
    """B_crit by another way than the rows, with its error.

    Attributes:
        critical_batch_size: the estimate, examples.
        factor: 90 % sure that B_crit lies within this factor of it.
    """

    critical_batch_size: float
    factor: float

    def __post_init__(self) -> None:
        """Check both.

        Raises:
            InputError: naming the flag, the value and the rule.
        """
        if not 0 < self.critical_batch_size < math.inf:
            raise InputError(
                f"--critical-batch-size {self.critical_batch_size:g} must be finite and more than 0"
            )
        if not 1 < self.factor <= _LARGEST_FACTOR:
            raise InputError(
                f"--knee-factor {self.factor:g} must be more than 1 and at most {_LARGEST_FACTOR:g}"
            )

    @property
    def scale(self) -> float:
        """Scale of Student's t in log B_crit whose middle 90 % is the factor either way."""
        return math.log(self.factor) / float(stdtrit(OUTLIER_DEGREES, 0.95))

    def log_likelihood(self, log_critical: Floats, *, log_reference: float) -> Floats:
        """Return the log density of the estimate for some log B_crit, of their shape.

        Args:
            log_critical: log of B_crit over a reference batch size.
            log_reference: log of that batch size.
        """
        off = (math.log(self.critical_batch_size) - log_reference - log_critical) / self.scale
        return log_t(off, OUTLIER_DEGREES) - math.log(self.scale)

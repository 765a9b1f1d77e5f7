"""Laws of steps to target against batch size, each with its equation and source.

Hyperbola: S = S_min (1 + B_crit / B), McCandlish et al. 2018, arXiv:1812.06162, eq. 2.7 (there
(S / S_min - 1)(E / E_min - 1) = 1 with E = B S). Zhang et al. 2024 fit the same curve written
a + b / B: a = S_min, b = E_min = S_min B_crit.

Power with floor: S = S_min (1 + (B_crit / B)^alpha), the same as S_min + c B^-alpha with
c = S_min B_crit^alpha. The exponent is 1 where one noise scale holds during the whole run; a
noise scale that grows as the loss falls softens the knee (alpha < 1; McCandlish et al. 2018,
appendix D, and Shallue et al. 2019, arXiv:1811.03600, measure such curves).

P-norm knee: S = (S_min^q + (c / B)^q)^(1/q), c = E_min. Its knee is as hard as the data say:
q = 1 is the hyperbola, q -> infinity the larger of S_min and c / B, which is what a fixed number
of steps at the largest stable learning rate gives once the noise no longer matters. The noisy
quadratic model of Zhang et al. 2019, arXiv:1907.04164, with tuned momentum is near q = 2. The
form is the usual blend of two limits by a power mean (Churchill & Usagi 1972, AIChE J. 18:1121).
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, get_args

import numpy.typing as npt

from models_of_scaling.quantities import (
    Floats,
    batch_size_where_doubling_saves,
    examples_processed,
    fall_over_floor,
    relative_efficiency,
    steps_to_target,
)

LawName = Literal["hyperbola", "power_with_floor", "p_norm_knee"]
LAW_NAMES: tuple[LawName, ...] = get_args(LawName)


class Law(Protocol):
    """What every law answers; arrays in, arrays out."""

    @property
    def min_steps(self) -> float:
        """S_min, the steps that no batch size goes below."""

    @property
    def critical_batch_size(self) -> float:
        """B_crit, examples; where S = 2 S_min."""

    def steps_to_target(self, batch_size: npt.ArrayLike) -> Floats:
        """Return S(B), optimizer steps."""

    def examples(self, batch_size: npt.ArrayLike) -> Floats:
        """Return E(B) = B S(B)."""

    def efficiency(self, batch_size: npt.ArrayLike, *, reference_batch_size: float) -> Floats:
        """Return E(reference) / E(B)."""

    def batch_size_where_doubling_saves(self, saving: float) -> float:
        """Return the largest B with S(B) / S(2B) >= saving."""


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} {value} must be finite and more than 0")


class _LawWithFloor:
    """What follows from the one shape of `quantities`, whatever alpha and q are."""

    min_steps: float
    critical_batch_size: float

    @property
    def _alpha(self) -> float:
        return 1.0

    @property
    def _q(self) -> float:
        return 1.0

    def steps_to_target(self, batch_size: npt.ArrayLike) -> Floats:
        """Return S(B), optimizer steps."""
        return steps_to_target(
            batch_size,
            min_steps=self.min_steps,
            critical_batch_size=self.critical_batch_size,
            exponent=self._alpha,
            sharpness=self._q,
        )

    def examples(self, batch_size: npt.ArrayLike) -> Floats:
        """Return E(B) = B S(B), examples with repetition."""
        return examples_processed(batch_size, self.steps_to_target(batch_size))

    def efficiency(self, batch_size: npt.ArrayLike, *, reference_batch_size: float) -> Floats:
        """Return E(reference) / E(B), a share; see `quantities.relative_efficiency` for why.

        Args:
            batch_size: B, examples per step.
            reference_batch_size: where the efficiency is 1.

        Returns:
            An array of the shape of `batch_size`.
        """
        return relative_efficiency(
            batch_size,
            self.steps_to_target(batch_size),
            reference_examples=self.examples(reference_batch_size),
        )

    def batch_size_where_doubling_saves(self, saving: float) -> float:
        """Return the largest B with S(B) / S(2B) >= saving; 0 where there is none."""
        return float(
            batch_size_where_doubling_saves(
                saving,
                critical_batch_size=self.critical_batch_size,
                exponent=self._alpha,
                sharpness=self._q,
            )
        )


@dataclass(frozen=True, kw_only=True)
class Hyperbola(_LawWithFloor):
    """S = S_min (1 + B_crit / B), McCandlish et al. 2018, arXiv:1812.06162, eq. 2.7.

    >>> law = Hyperbola(min_steps=100, critical_batch_size=512)
    >>> float(law.steps_to_target(512)) == 2 * law.min_steps
    True

    Attributes:
        min_steps: S_min, the limit of S at large B.
        critical_batch_size: B_crit = E_min / S_min, examples.
    """

    name: ClassVar[LawName] = "hyperbola"
    min_steps: float
    critical_batch_size: float

    def __post_init__(self) -> None:
        """Check that both parameters are finite and positive."""
        _check_positive(min_steps=self.min_steps, critical_batch_size=self.critical_batch_size)

    @property
    def min_examples(self) -> float:
        """E_min = S_min B_crit, the limit of E at small B."""
        return self.min_steps * self.critical_batch_size


@dataclass(frozen=True, kw_only=True)
class PowerWithFloor(_LawWithFloor):
    """S = S_min (1 + (B_crit / B)^alpha), the same as S_min + c B^-alpha.

    It has no smallest E: with alpha < 1 the examples fall for ever as B shrinks, with alpha > 1
    they rise again. `efficiency` therefore needs a reference batch size.

    >>> law = PowerWithFloor(min_steps=100, critical_batch_size=512, exponent=0.7)
    >>> float(law.steps_to_target(512)) == 2 * law.min_steps
    True

    Attributes:
        min_steps: S_min, the limit of S at large B.
        critical_batch_size: B_crit, examples, where S = 2 S_min.
        exponent: alpha, the slope of log S against -log B far below B_crit.
    """

    name: ClassVar[LawName] = "power_with_floor"
    min_steps: float
    critical_batch_size: float
    exponent: float

    @property
    def _alpha(self) -> float:
        return self.exponent

    def __post_init__(self) -> None:
        """Check that all parameters are finite and positive."""
        _check_positive(
            min_steps=self.min_steps,
            critical_batch_size=self.critical_batch_size,
            exponent=self.exponent,
        )


@dataclass(frozen=True, kw_only=True)
class PNormKnee(_LawWithFloor):
    """S = (S_min^q + (c / B)^q)^(1/q), with c = S_min B_crit (2^q - 1)^(1/q).

    >>> law = PNormKnee(min_steps=100, critical_batch_size=512, sharpness=3)
    >>> round(float(law.steps_to_target(512)) / law.min_steps, 12)
    2.0

    Attributes:
        min_steps: S_min, the limit of S at large B.
        critical_batch_size: B_crit, examples, where S = 2 S_min.
        sharpness: q; 1 is the hyperbola, more is a harder knee.
    """

    name: ClassVar[LawName] = "p_norm_knee"
    min_steps: float
    critical_batch_size: float
    sharpness: float

    @property
    def _q(self) -> float:
        return self.sharpness

    def __post_init__(self) -> None:
        """Check that all parameters are finite and positive."""
        _check_positive(
            min_steps=self.min_steps,
            critical_batch_size=self.critical_batch_size,
            sharpness=self.sharpness,
        )

    @property
    def min_examples(self) -> float:
        """E_min = c, the limit of E at small B."""
        return float(
            self.min_steps
            * fall_over_floor(
                1.0, critical_batch_size=self.critical_batch_size, sharpness=self.sharpness
            )
        )

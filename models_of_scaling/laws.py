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

Smoothly broken power: S = S_K ((B/K)^(-alpha q) + (B/K)^(-beta q))^(1/q), two slopes and no floor:
the broken neural scaling law of Caballero et al. 2022, arXiv:2210.14891, eq. 1 with one break.

Knee with upturn: S = S_min (1 + B_crit / B) exp(B / B_turn), a hyperbola whose steps rise again
from about sqrt(B_crit B_turn) on; a few B_turn out no budget reaches the target any more. That
huge batches lose is known (Keskar et al. 2016, arXiv:1609.04836; You et al. 2020,
arXiv:2006.08517); the exponential is our choice.

Gaussian process: `gaussian_process`, which has no parameters of this kind.
"""

import math
from dataclasses import asdict, dataclass, fields
from typing import ClassVar, Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from models_of_scaling.curves import Curves
from models_of_scaling.quantities import (
    Floats,
    examples_processed,
    fall_over_floor,
    relative_efficiency,
)

LawName = Literal[
    "hyperbola",
    "power_with_floor",
    "p_norm_knee",
    "smoothly_broken_power",
    "knee_with_upturn",
    "gaussian_process",
]
LAW_NAMES: tuple[LawName, ...] = get_args(LawName)
# The laws that an answer averages over. The others are there to be asked for, and for the
# back-test; alone they predict no better there than the average, which `backtest` prints.
AVERAGED_LAWS: tuple[LawName, ...] = ("hyperbola", "power_with_floor", "p_norm_knee")


@dataclass(frozen=True, kw_only=True)
class Law:
    """What every law answers; arrays in, arrays out."""

    name: ClassVar[LawName]

    def __post_init__(self) -> None:
        """Check that all parameters are finite and positive.

        Raises:
            ValueError: naming the one that is not.
        """
        for name, value in asdict(self).items():
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} {value} must be finite and more than 0")

    @classmethod
    def parameter_names(cls) -> tuple[str, ...]:
        """Return the names of the natural parameters."""
        return tuple(each.name for each in fields(cls))

    @property
    def curves(self) -> Curves:
        """This law as the only one of its curves."""
        return Curves(columns={name: np.array([value]) for name, value in asdict(self).items()})

    def steps_to_target(self, batch_size: npt.ArrayLike) -> Floats:
        """Return S(B), optimizer steps, of the shape of `batch_size`."""
        sizes = np.asarray(batch_size, dtype=float)
        return np.asarray(self.curves.steps(sizes.ravel())[0].reshape(sizes.shape))

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
        """Return the largest B with S(B) / S(2B) >= saving; 0 for none, inf for no end."""
        return float(self.curves.doubling_saves(saving)[0])

    def batch_size_with_overhead(self, overhead: float, *, reference_batch_size: float) -> float:
        """Return the largest B with E(B) <= (1 + overhead) E(reference); see `curves`."""
        curves = self.curves
        found = curves.with_overhead(overhead, reference_batch_size=reference_batch_size)
        return float(found[0])


@dataclass(frozen=True, kw_only=True)
class Hyperbola(Law):
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

    @property
    def min_examples(self) -> float:
        """E_min = S_min B_crit, the limit of E at small B."""
        return self.min_steps * self.critical_batch_size


@dataclass(frozen=True, kw_only=True)
class PowerWithFloor(Law):
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


@dataclass(frozen=True, kw_only=True)
class PNormKnee(Law):
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
    def min_examples(self) -> float:
        """E_min = c, the limit of E at small B."""
        return float(
            self.min_steps
            * fall_over_floor(
                1.0, critical_batch_size=self.critical_batch_size, sharpness=self.sharpness
            )
        )


@dataclass(frozen=True, kw_only=True)
class SmoothlyBrokenPower(Law):
    """S = S_K ((B/K)^(-alpha q) + (B/K)^(-beta q))^(1/q), Caballero et al. 2022, one break.

    It has no floor, so its fewest steps are 0 and its critical batch size infinite by definition.

    >>> law = SmoothlyBrokenPower(
    ...     corner_steps=100, corner_batch_size=512, exponent=1, second_exponent=0.1, sharpness=2)
    >>> round(float(law.steps_to_target(512)) / law.corner_steps, 12) == round(2 ** 0.5, 12)
    True

    Attributes:
        corner_steps: S_K, what either slope's power law gives at the corner.
        corner_batch_size: K, examples, where the two cross.
        exponent: alpha, the slope below the corner.
        second_exponent: beta, the slope beyond it, less than alpha.
        sharpness: q; more is a harder corner.
    """

    name: ClassVar[LawName] = "smoothly_broken_power"
    corner_steps: float
    corner_batch_size: float
    exponent: float
    second_exponent: float
    sharpness: float

    def __post_init__(self) -> None:
        """Check the parameters.

        Raises:
            ValueError: where one is not positive or the second slope is not the smaller one.
        """
        super().__post_init__()
        if not self.second_exponent < self.exponent:
            raise ValueError(
                f"second_exponent {self.second_exponent} must be less than exponent {self.exponent}"
            )


@dataclass(frozen=True, kw_only=True)
class KneeWithUpturn(Law):
    """S = S_min (1 + B_crit / B) exp(B / B_turn).

    >>> law = KneeWithUpturn(min_steps=100, critical_batch_size=512, turning_batch_size=2.0**16)
    >>> float(law.steps_to_target(2.0**18)) > float(law.steps_to_target(2.0**14))
    True

    Attributes:
        min_steps: S_min of the hyperbola, which no batch size goes below.
        critical_batch_size: B_crit of the hyperbola, examples.
        turning_batch_size: B_turn, examples, where the steps are e times the hyperbola's.
    """

    name: ClassVar[LawName] = "knee_with_upturn"
    min_steps: float
    critical_batch_size: float
    turning_batch_size: float

    @property
    def fastest_batch_size(self) -> float:
        """The batch size with the fewest steps, where d log S / d log B = 0."""
        # B / B_turn = B_crit / (B + B_crit): the root of B^2 + B_crit B - B_crit B_turn.
        half = 0.5 * self.critical_batch_size
        return math.sqrt(half**2 + self.critical_batch_size * self.turning_batch_size) - half


LAWS: Final[dict[LawName, type[Law]]] = {
    law.name: law
    for law in (Hyperbola, PowerWithFloor, PNormKnee, SmoothlyBrokenPower, KneeWithUpturn)
}

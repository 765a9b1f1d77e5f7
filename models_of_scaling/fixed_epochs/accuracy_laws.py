"""Laws of test error at a fixed number of epochs against batch size: their shapes and priors.

With the epochs fixed, a larger batch takes fewer steps. Each law is

    error(B) = level + amplitude * g(B),    level: the error as B -> 0,    amplitude >= 0,

so that only g has parameters that do not enter linearly (its shape):

| law | g(B) | amplitude |
|---|---|---|
| hinge | w log(1 + (B / B_0)^(1 / (w log 2))) | error per doubling beyond B_0 |
| power_rise | (B / B_ref)^p | rise at the reference batch size |
| learning_curve | (1 + B / B_crit)^a - 1 | error that a run of these epochs has still to lose |

The hinge puts "no loss of accuracy up to 8,192, then it falls" (Goyal et al. 2017,
arXiv:1706.02677) into a formula of ours; it bends over about two doublings. The power rise has no
batch size of its own. The learning curve joins two published laws: S steps at batch size B do the
work of S / (1 + B_crit / B) steps at a huge batch (McCandlish et al. 2018, arXiv:1812.06162; Kaplan
et al. 2020, arXiv:2001.08361, eq. 5.4), and error falls with those steps as floor + r steps^-a
(eq. 5.6 there). With S = E / B for a fixed E that is E / (B + B_crit) steps, hence the g above.
B_crit is one number here although it grows as the loss falls (`target_curve`).

A rise is never negative: a table whose accuracy grows with the batch size is told as flat with
noise. Shapes: J = shapes, C = batch sizes, D = parameters of a shape.
"""

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from models_of_scaling.quantities import Floats

_LOG_2: Final = float(np.log(2.0))
# Width of the hinge's bend, in doublings. Tables hold one row per doubling at best, so that a
# sharper bend can't be seen; a wider one is what the other two laws are for.
HINGE_WIDTH: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class ShapePrior:
    """A normal prior on one parameter of a shape.

    Attributes:
        name: of the parameter.
        mean: centre.
        sd: standard deviation.
    """

    name: str
    mean: float
    sd: float


class AccuracyLaw(Protocol):
    """One law, in x = log(B / B_ref) for the largest batch size that was measured."""

    @property
    def name(self) -> str:
        """The law's name."""

    @property
    def equation(self) -> str:
        """The law in one line."""

    @property
    def shape_priors(self) -> tuple[ShapePrior, ...]:
        """Priors of the D parameters of its shape."""

    @property
    def amplitude_scale(self) -> float:
        """Standard deviation of the half-normal prior of the amplitude, over the error's level."""

    def rise(self, x: npt.ArrayLike, shape: Floats) -> Floats:
        """Return g.

        Args:
            x: log(B / B_ref), broadcast against the shapes' leading axes.
            shape: (..., D).
        """

    def log_batch_size_at(self, rise: npt.ArrayLike, shape: Floats) -> Floats:
        """Return the x at which g has a value; inf where it never does.

        Args:
            rise: at least 0, broadcast against the shapes' leading axes.
            shape: (..., D).
        """


# Where the accuracy starts to fall, relative to the largest batch size measured, is where someone
# stopped: as for the knee of steps to target (`families`), the centre is right there and 90 % lies
# within a factor of 27 to either side.
_ONSET_SD: Final = 2.0

# No theory tells how much a doubling costs. Weak on purpose: as likely as not below a fifth of the
# error at small batches, and up to 0.6 of it within 95 %.
_AMPLITUDE_SCALE: Final = 0.3


@dataclass(frozen=True, kw_only=True)
class Hinge:
    """Flat, then linear in log B, with a bend of `HINGE_WIDTH` doublings."""

    name: str = "hinge"
    equation: str = "error(B) = level + slope * doublings of B beyond B_0 (a soft hinge)"
    amplitude_scale: float = _AMPLITUDE_SCALE

    @property
    def shape_priors(self) -> tuple[ShapePrior, ...]:
        """Prior of log(B_0 / B_ref)."""
        return (ShapePrior(name="log_onset", mean=0.0, sd=_ONSET_SD),)

    def rise(self, x: npt.ArrayLike, shape: Floats) -> Floats:
        """Return the doublings beyond the onset, softly."""
        z = (np.asarray(x) - shape[..., 0]) / (HINGE_WIDTH * _LOG_2)
        return np.asarray(HINGE_WIDTH * np.logaddexp(0.0, z))

    def log_batch_size_at(self, rise: npt.ArrayLike, shape: Floats) -> Floats:
        """Return x of a rise; exact inverse of `rise`."""
        z = np.asarray(rise, dtype=float) / HINGE_WIDTH
        with np.errstate(divide="ignore"):  # no rise at all: log 0, at no batch size
            z = z + np.log(-np.expm1(-z))
        return np.asarray(shape[..., 0] + HINGE_WIDTH * _LOG_2 * z)


@dataclass(frozen=True, kw_only=True)
class PowerRise:
    """A rise that grows as a power of B."""

    name: str = "power_rise"
    equation: str = "error(B) = level + c B^p"
    amplitude_scale: float = _AMPLITUDE_SCALE

    @property
    def shape_priors(self) -> tuple[ShapePrior, ...]:
        """Prior of log p: to first order the learning curve's rise is linear in B, p = 1."""
        return (ShapePrior(name="log_power", mean=0.0, sd=0.5),)

    def rise(self, x: npt.ArrayLike, shape: Floats) -> Floats:
        """Return (B / B_ref)^p."""
        return np.asarray(np.exp(np.exp(shape[..., 0]) * np.asarray(x)))

    def log_batch_size_at(self, rise: npt.ArrayLike, shape: Floats) -> Floats:
        """Return x of a rise."""
        with np.errstate(divide="ignore"):  # no rise at all: at no batch size
            return np.asarray(np.log(np.asarray(rise, dtype=float)) / np.exp(shape[..., 0]))


@dataclass(frozen=True, kw_only=True)
class LearningCurve:
    """The rise that fewer effective steps cause, by the hyperbola and a learning curve."""

    name: str = "learning_curve"
    equation: str = "error(B) = level + r ((1 + B / B_crit)^a - 1)"
    amplitude_scale: float = _AMPLITUDE_SCALE

    @property
    def shape_priors(self) -> tuple[ShapePrior, ...]:
        """Priors of log(B_crit / B_ref) and log a.

        Kaplan et al. 2020 (table 3) find a = 0.76 for losses of language models; errors of image
        classifiers may fall more slowly. 90 % of the prior is a in 0.26 .. 1.36.
        """
        return (
            ShapePrior(name="log_critical", mean=0.0, sd=_ONSET_SD),
            ShapePrior(name="log_exponent", mean=float(np.log(0.6)), sd=0.5),
        )

    def rise(self, x: npt.ArrayLike, shape: Floats) -> Floats:
        """Return (1 + B / B_crit)^a - 1."""
        ahead = np.logaddexp(0.0, np.asarray(x) - shape[..., 0])
        return np.asarray(np.expm1(np.exp(shape[..., 1]) * ahead))

    def log_batch_size_at(self, rise: npt.ArrayLike, shape: Floats) -> Floats:
        """Return x of a rise."""
        ahead = np.log1p(np.asarray(rise, dtype=float)) / np.exp(shape[..., 1])
        with np.errstate(divide="ignore"):  # no rise at all: at no batch size
            # log(e^ahead - 1) without overflow
            return np.asarray(shape[..., 0] + ahead + np.log(-np.expm1(-ahead)))


ACCURACY_LAWS: Final[tuple[AccuracyLaw, ...]] = (Hinge(), PowerRise(), LearningCurve())

"""The competing laws of the distance from the start, d(t) = ||w_t - w_0||, t in optimizer steps.

| name | d(t) | free |
|---|---|---|
| log | A log(t / t0) | A, t0 |
| power | A t^nu | A, nu |
| log_power | A (log(t / t0))^(2 / alpha) | A, t0, alpha |
| saturating | A (1 - exp(-t / tau))^nu | A, tau, nu |
| regime_switching | A sqrt(sum_k c_k s_k^(2 nu)), c_0 = 1 | A, nu, c_1 ... |

`log` is the "ultra-slow diffusion" of Hoffer et al. 2017, arXiv:1705.08741, section 3; `log_power`
the walk on a random potential whose height grows as distance^alpha (Bouchaud & Georges 1990), of
which theirs is alpha = 2; `power` is anomalous diffusion, nu = 1/2 a free random walk; `saturating`
one that a basin holds (Ornstein-Uhlenbeck: nu = 1/2). In `regime_switching` each learning rate
diffuses anew from where the last one ended: s_k are the steps spent in regime k so far.

Differs from the source: Hoffer et al. write d ~ log t, which is 0 at t = 1 and fixes the unit of
time; t0 is that unit, fitted. `log_power` holds `log` (alpha = 2) and, in the limit of small t0,
`power`; `saturating` and `regime_switching` hold `power`.

In log d all but the last are a line in their exponent: log d = log A + exponent phi(log t; shape).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from models_of_scaling.quantities import Floats

LawName = Literal["log", "power", "log_power", "saturating", "regime_switching"]
# The exponent of any law: a walk that outruns t^2 is none.
LARGEST_EXPONENT: Final = 8.0
# Bounds of the regimes' log weights: a regime beyond them moves nothing, or everything.
_LOG_WEIGHT: Final = (-14.0, 14.0)


@dataclass(frozen=True, kw_only=True)
class Law:
    """One law in the form log d = log A + exponent phi(log t; shape).

    Attributes:
        name: as in the table above.
        basis: phi: (log steps of shape (N,), shapes of shape (S, M), drops) to shape (S, N).
        bounds: of each of the M shape parameters, given the first and last log step and the drops.
        exponent: fixed, or None where it is free.
    """

    name: LawName
    basis: Callable[[Floats, Floats, Sequence[float]], Floats]
    bounds: Callable[[float, float, Sequence[float]], list[tuple[float, float]]]
    exponent: float | None = None

    def num_parameters(self, drops: Sequence[float]) -> int:
        """Return how many numbers are free: scale, exponent and shape.

        Args:
            drops: of the walk.
        """
        return 1 + (self.exponent is None) + len(self.bounds(0.0, 1.0, drops))


def _log_of_log(x: Floats, shape: Floats, drops: Sequence[float]) -> Floats:
    """log(log(t / t0)); the shape parameter is log(log t_first / t0)), so that it is defined."""
    return np.asarray(np.log(x - x.min() + np.exp(shape[:, :1])))


def _log_of_log_bounds(
    first: float, last: float, drops: Sequence[float]
) -> list[tuple[float, float]]:
    # From "starts at zero" to "grows by a thirtieth of itself over the walk": beyond is constant.
    return [(np.log(0.02), np.log(30.0 * max(last - first, 1.0)))]


def _log_time(x: Floats, shape: Floats, drops: Sequence[float]) -> Floats:
    return np.broadcast_to(x, (len(shape), len(x)))


def _no_shape(first: float, last: float, drops: Sequence[float]) -> list[tuple[float, float]]:
    return []


def _saturation(x: Floats, shape: Floats, drops: Sequence[float]) -> Floats:
    """log(1 - exp(-t / tau)); the shape parameter is log tau."""
    return np.asarray(np.log(-np.expm1(-np.exp(x - shape[:, :1]))))


def _saturation_bounds(
    first: float, last: float, drops: Sequence[float]
) -> list[tuple[float, float]]:
    # A tau beyond twenty times the walk is the power law.
    return [(first, last + 3.0)]


def _regimes(x: Floats, shape: Floats, drops: Sequence[float]) -> Floats:
    """1/2 log(sum_k c_k s_k^(2 nu)); the shape is nu, log c_1, ...; the exponent is fixed to 1."""
    steps = np.exp(x)
    starts = np.array([0.0, *drops])
    ends = np.array([*drops, np.inf])
    spent = np.clip(steps, None, ends[:, None]) - starts[:, None]  # (regimes, N)
    log_weights = np.concatenate([np.zeros((len(shape), 1)), shape[:, 1:]], axis=1)
    with np.errstate(divide="ignore"):
        log_spent = np.log(np.maximum(spent, 0.0))
    terms = log_weights[:, :, None] + 2 * shape[:, :1, None] * log_spent[None]
    return np.asarray(0.5 * np.logaddexp.reduce(terms, axis=1))


def _regime_bounds(first: float, last: float, drops: Sequence[float]) -> list[tuple[float, float]]:
    return [(0.02, 2.0), *([_LOG_WEIGHT] * len(drops))]


LAWS: Final[dict[LawName, Law]] = {
    law.name: law
    for law in (
        Law(name="log", basis=_log_of_log, bounds=_log_of_log_bounds, exponent=1.0),
        Law(name="power", basis=_log_time, bounds=_no_shape),
        Law(name="log_power", basis=_log_of_log, bounds=_log_of_log_bounds),
        Law(name="saturating", basis=_saturation, bounds=_saturation_bounds),
        Law(name="regime_switching", basis=_regimes, bounds=_regime_bounds, exponent=1.0),
    )
}


def applicable(drops: Sequence[float]) -> list[Law]:
    """Return the laws that can be told apart on a walk: regimes need a drop.

    Args:
        drops: of its learning rate.
    """
    return [law for law in LAWS.values() if drops or law.name != "regime_switching"]

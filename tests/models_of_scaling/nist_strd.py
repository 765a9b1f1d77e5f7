"""NIST's nonlinear regression sets as families of the fitter: models, data, certified values.

The files beside `tests/references/nist_strd/README.md` are read by line number, as NIST says.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

FOLDER = Path(__file__).parents[1] / "references" / "nist_strd"

Model = Callable[[npt.NDArray, npt.NDArray], npt.NDArray]


def _gauss(b, x):
    bells = (b[k] * np.exp(-(((x - b[k + 1]) / b[k + 2]) ** 2)) for k in (2, 5))
    return b[0] * np.exp(-b[1] * x) + sum(bells)


def _waves(b, x):
    angles = 2 * np.pi * x
    total = b[0] + b[1] * np.cos(angles / 12) + b[2] * np.sin(angles / 12)
    for k in (3, 6):
        total = total + b[k + 1] * np.cos(angles / b[k]) + b[k + 2] * np.sin(angles / b[k])
    return total


def _rational(top: int) -> Model:
    """b[0] + b[1] x + ... over 1 + b[top + 1] x + ..."""

    def model(b, x):
        above = sum(b[k] * x**k for k in range(top + 1))
        return above / (1 + sum(b[k] * x ** (k - top) for k in range(top + 1, len(b))))

    return model


def _decays(b, x):
    return sum(b[k] * np.exp(-b[k + 1] * x) for k in (0, 2, 4))


def _chwirut(b, x):
    return np.exp(-b[0] * x) / (b[1] + b[2] * x)


MODELS: dict[str, Model] = {
    "Bennett5": lambda b, x: b[0] * (b[1] + x) ** (-1 / b[2]),
    "BoxBOD": lambda b, x: b[0] * (1 - np.exp(-b[1] * x)),
    "Chwirut1": _chwirut,
    "Chwirut2": _chwirut,
    "DanWood": lambda b, x: b[0] * x ** b[1],
    "ENSO": _waves,
    "Eckerle4": lambda b, x: b[0] / b[1] * np.exp(-0.5 * ((x - b[2]) / b[1]) ** 2),
    "Gauss1": _gauss,
    "Gauss2": _gauss,
    "Gauss3": _gauss,
    "Hahn1": _rational(3),
    "Kirby2": _rational(2),
    "Lanczos1": _decays,
    "Lanczos2": _decays,
    "Lanczos3": _decays,
    "MGH09": lambda b, x: b[0] * (x**2 + b[1] * x) / (x**2 + b[2] * x + b[3]),
    "MGH10": lambda b, x: b[0] * np.exp(b[1] / (x + b[2])),
    "MGH17": lambda b, x: b[0] + b[1] * np.exp(-b[3] * x) + b[2] * np.exp(-b[4] * x),
    "Misra1a": lambda b, x: b[0] * (1 - np.exp(-b[1] * x)),
    "Misra1b": lambda b, x: b[0] * (1 - (1 + b[1] * x / 2) ** -2.0),
    "Misra1c": lambda b, x: b[0] * (1 - (1 + 2 * b[1] * x) ** -0.5),
    "Misra1d": lambda b, x: b[0] * b[1] * x / (1 + b[1] * x),
    "Rat42": lambda b, x: b[0] / (1 + np.exp(b[1] - b[2] * x)),
    "Rat43": lambda b, x: b[0] / (1 + np.exp(b[1] - b[2] * x)) ** (1 / b[3]),
    "Roszman1": lambda b, x: b[0] - b[1] * x - np.arctan(b[2] / (x - b[3])) / np.pi,
    "Thurber": _rational(3),
}


@dataclass(frozen=True, kw_only=True)
class NistSet:
    """One set: its data, two starts, the certified parameters and residual sum of squares."""

    x: npt.NDArray
    y: npt.NDArray
    starts: npt.NDArray
    certified: npt.NDArray
    standard_deviations: npt.NDArray
    sum_of_squares: float


def read_set(name: str) -> NistSet:
    """Parameters stand from line 41 of a file, its data from line 61: y, then x."""
    lines = (FOLDER / f"{name}.dat").read_text().splitlines()
    after_equals = [line.split("=")[1].split() for line in lines[40:60] if "=" in line]
    table = np.array(after_equals, dtype=float)
    squares = next(line for line in lines if line.startswith("Residual Sum of Squares"))
    y, x = np.array([line.split() for line in lines[60:] if line.strip()], dtype=float).T
    return NistSet(
        x=x,
        y=y,
        starts=table[:, :2].T,
        certified=table[:, 2],
        standard_deviations=table[:, 3],
        sum_of_squares=float(squares.split(":")[1]),
    )


@dataclass(frozen=True, kw_only=True)
class NistFamily:
    """A NIST model as the fitter sees a law: theta is b over a scale, and no prior."""

    model: Model
    scale: npt.NDArray
    prior_mean_K = np.zeros(1)
    prior_sd_K = np.full(1, np.inf)

    def shape_coordinates(self, theta_RP, x_last_R):
        return np.zeros((len(theta_RP), 1)), np.zeros((len(theta_RP), 1, theta_RP.shape[1]))

    def log_steps(self, theta_RP, x_N):
        """Values and derivatives; the complex step is exact to rounding, unlike a difference."""
        count, tiny = theta_RP.shape[1], 1e-30
        bumped = theta_RP[:, None, :] + 1j * tiny * np.eye(count)
        b = np.moveaxis(bumped * self.scale, -1, 0)[..., None]  # (P, R, P, 1)
        with np.errstate(all="ignore"):  # a step too far is a number too large, and is refused
            values = self.model(b, x_N)
        return values[:, 0].real, np.moveaxis(values.imag, 1, 2) / tiny

"""Shapes of steps against batch size, free of place and level, drawn from fits of surrogates.

A shape is h(u) = log S / S_min at u = log B / B_crit: what is left of a curve once its B_crit and
S_min are divided out. At another scale the curve is S_min exp(h(log B - log B_crit)).

Shapes: D = shapes, U = points of the table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models_of_scaling.fit_record import FitRecord
from models_of_scaling.fitted_law import FittedLaw
from models_of_scaling.fitting import Integers
from models_of_scaling.quantities import Floats

# From B_crit / 160,000 to 160,000 B_crit; beyond, the curve goes on with its last slope. In steps
# of 0.05 straight pieces miss a hard knee (second derivative 1) by 0.03 %.
_FARTHEST: Final = 12.0
_STEP: Final = 0.05
_TABLE: Final = np.arange(-_FARTHEST, _FARTHEST + _STEP / 2, _STEP)


@dataclass(frozen=True, kw_only=True, eq=False)
class CurveShapes:
    """Shapes with what else their draw said.

    Attributes:
        log_ratio: h at each point of the table, (D, U).
        log_critical: log B_crit of the surrogate in the same draw, (D,).
        noise: of one study's estimate at one batch size, in logs, (D,).
    """

    log_ratio: Floats
    log_critical: Floats
    noise: Floats

    def __len__(self) -> int:
        """Return the number of shapes."""
        return len(self.noise)

    def at(self, log_distance: Floats, shape: Integers) -> Floats:
        """Return h(u) of a shape each.

        Args:
            log_distance: u, any length.
            shape: number of the shape, of the same length.

        Returns:
            Of the same length.
        """
        place = (log_distance + _FARTHEST) / _STEP
        left = np.clip(np.floor(place).astype(np.int64), 0, len(_TABLE) - 2)
        share = place - left
        return np.asarray(
            (1 - share) * self.log_ratio[shape, left] + share * self.log_ratio[shape, left + 1]
        )


def draw_shapes(fits: Sequence[FitRecord], count: int, rng: np.random.Generator) -> CurveShapes:
    """Draw shapes: each fit as often as another, its laws by weight, their draws alike.

    Args:
        fits: of surrogates, at least one.
        count: D, about: rounded to a whole number per law.
        rng: source of randomness.

    Returns:
        The shapes, in random order.
    """
    parts = []
    for fit in fits:
        for law in fit.laws:
            wanted = round(count * law.weight / len(fits))
            if wanted:
                parts.append(_of_law(law, wanted, rng))
    order = rng.permutation(sum(len(part) for part in parts))
    return CurveShapes(
        log_ratio=np.concatenate([part.log_ratio for part in parts])[order],
        log_critical=np.concatenate([part.log_critical for part in parts])[order],
        noise=np.concatenate([part.noise for part in parts])[order],
    )


def _of_law(law: FittedLaw, count: int, rng: np.random.Generator) -> CurveShapes:
    columns = {
        name: np.array(law.replicates[name])
        for name in ("critical_batch_size", "min_steps", "noise")
    }
    replicates = len(columns["noise"])
    whole, rest = divmod(count, replicates)
    chosen = np.concatenate([
        np.tile(np.arange(replicates), whole),
        rng.permutation(replicates)[:rest],
    ])
    log_critical = np.log(columns["critical_batch_size"])
    # One grid of batch sizes for all draws, then each is read where its own B_crit puts the table.
    used = log_critical[np.unique(chosen)]
    logs = np.arange(used.min() - _FARTHEST, used.max() + _FARTHEST + _STEP, _STEP)
    log_steps = np.array([law.curves.log_steps(float(np.exp(log)))[:, 0] for log in logs])
    ratios = log_steps - np.log(columns["min_steps"])
    table = {
        number: np.interp(_TABLE + log_critical[number], logs, ratios[:, number])
        for number in np.unique(chosen).tolist()
    }
    return CurveShapes(
        log_ratio=np.array([table[number] for number in chosen.tolist()]),
        log_critical=log_critical[chosen],
        noise=columns["noise"][chosen],
    )

"""Which law of diffusion do walks follow, by how much, and over which steps?

Two judges. Akaike's criterion (AICc) over all points, under which a law with more parameters must
be better by 10 than one with fewer, since it often holds that one as a special case. And a
forecast: each law, fitted to the first three quarters of log t, predicts the last quarter.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from models_of_scaling.diffusion.law_fit import LawFit, fit_law
from models_of_scaling.diffusion.laws import LAWS, LawName, applicable
from models_of_scaling.diffusion.walk import Walk
from models_of_scaling.quantities import Floats

FEWEST_POINTS = 12  # of a walk: five numbers of the longest common law, and as many again to judge
# Burnham & Anderson 2002, section 2.6: 10 behind, a model has essentially no support. Less would do
# if the errors were what they are taken for; of walks that follow log t a margin of 6 gave one in
# ten to log_power.
MARGIN_OF_A_LARGER_LAW = 10.0
# The same & Anderson 2002, section 2.6: from 4 on a model has considerably less support.
CONSIDERABLE = 4.0
_HEAD = 0.75
_CUTS = 6  # of the walk, between which a law's range is looked for
Answer = Literal["yes", "no", "undecided"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Competitor:
    """How one law stands.

    Attributes:
        fit: over all points.
        misfit: root mean square of log d less the law, over all points: a share of the distance.
        tail_error: root mean square of its forecast of the last quarter of log t, in log d: a
            share of the distance; NaN where the first three quarters are too few points.
        holds: the longest stretch of steps over which no other law is better by 4 in AICc; None
            where there is no such stretch.
    """

    fit: LawFit
    misfit: float
    tail_error: float
    holds: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """The laws of one setting's walks, side by side.

    Attributes:
        competitors: by law.
        chosen: the law that AICc and the margin for larger laws choose.
    """

    competitors: dict[LawName, Competitor]
    chosen: LawName

    def behind(self, name: LawName) -> float:
        """Return how much larger a law's AICc is than the chosen law's."""
        return self.competitors[name].fit.aicc - self.competitors[self.chosen].fit.aicc

    @property
    def best_tail(self) -> LawName:
        """The law that predicts the last quarter best; the chosen one where none was predicted."""
        errors = {
            name: each.tail_error
            for name, each in self.competitors.items()
            if not math.isnan(each.tail_error)
        }
        return min(errors, key=errors.__getitem__) if errors else self.chosen

    @property
    def rival(self) -> LawName:
        """The law whose AICc is nearest to the chosen one's, its own extensions left out."""
        larger = self.competitors[self.chosen].fit.num_parameters
        others = {
            name: self.behind(name)
            for name, each in self.competitors.items()
            if name != self.chosen
            and not (name in _EXTENSIONS[self.chosen] and each.fit.num_parameters > larger)
        }
        return min(others, key=others.__getitem__)

    @property
    def is_log(self) -> Answer:
        """Whether the distance grows as log t."""
        if self.chosen == "log":
            return "yes" if self.behind(self.rival) >= CONSIDERABLE else "undecided"
        return "no" if self.behind("log") >= CONSIDERABLE else "undecided"


_EXTENSIONS: dict[LawName, tuple[LawName, ...]] = {
    "log": ("log_power",),
    "power": ("log_power", "saturating", "regime_switching"),
    "log_power": (),
    "saturating": (),
    "regime_switching": (),
}


def choose(fits: Sequence[LawFit]) -> LawFit:
    """Return the law that AICc chooses, where a larger one must be better by 10.

    Args:
        fits: of the same points.
    """
    best, *others = sorted(fits, key=lambda fit: (fit.num_parameters, fit.aicc))
    for fit in others:
        margin = MARGIN_OF_A_LARGER_LAW if fit.num_parameters > best.num_parameters else 0.0
        if fit.aicc < best.aicc - margin:
            best = fit
    return best


def compare(walks: Sequence[Walk], *, with_ranges: bool = True) -> Comparison:
    """Fit all laws that apply, and judge them.

    Args:
        walks: runs of one setting, that differ in their seed alone; each of 12 points or more.
        with_ranges: look for the steps over which each law holds; most of the time goes there.

    Returns:
        The comparison.

    Raises:
        ValueError: for a walk of fewer points.
    """
    if any(len(walk.steps) < FEWEST_POINTS for walk in walks):
        raise ValueError(f"a walk needs {FEWEST_POINTS} points")
    fits = [fit_law(law, walks) for law in applicable(walks[0].drops)]
    tails = _tail_errors(walks)
    ranges = _ranges(walks) if with_ranges else {}
    return Comparison(
        competitors={
            fit.name: Competitor(
                fit=fit,
                misfit=_misfit(fit, walks),
                tail_error=tails.get(fit.name, math.nan),
                holds=ranges.get(fit.name),
            )
            for fit in fits
        },
        chosen=choose(fits).name,
    )


def _misfit(fit: LawFit, walks: Sequence[Walk]) -> float:
    left = [np.log(walk.distance) - fit.log_distance(np.log(walk.steps)) for walk in walks]
    return float(np.sqrt(np.mean(np.square(np.concatenate(left)))))


def _tail_errors(walks: Sequence[Walk]) -> dict[LawName, float]:
    """Forecast the last quarter of log t of each walk from the rest."""
    first, last = walks[0].steps[0], walks[0].steps[-1]
    cut = math.exp(math.log(first) + _HEAD * math.log(last / first))
    heads = [walk.between(first, cut) for walk in walks]
    if min(len(head.steps) for head in heads) < FEWEST_POINTS - 3:
        return {}
    return {
        law.name: _forecast_error(fit_law(law, heads), heads, walks)
        for law in applicable(heads[0].drops)
    }


def _forecast_error(fit: LawFit, heads: Sequence[Walk], walks: Sequence[Walk]) -> float:
    """The forecast is the law's, moved by the last known error as far as that is remembered."""
    missed: list[Floats] = []
    for head, walk in zip(heads, walks, strict=True):
        tail = walk.steps > head.steps[-1]
        x, at = np.log(walk.steps[tail]), np.log(head.steps[-1:])
        error = float(np.log(head.distance[-1]) - fit.log_distance(at)[0])
        remembered = error * np.exp(-(x - at[0]) / fit.kappa)
        missed.append(np.log(walk.distance[tail]) - fit.log_distance(x) - remembered)
    return float(np.sqrt(np.mean(np.square(np.concatenate(missed)))))


def _ranges(walks: Sequence[Walk]) -> dict[LawName, tuple[float, float]]:
    """Return the longest stretch between cuts of log t over which each law holds."""
    steps = walks[0].steps
    cuts = np.exp(np.linspace(math.log(steps[0]), math.log(steps[-1]), _CUTS + 1))
    cuts[-1] = steps[-1]
    found: dict[LawName, tuple[float, float]] = {}
    for length in range(_CUTS, 0, -1):
        for place in range(_CUTS - length, -1, -1):  # of equally long ones the latest
            if len(found) == len(LAWS):
                return found
            parts = [walk.between(cuts[place], cuts[place + length]) for walk in walks]
            if min(len(part.steps) for part in parts) < FEWEST_POINTS:
                continue
            fits = [fit_law(law, parts) for law in applicable(parts[0].drops)]
            best = min(fit.aicc for fit in fits)
            for fit in fits:
                if fit.aicc - best < CONSIDERABLE:
                    found.setdefault(
                        fit.name, (float(parts[0].steps[0]), float(parts[0].steps[-1]))
                    )
    return found

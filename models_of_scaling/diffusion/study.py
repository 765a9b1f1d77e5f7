"""All settings of a table of walks: laws, exponents, and how exponents move between settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models_of_scaling.diffusion.block_bootstrap import exponent_interval
from models_of_scaling.diffusion.comparison import Comparison, compare
from models_of_scaling.diffusion.trends import Trend, exponent_trends
from models_of_scaling.diffusion.walk import Walk
from models_of_scaling.diffusion.walk_table import Setting
from models_of_scaling.intervals import Interval


@dataclass(frozen=True, kw_only=True, eq=False)
class StudiedSetting:
    """What is known of one setting.

    Attributes:
        setting: batch size, optimizer, learning rate.
        walks: its runs.
        comparison: of the laws.
        exponent: nu of the power law over all points, whether or not that law is chosen: the one
            number that can be compared between settings.
        chosen_exponent: of the chosen law.
    """

    setting: Setting
    walks: tuple[Walk, ...]
    comparison: Comparison
    exponent: Interval
    chosen_exponent: Interval

    @property
    def num_runs(self) -> int:
        """How many runs differ in their seed alone."""
        return len(self.walks)


@dataclass(frozen=True, kw_only=True, eq=False)
class DiffusionStudy:
    """All settings.

    Attributes:
        settings: sorted by optimizer, batch size and learning rate.
        trends: of the exponent.
        level: of all intervals.
    """

    settings: tuple[StudiedSetting, ...]
    trends: tuple[Trend, ...]
    level: float


def study_diffusion(
    walks: Mapping[Setting, Sequence[Walk]], *, replicates: int, level: float, seed: int
) -> DiffusionStudy:
    """Compare the laws in every setting, and the exponents between settings.

    Args:
        walks: by setting.
        replicates: of the bootstrap.
        level: of the intervals.
        seed: of the draws.

    Returns:
        The study.
    """
    studied = []
    for place, (setting, runs) in enumerate(walks.items()):
        rng = np.random.default_rng([seed, place])
        comparison = compare(runs)
        fits = {name: each.fit for name, each in comparison.competitors.items()}
        power, chosen = (
            exponent_interval(fits[name], runs, replicates=replicates, level=level, rng=rng)
            for name in ("power", comparison.chosen)
        )
        studied.append(
            StudiedSetting(
                setting=setting,
                walks=tuple(runs),
                comparison=comparison,
                exponent=power,
                chosen_exponent=chosen,
            )
        )
    trends = exponent_trends({each.setting: each.exponent for each in studied}, level=level)
    return DiffusionStudy(settings=tuple(studied), trends=tuple(trends), level=level)

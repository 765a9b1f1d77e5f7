"""Section "Ultra-slow diffusion": which law the distance from the start follows, and where not."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from models_of_scaling.diffusion.study import DiffusionStudy, StudiedSetting, study_diffusion
from models_of_scaling.diffusion.walk_table import WalkChoice, read_walks
from models_of_scaling.quantities import Floats
from models_of_scaling.wording import number_in_words
from paper.numbers.quoted import LEVEL, quoted
from paper.numbers.sweep_records import optimizer_title

WALKS: Final = "diffusion_fashion_mnist"
# With Hoffer's regime adaptation.
ADAPTED: Final = "diffusion_regime_fashion_mnist"
FROM_STEPS: Final = 32.0
_REPLICATES: Final = 400
_LAWS: Final = {
    "log": "log t", "power": "a power of t", "log_power": "a power of log t",
    "saturating": "saturating", "regime_switching": "regimes",
}  # fmt: skip


def study_walks(folder: Path, *, replicates: int = _REPLICATES) -> DiffusionStudy:
    """Return the study of recorded walks beyond their first steps.

    Args:
        folder: of the walks.
        replicates: of the bootstrap.
    """
    walks = read_walks(folder, WalkChoice(from_steps=FROM_STEPS))
    return study_diffusion(walks, replicates=replicates, level=LEVEL, seed=0)


def _row(studied: StudiedSetting) -> dict[str, Any]:
    comparison, setting = studied.comparison, studied.setting
    log = comparison.competitors["log"]
    best = comparison.competitors[comparison.chosen]
    return {
        "optimizer": optimizer_title(setting.optimizer),
        "learning_rate": f"{setting.learning_rate:g}",
        "batch_size": f"{setting.batch_size:,}",
        "law": _LAWS[comparison.chosen],
        "exponent": quoted(studied.exponent, studied.num_runs).as_json(),
        "log_behind": f"{comparison.behind('log'):.0f}",
        "log_tail": f"{100 * log.tail_error:.1f} %",
        "best_tail": f"{100 * best.tail_error:.1f} %",
        "log_holds": "nowhere" if log.holds is None else _range(log.holds),
    }


def _range(steps: tuple[float, float]) -> str:
    return f"{number_in_words(steps[0])} to {number_in_words(steps[1])}"


def walk_numbers(study: DiffusionStudy) -> dict[str, Any]:
    """Return the section's numbers.

    Args:
        study: of the walks at constant rates.
    """
    settings = study.settings
    behind = [each.comparison.behind("log") for each in settings]
    exponents = [each.exponent for each in settings]
    steps = settings[0].walks[0].steps
    runs = sum(each.num_runs for each in settings)
    return {
        "rows": [_row(each) for each in settings],
        "settings": len(settings),
        "runs": runs,
        "not_log": sum(each.comparison.is_log == "no" for each in settings),
        "log_is_best": sum(each.comparison.chosen == "log" for each in settings),
        "power_chosen": sum(each.comparison.chosen == "power" for each in settings),
        "least_behind": f"{min(behind):.0f}",
        "most_behind": f"{max(behind):.0f}",
        "exponent_low": f"{min(each.low for each in exponents):.2f}",
        "exponent_high": f"{max(each.high for each in exponents):.2f}",
        "below_half": all(each.high < 0.5 for each in exponents),
        "log_tail": _tails(settings, "log"),
        "power_tail": _tails(settings, "power"),
        "spread_fitted": _spread_of_slowest(settings)[0],
        "spread_last": _spread_of_slowest(settings)[1],
        "from_steps": f"{steps[0]:,.0f}",
        "to_steps": f"{steps[-1]:,.0f}",
        "trends": {
            trend.of: quoted(trend.change, len(settings), of="settings").as_json()
            for trend in study.trends
        },
    }


def local_exponents(studied: StudiedSetting) -> tuple[Floats, Floats]:
    """Return the slope of log distance over log steps, a doubling at a time, mean over runs.

    Args:
        studied: a setting.

    Returns:
        Steps in the middle of each doubling, and the slopes.
    """
    steps = studied.walks[0].steps
    logs = np.mean([np.log(walk.distance) for walk in studied.walks], axis=0)
    ends = np.searchsorted(steps, 2 * steps * (1 - 1e-9))
    known = ends < len(steps)
    start, end = np.flatnonzero(known), ends[known]
    slope = (logs[end] - logs[start]) / np.log(steps[end] / steps[start])
    return np.sqrt(steps[start] * steps[end]), slope


def _spread_of_slowest(settings: Sequence[StudiedSetting]) -> tuple[float, float]:
    """Return max - min over batch sizes: of the fitted exponents, of the last doubling's."""
    slowest = slowest_momentum(settings)
    last = [float(local_exponents(each)[1][-1]) for each in slowest]
    return float(np.ptp([each.exponent.estimate for each in slowest])), float(np.ptp(last))


def slowest_momentum(settings: Sequence[StudiedSetting]) -> list[StudiedSetting]:
    """Return the settings of momentum at its smallest learning rate: they differ in batch size."""
    ours = [each for each in settings if each.setting.optimizer == "momentum"]
    rate = min(each.setting.learning_rate for each in ours)
    return [each for each in ours if each.setting.learning_rate == rate]


def _tails(settings: Sequence[StudiedSetting], law: str) -> str:
    """Return a law's error in forecasting the last quarter: the median over settings, and ends."""
    errors = [
        100 * each.tail_error
        for studied in settings
        for name, each in studied.comparison.competitors.items()
        if name == law
    ]
    return f"{float(np.median(errors)):.0f} % ({min(errors):.0f} to {max(errors):.0f} %)"

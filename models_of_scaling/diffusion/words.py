"""The verdict on a setting's diffusion in words, and as plain data."""

import math
from collections.abc import Sequence

from models_of_scaling.diffusion.comparison import Comparison, Competitor
from models_of_scaling.diffusion.law_fit import LawFit
from models_of_scaling.diffusion.laws import LawName
from models_of_scaling.diffusion.study import StudiedSetting
from models_of_scaling.diffusion.trends import Trend
from models_of_scaling.diffusion.walk_table import Setting
from models_of_scaling.intervals import Interval
from models_of_scaling.wording import number_in_words

# Below this in log d, forecasts of two laws are alike.
_SAME_FORECAST = 1.1
# Walks of a law miss it by a few percent, in a thousand dimensions and more.
_POOR = 0.1


def setting_in_words(setting: Setting) -> str:
    """Return "batch size 256, momentum, peak learning rate 0.1"; "all runs" where nothing is known.

    Args:
        setting: of runs.
    """
    parts = []
    if setting.batch_size:
        parts.append(f"batch size {setting.batch_size:,}")
    if setting.optimizer:
        parts.append(setting.optimizer)
    if not math.isnan(setting.learning_rate):
        parts.append(f"peak learning rate {setting.learning_rate:.3g}")
    if setting.drops:
        parts.append(f"dropped after {', '.join(f'{drop:,.0f}' for drop in setting.drops)} steps")
    return ", ".join(parts) or "all runs"


def equation(fit: LawFit) -> str:
    """Return a fitted law as an equation in t, in steps.

    Args:
        fit: of any law.
    """
    scale = f"{math.exp(fit.log_scale):.3g}"
    if fit.name == "power":
        return f"d = {scale} t^{fit.exponent:.3f}"
    if fit.name == "saturating":
        return f"d = {scale} (1 - exp(-t / {math.exp(fit.shape[0]):.3g}))^{fit.exponent:.3f}"
    if fit.name == "regime_switching":
        shares = ", ".join(f"{math.exp(weight):.2g}" for weight in fit.shape[1:])
        return (
            f"d^2 = {scale}^2 (t^{2 * fit.shape[0]:.3f} + {{{shares}}} s_k^{2 * fit.shape[0]:.3f})"
        )
    power = "" if fit.name == "log" else f"^{fit.exponent:.3f}"
    return f"d = {scale} (log(t / {fit.zero_step:.3g})){power}"


def evidence_in_words(margin: float) -> str:
    """Return how strong a difference of AICc is (Burnham & Anderson 2002, section 2.6).

    Args:
        margin: not negative.

    >>> evidence_in_words(3.0), evidence_in_words(40.0)
    ('weak', 'overwhelming')
    """
    for limit, word in ((4.0, "weak"), (10.0, "considerable"), (30.0, "strong")):
        if margin < limit:
            return word
    return "overwhelming"


def verdict(comparison: Comparison) -> str:
    """Return one or two sentences: is it log t, how strong is the evidence, may one extrapolate?

    Args:
        comparison: of a setting's laws.
    """
    chosen, rival = comparison.chosen, comparison.rival
    against = "log" if comparison.is_log == "no" else rival
    margin = comparison.behind(against)
    strength = (
        f"{evidence_in_words(margin)} evidence (AICc {margin:.0f} lower than of {_title(against)})"
    )
    law = f"{_title(chosen)}, {equation(comparison.competitors[chosen].fit)}"
    words = {
        "yes": f"The distance grows as log t: {law}; {strength}.",
        "no": f"The distance does not grow as log t but by the law {law}; {strength}.",
        "undecided": f"Whether the distance grows as log t can't be told: {law}, is best, but its "
        f"AICc is only {margin:.1f} lower than of {_title(against)}.",
    }[comparison.is_log]
    return " ".join(filter(None, [words, _misfit_in_words(comparison), _tail_in_words(comparison)]))


def _misfit_in_words(comparison: Comparison) -> str:
    misfit = comparison.competitors[comparison.chosen].misfit
    if misfit < _POOR:
        return ""
    return (
        f"But no law fits all these steps (the best misses by {_percent(misfit)}): look at "
        "stretches by --from-steps and --to-steps."
    )


def _tail_in_words(comparison: Comparison) -> str:
    best, chosen = comparison.best_tail, comparison.chosen
    ours, theirs = (comparison.competitors[name].tail_error for name in (chosen, best))
    if math.isnan(ours) or math.isnan(theirs):
        return ""
    if ours <= _SAME_FORECAST * theirs:
        return (
            f"Fitted to the first three quarters of log t it predicts the last to {_percent(ours)}."
        )
    return (
        f"But of the last quarter of log t, {_title(best)} makes the better forecast "
        f"({_percent(theirs)} against {_percent(ours)}): don't extrapolate either."
    )


def table_lines(comparison: Comparison) -> list[str]:
    """Return one line a law: equation, AICc behind the chosen, forecast, where it holds.

    Args:
        comparison: of a setting's laws.
    """
    rows = [("law", "AICc", "misfit", "forecast", "holds over steps", "equation")]
    order = sorted(comparison.competitors, key=comparison.behind)
    for name in order:
        each = comparison.competitors[name]
        rows.append((
            ("* " if name == comparison.chosen else "  ") + _title(name),
            f"{comparison.behind(name):+.1f}",
            _percent(each.misfit),
            "-" if math.isnan(each.tail_error) else _percent(each.tail_error),
            _range_in_words(each),
            equation(each.fit),
        ))
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def exponent_in_words(interval: Interval) -> str:
    """Return the exponent of the power law, and what kind of diffusion it is.

    Args:
        interval: of nu.
    """
    if interval.high < 0.5:
        kind = "slower than a free random walk (1/2): sub-diffusion"
    elif interval.low > 1.0:
        kind = "faster than a straight line (1)"
    elif interval.low > 0.5:
        kind = "faster than a free random walk (1/2): super-diffusion"
    else:
        kind = "a free random walk's 1/2 is inside"
    return f"As a power of t: nu = {_exponent(interval)}, {kind}."


def trend_in_words(trend: Trend) -> str:
    """Return what one property does to the exponent, as a sentence.

    Args:
        trend: of `exponent_trends`.
    """
    change = trend.change
    ends = f"{change.low:+.3f} to {change.high:+.3f}"
    shown = f"{change.estimate:+.3f} ({100 * change.level:g} % interval {ends})"
    if trend.against:
        text = f"nu of {trend.of} minus nu of {trend.against}: {shown}"
    else:
        text = f"nu per doubling of the {trend.of.replace('_', ' ')}: {shown}"
    return text + ("; 0 is inside." if change.low <= 0 <= change.high else ".")


def setting_as_json(studied: StudiedSetting) -> dict[str, object]:
    """Return a setting's verdict as plain data; what is not known is None.

    Args:
        studied: of the study.
    """
    setting, comparison = studied.setting, studied.comparison
    return {
        "batch_size": setting.batch_size or None,
        "optimizer": setting.optimizer or None,
        "peak_learning_rate": _or_none(setting.learning_rate),
        "learning_rate_drops": list(setting.drops),
        "num_runs": studied.num_runs,
        "num_points": comparison.competitors[comparison.chosen].fit.num_points,
        "is_log": comparison.is_log,
        "chosen": comparison.chosen,
        "aicc_of_log_behind": comparison.behind("log"),
        "verdict": verdict(comparison),
        "exponent": _ends(studied.exponent),
        "chosen_exponent": _ends(studied.chosen_exponent),
        "laws": [
            {
                "law": name,
                "equation": equation(each.fit),
                "misfit": each.misfit,
                "aicc_behind": comparison.behind(name),
                "forecast_error": _or_none(each.tail_error),
                "holds_over_steps": None if each.holds is None else list(each.holds),
                "error_correlation_log_steps": each.fit.kappa,
                "error_share": each.fit.sigma,
            }
            for name, each in comparison.competitors.items()
        ],
    }


def trends_as_json(trends: Sequence[Trend]) -> list[dict[str, object]]:
    """Return trends as plain data.

    Args:
        trends: of the study.
    """
    return [
        {"of": each.of, "against": each.against or None, "change": _ends(each.change)}
        for each in trends
    ]


def _title(name: LawName) -> str:
    return {"log": "log t", "power": "a power of t", "log_power": "a power of log t"}.get(
        name, name.replace("_", "-")
    )


def _range_in_words(each: Competitor) -> str:
    if each.holds is None:
        return "nowhere"
    return " to ".join(number_in_words(end) for end in each.holds)


def _exponent(interval: Interval) -> str:
    level = f"{100 * interval.level:g} %"
    return f"{interval.estimate:.3f} ({level} interval {interval.low:.3f} to {interval.high:.3f})"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _ends(interval: Interval) -> dict[str, float]:
    return {"estimate": interval.estimate, "low": interval.low, "high": interval.high}

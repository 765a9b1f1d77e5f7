"""The tables of the report page, as plain words; no arithmetic but rounding."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from models_of_scaling.fit_record import FitRecord
from models_of_scaling.intervals import Interval
from models_of_scaling.laws import LawName
from models_of_scaling.limit import LimitVerdict
from models_of_scaling.prediction import predict
from models_of_scaling.residuals import BatchSizeResidual
from models_of_scaling.tuning_cost import TuningCost
from models_of_scaling.wording import law_title, number_in_words

_EQUATIONS: Final[dict[LawName, str]] = {
    "hyperbola": "S = S_min (1 + B_crit / B)",
    "power_with_floor": "S = S_min (1 + (B_crit / B)^alpha)",
    "p_norm_knee": "S = (S_min^q + (E_min / B)^q)^(1/q)",
    "smoothly_broken_power": "S = S_K ((B/K)^(-alpha q) + (B/K)^(-beta q))^(1/q)",
    "knee_with_upturn": "S = S_min (1 + B_crit / B) exp(B / B_turn)",
    "gaussian_process": "log S = log hyperbola + Gaussian process in log B",
}
_MEANINGS: Final = {
    "min_steps": "S_min, optimizer steps that no batch size goes below",
    "critical_batch_size": "B_crit, examples; where the steps are twice S_min",
    "exponent": "alpha, the slope far below the knee; 1 is perfect scaling there",
    "second_exponent": "beta, the slope beyond the corner; 0 would be a floor",
    "sharpness": "q, how hard the knee is; 1 is the hyperbola's, a large q a corner",
    "turning_batch_size": "B_turn, examples, where the steps are e times the hyperbola's",
    "corner_batch_size": "K, examples, where the two slopes cross",
    "corner_steps": "S_K, steps that either slope gives at the corner",
}


def _interval(interval: Interval) -> str:
    return f"{number_in_words(interval.low)} to {number_in_words(interval.high)}"


def _estimate(interval: Interval) -> str:
    """Return the estimate, or which bound is known; an open interval has no bare number."""
    if _is_nothing(interval) or interval.is_bounded:
        return number_in_words(interval.estimate)
    if interval.low > 0:
        return f"more than {number_in_words(interval.low)}"
    if math.isfinite(interval.high):
        return f"less than {number_in_words(interval.high)}"
    return "not known"


def tuning_rows(costs: Sequence[TuningCost]) -> list[dict[str, str]]:
    """Return a row per batch size that was searched: examples processed, and for what."""
    return [
        {
            "batch_size": f"{cost.batch_size:,}",
            "search": f"{cost.search:,}",
            "shortlist": f"{cost.shortlist:,}",
            "repeat": f"{cost.repeat:,}",
            "ratio": f"{number_in_words(cost.ratio)}x" if cost.repeat else "",
        }
        for cost in costs
        if cost.search
    ]


def prediction_rows(fit: FitRecord) -> list[dict[str, str]]:
    """Return a row per held-out batch size: predicted, measured, inside or not."""
    rows = []
    for answer in predict(fit, sorted(set(fit.held_out.batch_size))):
        runs = sum(size == answer.batch_size for size in fit.held_out.batch_size)
        measured = math.inf if answer.measured is None else answer.measured
        rows.append({
            "batch_size": f"{answer.batch_size:,}",
            "beyond": f"{number_in_words(answer.extrapolation)}x",
            "predicted": number_in_words(answer.steps.estimate),
            "interval": _interval(answer.steps),
            "measured": number_in_words(measured)
            if math.isfinite(measured)
            else f"more than {number_in_words(answer.measured_at_least or 0)}",
            "runs": str(runs),
            "error": f"{100 * (answer.steps.estimate / measured - 1):+.0f} %"
            if math.isfinite(measured)
            else "",
            "inside": "yes" if answer.is_inside else "no",
        })
    return rows


def definition_rows(verdict: LimitVerdict) -> list[dict[str, str]]:
    """Return a row per definition of the limit, the critical batch size of no floor included."""
    claims = list(verdict.definitions)
    if not verdict.has_floor:
        claims.append(verdict.critical_batch_size)
    return [
        {
            "name": claim.name,
            "meaning": claim.meaning,
            "batch_size": _estimate(claim.batch_size),
            "interval": _interval(claim.batch_size),
            "extrapolated": f"{100 * claim.extrapolated_share:.0f} %",
            "source": claim.source,
        }
        for claim in claims
    ]


def quantity_rows(fit: FitRecord) -> list[dict[str, str]]:
    """Return a row per parameter of each law, after those over all laws that have a floor."""
    overall = {"min_steps": fit.min_steps, "critical_batch_size": fit.critical_batch_size}
    floored = any(law.curves.has_floor for law in fit.laws)
    tables = [("all with a floor", overall)] if floored else []
    tables += [(law_title(law.name), law.parameters) for law in fit.laws]
    return [
        {
            "law": title if place == 0 else "",
            "name": name.replace("_", " "),
            "estimate": _estimate(parameters[name]),
            "interval": _interval(parameters[name]),
            "meaning": _MEANINGS.get(name, ""),
        }
        for title, parameters in tables
        for place, name in enumerate(_in_order(parameters))
    ]


def _in_order(parameters: Mapping[str, Interval]) -> list[str]:
    """Return the parameters' names, the ones that readers look for first; none without a floor."""
    known = [name for name in _MEANINGS if name in parameters]
    rest = sorted(name for name in parameters if name not in _MEANINGS)
    return [name for name in known + rest if not _is_nothing(parameters[name])]


def _is_nothing(interval: Interval) -> bool:
    """Return whether all draws have no bound: S_min and B_crit of a law without a floor."""
    return math.isinf(interval.low) or interval.high == 0


def law_rows(fit: FitRecord) -> list[dict[str, str]]:
    """Return a row per law: its equation and what speaks for it."""
    return [
        {
            "name": law_title(law.name) + (" (named)" if law is fit.best else ""),
            "equation": _EQUATIONS.get(law.name, ""),
            "weight": f"{100 * law.weight:.0f} %",
            "held_out_error": "none held out"
            if law.held_out_error is None
            else f"{100 * law.held_out_error:.1f} % on {law.num_held_out}",
            "log_evidence": f"{law.log_evidence:.1f}",
            "noise": f"{100 * law.noise:.1f} %",
        }
        for law in fit.laws
    ]


def measured_rows(fit: FitRecord, residuals: Sequence[BatchSizeResidual]) -> list[dict[str, str]]:
    """Return a row per measured batch size, the held-out ones after the fitted.

    Args:
        fit: the record.
        residuals: of the fitted batch sizes.
    """
    of_size = {each.batch_size: each for each in residuals}
    rows = []
    for part, word in ((fit.measured, "yes"), (fit.held_out, "held out")):
        sizes = np.array(part.batch_size)
        steps, reached = np.array(part.steps), np.array(part.reached, dtype=bool)
        for size in np.unique(sizes):
            at = sizes == size
            met = steps[at & reached]
            values = [met.min(), np.median(met), met.max()] if met.size else [math.inf] * 3
            words = [number_in_words(float(value)) if met.size else "" for value in values]
            off, in_noise = _off(of_size.get(int(size)) if part is fit.measured else None)
            rows.append({
                "batch_size": f"{size:,}",
                "runs": str(int(at.sum())),
                "reached": str(int((at & reached).sum())),
                "fewest": words[0],
                "median": words[1],
                "most": words[2],
                "fitted": word,
                "off": off,
                "in_noise": in_noise,
            })
    return rows


def _off(residual: BatchSizeResidual | None) -> tuple[str, str]:
    """Return how far a batch size is off the curve, in steps and in noise."""
    if residual is None:
        return "", ""
    least = "" if residual.reached else "at least "
    mark = " outlier" if residual.is_outlier else ""
    return (
        f"{least}{100 * math.expm1(residual.log_ratio):+.0f} %",
        f"{residual.in_noise:+.1f}{mark}",
    )


def provenance_rows(fit: FitRecord) -> list[tuple[str, str]]:
    """Return name and value of all that says where the numbers came from."""
    versions = fit.provenance.get("versions", {})
    return [
        ("table", f"{fit.source['path']} ({fit.source['num_rows']:,} rows)"),
        ("table sha256", str(fit.source["sha256"])),
        ("diverged trials", str(fit.source["num_diverged"])),
        ("replicates, seed", f"{fit.num_replicates:,}, {fit.seed}"),
        ("commit", fit.provenance["commit"] + (" + changes" if fit.provenance["dirty"] else "")),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("device", fit.provenance["device"]),
        ("fitted at", str(fit.provenance["start_time"])),
    ]

"""The tables of the report page, as plain words; no arithmetic but rounding."""

import math
from typing import Any

import numpy as np

from models_of_scaling.fit_record import FitRecord
from models_of_scaling.intervals import Interval
from models_of_scaling.prediction import predict
from models_of_scaling.wording import number_in_words

_LAW_TITLES = {
    "hyperbola": "hyperbola S = S_min (1 + B_crit / B)",
    "power_with_floor": "power with floor S = S_min (1 + (B_crit / B)^alpha)",
    "p_norm_knee": "p-norm knee S = (S_min^q + (E_min / B)^q)^(1/q)",
}
_MEANINGS = {
    "min_steps": "S_min, optimizer steps that no batch size goes below",
    "critical_batch_size": "B_crit, examples; where the steps are twice S_min",
    "exponent": "alpha, the slope far below B_crit; 1 is perfect scaling there",
    "sharpness": "q, how hard the knee is; 1 is the hyperbola's, a large q a corner",
}


def _interval(interval: Interval) -> str:
    return f"{number_in_words(interval.low)} to {number_in_words(interval.high)}"


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


def quantity_rows(fit: FitRecord) -> list[dict[str, str]]:
    """Return a row per parameter of the named law, with the interval over all laws."""
    overall = {"min_steps": fit.min_steps, "critical_batch_size": fit.critical_batch_size}
    parameters = {**fit.best.parameters, **overall}
    return [
        {
            "name": name.replace("_", " "),
            "estimate": number_in_words(interval.estimate),
            "interval": _interval(interval),
            "meaning": _MEANINGS.get(name, ""),
        }
        for name, interval in parameters.items()
    ]


def score_rows(fit: FitRecord) -> list[dict[str, Any]]:
    """Return a row per law: what speaks for it."""
    return [
        {
            "law": _LAW_TITLES.get(law.name, law.name) + (" (named)" if law is fit.best else ""),
            "cells": [
                f"{100 * law.weight:.0f} %",
                "" if law.held_out_error is None else f"{100 * law.held_out_error:.1f} %",
                f"{law.log_evidence:.1f}",
                f"{100 * law.noise:.1f} %",
            ],
        }
        for law in fit.laws
    ]


def measured_rows(fit: FitRecord) -> list[dict[str, str]]:
    """Return a row per measured batch size, the held-out ones after the fitted."""
    rows = []
    for part, word in ((fit.measured, "yes"), (fit.held_out, "held out")):
        sizes = np.array(part.batch_size)
        steps, reached = np.array(part.steps), np.array(part.reached, dtype=bool)
        for size in np.unique(sizes):
            at = sizes == size
            met = steps[at & reached]
            values = [met.min(), np.median(met), met.max()] if met.size else [math.inf] * 3
            words = [number_in_words(float(value)) if met.size else "" for value in values]
            rows.append({
                "batch_size": f"{size:,}",
                "runs": str(int(at.sum())),
                "reached": str(int((at & reached).sum())),
                "fewest": words[0],
                "median": words[1],
                "most": words[2],
                "fitted": word,
            })
    return rows


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

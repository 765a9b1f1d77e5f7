"""Section "Steps to target": each optimizer's law, what was held out, and what tuning cost."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from models_of_scaling.limit import judge
from models_of_scaling.limit_claims import LimitClaim
from models_of_scaling.tuning_cost import tuning_cost_of_table
from models_of_scaling.wording import law_title, number_in_words
from paper.numbers.held_out import held_out_numbers
from paper.numbers.quoted import Quoted, direction, geometric_mean_of, percent, quoted
from paper.numbers.ratios import critical_draws, min_steps_draws, num_runs, ratio
from paper.numbers.sweep_records import Sweep, optimizer_title, short_title, workload_title

BASELINE: Final = "momentum"


def baselines(sweeps: Sequence[Sweep]) -> dict[str, Sweep]:
    """Return each workload's sweep of momentum, which others are compared with."""
    return {each.file.workload: each for each in sweeps if each.file.optimizer == BASELINE}


def row_of(sweep: Sweep, base: Sweep | None) -> dict[str, Any]:
    """Return one sweep's numbers.

    Args:
        sweep: with its fits.
        base: the same workload's momentum; None where there is none, or where this is it.
    """
    fit, file = sweep.fit, sweep.file
    verdict, n = judge(fit), num_runs(sweep)

    def claim(each: LimitClaim) -> dict[str, Any]:
        return quoted(each.batch_size, n).as_json()

    row: dict[str, Any] = {
        "workload": workload_title(file.workload),
        "optimizer": optimizer_title(file.optimizer),
        "key": f"{file.workload}.{file.optimizer}",
        "target": fit.target or "train_loss<=0.5",
        "num_train_examples": f"{fit.num_train_examples:,}" if fit.num_train_examples else "",
        "n": n,
        "not_reached": fit.num_censored,
        "unreached_sizes": [f"{int(s):,}" for s in sweep.batch_sizes[~np.isfinite(sweep.steps)]],
        "batch_sizes": len(sweep.batch_sizes),
        "smallest": f"{fit.smallest_batch_size:,}",
        "largest": f"{fit.largest_batch_size:,}",
        "steps_at_largest": steps_at_largest(sweep),
        "short": short_title(file.optimizer),
        "trials": f"{fit.source['num_rows']:,}" if file.has_trials else "",
        "diverged": f"{fit.source['num_diverged']:,}" if file.has_trials else "",
        "law": law_title(fit.law),
        "law_weight": f"{fit.best.weight:.2f}",
        "code": fit.code,
        "min_steps": quoted(verdict.min_steps, n).as_json(),
        "critical": quoted(verdict.critical_batch_size.batch_size, n).as_json(),
        "overhead": claim(verdict.with_overhead),
        "pays": claim(verdict.pays_up_to),
        "stops": claim(verdict.stops_paying),
    }
    if base is not None and base is not sweep:
        row["critical_ratio"] = ratio(sweep, base, critical_draws).as_json()
        row["min_steps_ratio"] = ratio(sweep, base, min_steps_draws).as_json()
    return row | ({"cost": cost_of(sweep)} if file.has_trials else {})


def steps_at_largest(sweep: Sweep) -> dict[str, Any] | None:
    """Return steps to target at the largest batch size; None where a run did not reach it."""
    at = sweep.measured.batch_size == sweep.batch_sizes[-1]
    if not sweep.measured.reached[at].all() or at.sum() < 2:
        return None
    return geometric_mean_of(sweep.measured.steps[at].tolist()).as_json()


def cost_of(sweep: Sweep) -> dict[str, Any]:
    """Return what the tuning of one sweep cost, in examples and run time."""
    cost = tuning_cost_of_table(sweep.trials)
    tuning = sum(each.search + each.shortlist for each in cost)
    repeat = sum(each.repeat for each in cost)
    seconds = float(np.nansum(sweep.trials["wall_time_s"].to_numpy()))
    largest = cost[-1]
    return {
        "examples": f"{(tuning + repeat) / 1e6:.1f}",
        "per_example": number_in_words(_tuning_per_measured(sweep)),
        "share_of_largest": percent((largest.search + largest.shortlist) / tuning),
        "minutes": f"{seconds / 60:.1f}",
    }


def _tuning_per_measured(sweep: Sweep) -> float:
    cost = tuning_cost_of_table(sweep.trials)
    return sum(each.search + each.shortlist for each in cost) / sum(each.repeat for each in cost)


def sweep_numbers(sweeps: Sequence[Sweep]) -> dict[str, Any]:
    """Return the section's numbers.

    Args:
        sweeps: all, in the order of the pages.
    """
    base = baselines(sweeps)
    rows = [row_of(each, base.get(each.file.workload)) for each in sweeps]
    tuning = [_tuning_per_measured(each) for each in sweeps if each.file.has_trials]
    trials = [each for each in sweeps if each.file.has_trials]
    return {
        "rows": rows,
        "workloads": sorted(
            {row["workload"] for row in rows}, key=[r["workload"] for r in rows].index
        ),
        "num_sweeps": len(rows),
        "held_out": held_out_numbers(sweeps),
        "sentences": sentences(sweeps),
        "tuning": [number_in_words(each) for each in (min(tuning), max(tuning))] if tuning else [],
        "total": {
            "trials": f"{sum(len(each.trials) for each in trials):,}",
            "examples": f"{_total(trials, 'examples') / 1e6:,.0f}",
            "hours": f"{_total(trials, 'wall_time_s') / 3600:.1f}",
        },
    }


def _total(sweeps: Sequence[Sweep], column: str) -> float:
    return float(sum(np.nansum(each.trials[column].to_numpy()) for each in sweeps))


def compared(sweeps: Sequence[Sweep], optimizer: str) -> dict[str, dict[str, Quoted]]:
    """Return an optimizer's ratios to momentum, by workload.

    Args:
        sweeps: all.
        optimizer: its name.
    """
    base = baselines(sweeps)
    return {
        each.file.workload: {
            "critical": ratio(each, base[each.file.workload], critical_draws),
            "min_steps": ratio(each, base[each.file.workload], min_steps_draws),
        }
        for each in sweeps
        if each.file.optimizer == optimizer and each.file.workload in base
    }


def verdict_over(parts: Sequence[dict[str, Any]], key: str, words: tuple[str, ...]) -> str:
    """Return what holds of the workloads beside momentum, counted where they differ.

    Args:
        parts: one a workload.
        key: of the word that each supports.
        words: in the order to be said.

    Returns:
        "larger than momentum's", or which word holds on how many workloads.
    """
    counts = Counter(part[key] for part in parts)
    if len(counts) == 1:
        return f"{parts[0][key]} momentum\u2019s"
    said = [
        f"{word} momentum\u2019s on {counts[word]} workload{'s' if counts[word] > 1 else ''}"
        for word in words
        if counts[word]
    ]
    return " and ".join(said)


def sentences(sweeps: Sequence[Sweep]) -> dict[str, Any]:
    """Return sentences whose direction the numbers decide, by optimizer."""
    said: dict[str, Any] = {}
    for optimizer in sorted({each.file.optimizer for each in sweeps} - {BASELINE}):
        parts = []
        for workload, found in compared(sweeps, optimizer).items():
            critical, steps = found["critical"], found["min_steps"]
            parts.append({
                "workload": workload_title(workload),
                "critical": critical.as_json(),
                "critical_word": direction(
                    critical, 1.0, ("larger than", "smaller than", "not told from")
                ),
                "min_steps": steps.as_json(),
                "min_steps_word": direction(
                    steps, 1.0, ("more than", "fewer than", "not told from")
                ),
            })
        said[optimizer] = {
            "title": optimizer_title(optimizer),
            "parts": parts,
            "verdict": verdict_over(
                parts, "critical_word", ("larger than", "smaller than", "not told from")
            ),
            "steps_verdict": verdict_over(
                parts, "min_steps_word", ("more than", "fewer than", "not told from")
            ),
        }
    return said

"""Makes the tables of what is known of B_crit beside a series' own rows (`backtest --evidence`).

Three kinds, none of which sees the rung that it is for:

- noise_scale: of the noisy quadratic model the simple noise scale tr(C) / |h theta|^2 (McCandlish
  et al. 2018, eq. 2.9) at the target, on the way that gradient flow takes there, from its spectrum.
  A straight line in logs from it to B_crit, and how B_crit scatters about it, are learned from the
  other rungs: as a constant ratio the two differ by a factor of 3.4 from rung to rung;
- ladder: the regression of `models_of_scaling.transfer` on the other rungs' covariates;
- within: hypothetical. B_crit of the whole series, the held-out part included, made wrong by a draw
  of Student's t whose middle 90 % is the factor. It says what an estimate of that quality would be
  worth, not that anyone has one.

    python paper/evidence.py --out paper/results
"""

import argparse
import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import brentq
from scipy.special import stdtrit

from models_of_scaling.fit_record import FitRecord
from models_of_scaling.intervals import weighted_quantile
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.mixture import critical_batch_sizes, mixed
from models_of_scaling.noise import OUTLIER_DEGREES
from models_of_scaling.published.loader import steps_series
from models_of_scaling.transfer.full_scale import predict_knee
from models_of_scaling.transfer.ladder import Ladder
from models_of_scaling.transfer.ladder_table import read_ladder
from surrogate.noisy_quadratic import Spectrum, power_law_spectrum

RESULTS = Path(__file__).parent / "results"
TARGET_RISK = 0.01  # of every rung of the simulator's ladder
FACTORS = (1.3, 2.0, 4.0)
Row = dict[str, str | float]


def noise_scale_at_target(spectrum: Spectrum, *, target_risk: float = TARGET_RISK) -> float:
    """Return tr(C) / |h theta|^2 where gradient flow from the start meets the target risk.

    Args:
        spectrum: of the noisy quadratic model.
        target_risk: below that of the start.

    Returns:
        Examples.
    """
    h, start = spectrum.curvature_P, spectrum.initial_P

    def left(log_time: float) -> np.ndarray:
        return start * np.exp(-2 * h * math.exp(log_time))  # E[theta_i^2]

    met = brentq(lambda t: 0.5 * float((h * left(t)).sum()) - target_risk, -10.0, 30.0)
    return float(spectrum.noise_P.sum() / (h**2 * left(met)).sum())


def critical_of(fit: FitRecord) -> float:
    """Return the median of B_crit over all laws' draws: finite where the rows give no bound."""
    values, weights = mixed(fit.laws, lambda law: critical_batch_sizes(law.curves))
    return float(weighted_quantile(values, weights, [0.5])[0])


def noise_scale_rows(ladder: Ladder) -> list[Row]:
    """Return evidence for each rung from its noise scale and a line through the other rungs."""
    scales = np.array([
        noise_scale_at_target(
            power_law_spectrum(num_modes=round(modes), curvature_exponent=curvature)
        )
        for modes, curvature in zip(
            ladder.covariates["num_parameters"], ladder.covariates["curvature"], strict=True
        )
    ])
    critical = np.log([critical_of(fit) for fit in ladder.fits if fit is not None])
    rows: list[Row] = []
    for rung, name in enumerate(ladder.rung):
        others = np.arange(len(scales)) != rung
        design = np.column_stack([np.ones(others.sum()), np.log(scales[others])])
        here = np.array([1.0, math.log(scales[rung])])
        line = np.linalg.lstsq(design, critical[others])[0]
        degrees = int(others.sum()) - 2
        variance = float(((critical[others] - design @ line) ** 2).sum()) / degrees
        spread = math.sqrt(variance * (1 + here @ np.linalg.inv(design.T @ design) @ here))
        rows.append({
            "workload": name,
            "critical_batch_size": float(np.exp(here @ line)),
            "knee_factor": float(np.exp(stdtrit(degrees, 0.95) * spread)),
            "noise_scale": float(scales[rung]),
        })
    return rows


def ladder_rows(ladder: Ladder) -> list[Row]:
    """Return evidence for each rung from the regression on the other rungs."""
    rows: list[Row] = []
    rng = np.random.default_rng(0)
    for rung, name in enumerate(ladder.rung):
        rest = ladder.take(np.arange(len(ladder)) != rung)
        place = {key: float(column[rung]) for key, column in ladder.covariates.items()}
        drawn = predict_knee(rest, place, workload=ladder.workload[rung]).draw(20_000, rng)[:, 0]
        low, middle, high = np.quantile(drawn, [0.05, 0.5, 0.95])
        rows.append({
            "workload": name,
            "critical_batch_size": float(np.exp(middle)),
            "knee_factor": float(np.exp(0.5 * (high - low))),
        })
    return rows


def within_rows(fits: Iterable[tuple[str, FitRecord]], factor: float, *, seed: int) -> list[Row]:
    """Return hypothetical evidence: each series' own B_crit, off by a draw within the factor."""
    named = list(fits)
    even = (np.arange(len(named)) + 0.5) / len(named)
    deviates = np.random.default_rng(seed).permutation(stdtrit(OUTLIER_DEGREES, even))
    scale = math.log(factor) / stdtrit(OUTLIER_DEGREES, 0.95)
    return [
        {
            "workload": name,
            "critical_batch_size": critical_of(fit) * math.exp(scale * deviate),
            "knee_factor": factor,
        }
        for (name, fit), deviate in zip(named, deviates, strict=True)
    ]


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write rows with four digits."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(rows[0])
        for row in rows:
            writer.writerow([
                value if isinstance(value, str) else f"{value:.4g}" for value in row.values()
            ])


def main() -> None:
    """Write all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS)
    out = parser.parse_args().out
    choice = FitChoice(replicates=300)
    published = [(each.name, fit_laws(each.rows, choice)) for each in steps_series()]
    quadratic = read_ladder(RESULTS / "ladder_noisy_quadratic.csv", ["num_parameters", "curvature"])
    digits = read_ladder(RESULTS / "ladder_digits.csv")
    write(out / "evidence_noise_scale.csv", noise_scale_rows(quadratic))
    for name, ladder in (("noisy_quadratic", quadratic), ("digits", digits)):
        write(out / f"evidence_ladder_{name}.csv", ladder_rows(ladder))
    for factor in FACTORS:
        write(
            out / f"evidence_within_{factor:g}.csv",
            within_rows(published, factor, seed=0),
        )


if __name__ == "__main__":
    main()

"""Do 90 % intervals hold the truth in about 90 % of simulated studies? Prints what it measures."""

import numpy as np
import pytest

from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.laws import Hyperbola, PowerWithFloor
from models_of_scaling.prediction import predict

NUM_STUDIES = 200
# 0.9 less 4 standard errors of 0.021 at 200 studies, and 0.9 plus 3.5 of them.
LOWEST, HIGHEST = 0.82, 0.975
# An interval of any width covers; these are the widths (high / low) that were measured, plus a
# sixth: 1.2, 1.8 and 1.7.
WIDEST_AT_4X = 2.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("law", "sizes", "seeds"),
    [
        (Hyperbola(min_steps=100, critical_batch_size=256), 2 ** np.arange(3, 11), 3),
        (Hyperbola(min_steps=100, critical_batch_size=256), 2 ** np.arange(3, 8), 3),
        (
            PowerWithFloor(min_steps=100, critical_batch_size=256, exponent=0.8),
            2 ** np.arange(3, 11),
            1,
        ),
    ],
    ids=["hyperbola_past_the_knee", "hyperbola_below_the_knee", "power_with_floor_no_repeats"],
)
def test_ninety_percent_intervals_hold_the_truth_that_often(simulated, capsys, law, sizes, seeds):
    rng = np.random.default_rng(0)
    largest = int(sizes[-1])
    asked = {"1x": largest, "2x": 2 * largest, "4x": 4 * largest}
    holds: dict[str, list[bool]] = {name: [] for name in [*asked, "B_crit"]}
    widths = []
    for study in range(NUM_STUDIES):
        rows = simulated.measurements(*simulated.noisy_rows(law, sizes, rng, seeds=seeds))
        fit = fit_laws(rows, FitChoice(replicates=100, seed=study))
        holds["B_crit"].append(fit.critical_batch_size.holds(law.critical_batch_size))
        answers = predict(fit, list(asked.values()))
        widths.append(answers[-1].steps.high / answers[-1].steps.low)
        for (name, size), answer in zip(asked.items(), answers, strict=True):
            _, new_study = simulated.noisy_rows(law, np.array([size]), rng, seeds=seeds)
            holds[name].append(answer.steps.holds(np.exp(np.log(new_study).mean())))
    shares = {name: float(np.mean(column)) for name, column in holds.items()}
    with capsys.disabled():
        print(f"\ncoverage of 90 % intervals over {NUM_STUDIES} studies: {shares}")
        print(f"median width (high / low) at 4x: {np.median(widths):.2f}")
    for name, share in shares.items():
        # B_crit's interval may hold it more often: it mixes laws of which one is too free, and
        # where the data end below the knee its upper end is often open, as it should be.
        assert LOWEST <= share <= (1.0 if name == "B_crit" else HIGHEST), name
    assert np.median(widths) < WIDEST_AT_4X

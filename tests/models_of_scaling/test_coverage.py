"""Do 90 % intervals hold the truth in about 90 % of simulated studies? Prints what it measures.

Where the data end before the knee, one law's coverage is no longer 90 % by construction: the prior
is right on average over knees, not for each. There the price is width, so the width is printed.
"""

from dataclasses import dataclass

import numpy as np
import pytest

from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.laws import Hyperbola, Law, PNormKnee, PowerWithFloor
from models_of_scaling.prediction import predict

NUM_STUDIES = 200
# 0.9 less 4 standard errors of 0.021 at 200 studies, and 0.9 plus 3.5 of them.
LOWEST, HIGHEST = 0.82, 0.975


@dataclass(frozen=True, kw_only=True)
class Case:
    law: Law
    sizes: np.ndarray
    seeds: int
    # An interval of any width covers; this is the width (high / low) at 4x that was measured, plus
    # a sixth.
    widest_at_4x: float
    # Beyond the data before the knee, more than 0.975 is the price of not knowing.
    highest: float = HIGHEST
    lowest: float = LOWEST


HYPERBOLA = Hyperbola(min_steps=100, critical_batch_size=256)
SHARP = PNormKnee(min_steps=100, critical_batch_size=256, sharpness=2)
CASES = {
    "hyperbola_past_the_knee": Case(
        law=HYPERBOLA, sizes=2 ** np.arange(3, 11), seeds=3, widest_at_4x=1.5
    ),
    "hyperbola_below_the_knee": Case(
        law=HYPERBOLA, sizes=2 ** np.arange(3, 8), seeds=3, widest_at_4x=2.5, highest=1.0
    ),
    "power_with_floor_no_repeats": Case(
        law=PowerWithFloor(min_steps=100, critical_batch_size=256, exponent=0.8),
        sizes=2 ** np.arange(3, 11),
        seeds=1,
        widest_at_4x=2.1,
    ),
    "p_norm_past_the_knee": Case(
        law=SHARP, sizes=2 ** np.arange(3, 11), seeds=3, widest_at_4x=1.95
    ),
    "p_norm_data_end_2x_below_the_knee": Case(
        law=SHARP, sizes=2 ** np.arange(1, 8), seeds=3, widest_at_4x=2.6, highest=0.98
    ),
    "p_norm_data_end_8x_below_the_knee": Case(
        law=PNormKnee(min_steps=100, critical_batch_size=1024, sharpness=2),
        sizes=2 ** np.arange(1, 8),
        seeds=3,
        widest_at_4x=2.6,
        highest=0.98,
    ),
    # The falling part meets the floor at twice the largest batch size, B_crit is 1.15 times it.
    "perfect_scaling_and_the_knee_just_beyond": Case(
        law=PNormKnee(min_steps=100, critical_batch_size=148, sharpness=2),
        sizes=2 ** np.arange(1, 8),
        seeds=3,
        widest_at_4x=2.8,
        # Two laws of three can't bend so late and so hard; their half of the odds costs coverage.
        lowest=0.7,
    ),
    # A known weakness, kept in sight: a knee harder than 92 % of the prior's (q = 3), at the same
    # place, of which the data hold 4 % at the largest batch size. A prior that covered it as often
    # as others would be wider for every other law.
    "perfect_scaling_and_a_hard_knee_just_beyond": Case(
        law=PNormKnee(min_steps=100, critical_batch_size=134, sharpness=3),
        sizes=2 ** np.arange(1, 8),
        seeds=3,
        widest_at_4x=2.8,
        lowest=0.2,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_ninety_percent_intervals_hold_the_truth_that_often(simulated, capsys, case):
    rng = np.random.default_rng(0)
    largest = int(case.sizes[-1])
    asked = {"1x": largest, "2x": 2 * largest, "4x": 4 * largest}
    holds: dict[str, list[bool]] = {name: [] for name in [*asked, "B_crit"]}
    widths = []
    for study in range(NUM_STUDIES):
        rows = simulated.noisy_rows(case.law, case.sizes, rng, seeds=case.seeds)
        fit = fit_laws(simulated.measurements(*rows), FitChoice(replicates=100, seed=study))
        holds["B_crit"].append(fit.critical_batch_size.holds(case.law.critical_batch_size))
        answers = predict(fit, list(asked.values()))
        widths.append([answer.steps.high / answer.steps.low for answer in answers])
        for (name, size), answer in zip(asked.items(), answers, strict=True):
            _, new_study = simulated.noisy_rows(case.law, np.array([size]), rng, seeds=case.seeds)
            holds[name].append(answer.steps.holds(np.exp(np.log(new_study).mean())))
    shares = {name: float(np.mean(column)) for name, column in holds.items()}
    at_2x, at_4x = np.median(widths, axis=0)[1:]
    with capsys.disabled():
        print(f"\ncoverage of 90 % intervals over {NUM_STUDIES} studies: {shares}")
        print(f"median width (high / low) at 2x: {at_2x:.2f}, at 4x: {at_4x:.2f}")
    for name, share in shares.items():
        # B_crit's interval may hold it more often: it mixes laws of which some are too free, and
        # where the data end below the knee its upper end is often open, as it should be.
        assert case.lowest <= share <= (1.0 if name == "B_crit" else case.highest), name
    assert at_4x < case.widest_at_4x

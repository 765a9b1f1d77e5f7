"""Do 90 % intervals hold the truth in about 90 % of simulated studies? Prints what it measures.

Bounds are 0.9 and four standard errors either way. Where a case is known to be held less often, the
share that was measured and its reason stand beside it, and four standard errors below that share
are the bound. Shares above 0.9 are expected of

- "2x" and "4x": a prediction beyond the rows allows for a law that errs by 8 % an octave, and from
  7 batch sizes on it is stretched, because no law holds as well as many batch sizes tell it; here
  the law holds. For the same reason where it errs by that much ("law off"). For the curve by the
  draws alone both bounds stand;
- "1x": the noise of these studies is normal, and a new study is predicted with Student's t, as the
  published ones are; `test_priors.py` has studies with its tails;
- S_min and B_crit, whose intervals open an end where rows tell no floor;
- averages over laws: two of three are too free or too stiff for the truth. Their width is bounded.

A fixed truth near the centre of a prior is held more often than 90 %, one far from it less: the
promise is for truths as the prior has them, and `test_priors.py` measures that one.
"""

import importlib
import sys
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path

import numpy as np
import pytest

from models_of_scaling.laws import (
    Hyperbola,
    KneeWithUpturn,
    PNormKnee,
    PowerWithFloor,
    SmoothlyBrokenPower,
)

sys.path.insert(0, str(Path(__file__).parent))  # the processes look for the module there too
simulated_studies = importlib.import_module("simulated_studies")
Study = simulated_studies.Study

# May be held more often: see above.
OPEN_ABOVE = (
    "1x", "2x", "4x", "2x, law off", "4x, law off", "min_steps", "critical_batch_size",
)  # fmt: skip
ALL = (*OPEN_ABOVE, "curve at 1x", "curve at 2x", "curve at 4x")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A study, how often it is run, and what was measured where that is not 90 %."""

    study: object
    # Median of high / low; an interval of any width covers, so a sixth more fails.
    width_at_4x: float
    num_studies: int = 500
    known: dict[str, float] = field(default_factory=dict)
    open_above: tuple[str, ...] = OPEN_ABOVE


@dataclass(frozen=True, kw_only=True)
class Averaged(Case):
    """A study to which the three averaged laws are fitted, with their rolling-origin scores.

    Each takes as long as five of one law. What 80 can't tell from 0.9 at four standard errors
    (0.77) no other number here that the time allows could: failures that were seen held 0.2 to 0.6.
    """

    num_studies: int = 80
    open_above: tuple[str, ...] = ALL


def powers(first, last):
    return tuple(2**k for k in range(first, last + 1))


HYPERBOLA = Hyperbola(min_steps=100, critical_batch_size=256)
SOFT = PowerWithFloor(min_steps=100, critical_batch_size=256, exponent=0.8)
SHARP = PNormKnee(min_steps=100, critical_batch_size=256, sharpness=2)


def alone(law, **values):
    return Study(law=law, laws=(law.name,), **values)


LAWS_ALONE = {
    "hyperbola": Case(study=alone(HYPERBOLA), width_at_4x=1.89),
    "power_with_floor": Case(
        study=alone(SOFT),
        width_at_4x=1.92,
        # 0.958 measured: the prior's 0.2 is not much wider than what these rows leave open.
        open_above=(*OPEN_ABOVE, "exponent"),
    ),
    "p_norm_knee": Case(study=alone(SHARP), width_at_4x=1.93),
    "smoothly_broken_power": Case(
        study=alone(
            SmoothlyBrokenPower(
                corner_steps=100,
                corner_batch_size=256,
                exponent=1.0,
                second_exponent=0.1,
                sharpness=2,
            ),
            sizes=powers(3, 13),
        ),
        width_at_4x=2.10,
        # 0.952 and 0.956 measured: truths near the centre of their priors, which tell most of them.
        open_above=(*OPEN_ABOVE, "exponent", "sharpness"),
    ),
    "knee_with_upturn": Case(
        study=alone(
            KneeWithUpturn(min_steps=100, critical_batch_size=256, turning_batch_size=8192),
            sizes=powers(3, 12),
        ),
        width_at_4x=4.25,
    ),
    "gaussian_process": Case(
        study=Study(law=HYPERBOLA, laws=("gaussian_process",), deviation=0.1),
        width_at_4x=1.92,
        # A smooth path of 10 % about the law is a bend as often as not, and the grid's amplitudes
        # begin at 1 %: what the allowance for a law that errs adds makes up for it.
        known={"curve at 1x": 0.84, "curve at 2x": 0.82, "curve at 4x": 0.80},
    ),
    "gaussian_process_about_a_hyperbola": Case(
        study=Study(law=HYPERBOLA, laws=("gaussian_process",)),
        width_at_4x=1.89,
        num_studies=240,
    ),
    "hyperbola_without_repeats": Case(
        study=alone(HYPERBOLA, seeds=1),
        width_at_4x=1.92,
        num_studies=240,
        # These rows' noise, 6 %, is twice what the prior expects, and nothing else tells it.
        known={
            "min_steps": 0.82,
            "curve at 1x": 0.82,
            "curve at 2x": 0.82,
            "curve at 4x": 0.82,
        },
    ),
    "hyperbola_one_bad_batch_size_in_eight": Case(
        study=alone(HYPERBOLA, sizes=powers(3, 10), bad_factor=1.6),
        width_at_4x=1.98,
        num_studies=240,
        # 0.96 to 1 measured: the bad one raises the noise of all, and a new study is not bad.
        open_above=ALL,
    ),
    "hyperbola_noise_five_times_as_large": Case(
        study=alone(HYPERBOLA, tuning_noise=0.15, seed_noise=0.25),
        width_at_4x=3.27,
        num_studies=240,
    ),
}
AVERAGED = {
    "hyperbola_past_the_knee": Averaged(
        study=Study(law=HYPERBOLA, sizes=powers(3, 10)), width_at_4x=1.89
    ),
    "hyperbola_below_the_knee": Averaged(
        study=Study(law=HYPERBOLA, sizes=powers(3, 7)), width_at_4x=2.02
    ),
    "power_with_floor_no_repeats": Averaged(
        study=Study(law=SOFT, sizes=powers(3, 10), seeds=1), width_at_4x=2.08
    ),
    "p_norm_past_the_knee": Averaged(
        study=Study(law=SHARP, sizes=powers(3, 10)),
        width_at_4x=2.39,
        # Two batch sizes past the knee don't rule out the two laws that can't bend so hard.
        known={
            "critical_batch_size": 0.84,
            "curve at 1x": 0.84,
            "curve at 2x": 0.80,
            "curve at 4x": 0.79,
        },
    ),
    "p_norm_data_end_2x_below_the_knee": Averaged(
        study=Study(law=SHARP, sizes=powers(1, 7)), width_at_4x=2.38
    ),
    "p_norm_data_end_8x_below_the_knee": Averaged(
        study=Study(
            law=PNormKnee(min_steps=100, critical_batch_size=1024, sharpness=2), sizes=powers(1, 7)
        ),
        width_at_4x=2.29,
        known={"curve at 2x": 0.83},  # perfect scaling still: the prior expects a bend by now
    ),
    # The falling part meets the floor at twice the largest batch size, B_crit is 1.15 times it.
    "perfect_scaling_and_the_knee_just_beyond": Averaged(
        study=Study(
            law=PNormKnee(min_steps=100, critical_batch_size=148, sharpness=2), sizes=powers(1, 7)
        ),
        width_at_4x=2.66,
        # Two laws of three can't bend so late and so hard; their share of the odds costs coverage.
        known={"critical_batch_size": 0.86, "4x, law off": 0.84, "curve at 4x": 0.86},
    ),
    # A known weakness, kept in sight: a knee harder than 92 % of the prior's (q = 3), at the same
    # place, of which the data hold 4 % at the largest batch size. A prior that covered it as often
    # as others would be wider for every other law.
    "perfect_scaling_and_a_hard_knee_just_beyond": Averaged(
        study=Study(
            law=PNormKnee(min_steps=100, critical_batch_size=134, sharpness=3), sizes=powers(1, 7)
        ),
        width_at_4x=2.51,
        # By rolling origin alone 0.19, 0.49, 0.47 and 0.44.
        known={"critical_batch_size": 0.36, "4x": 0.69, "4x, law off": 0.60, "curve at 4x": 0.55},
    ),
    "one_bad_batch_size_in_eight": Averaged(
        study=Study(law=HYPERBOLA, sizes=powers(3, 10), bad_factor=1.6),
        width_at_4x=2.15,
        open_above=ALL,  # as for the hyperbola alone
    ),
    "noise_five_times_as_large": Averaged(
        study=Study(law=HYPERBOLA, sizes=powers(3, 10), tuning_noise=0.15, seed_noise=0.25),
        width_at_4x=4.33,
    ),
}


@pytest.fixture(scope="module")
def pool():
    with simulated_studies.processes() as pool:
        yield pool


@pytest.mark.slow
@pytest.mark.alone  # two processes of its own
@pytest.mark.parametrize(
    "case",
    [*LAWS_ALONE.values(), *AVERAGED.values()],
    ids=[*LAWS_ALONE, *(f"averaged_{name}" for name in AVERAGED)],
)
def test_ninety_percent_intervals_hold_the_truth_that_often(pool, capsys, case):
    studies = simulated_studies.run_all(
        pool, simulated_studies.ask_study, case.study, case.num_studies
    )
    shares = {name: np.mean([answers[name][0] for answers in studies]) for name in studies[0]}
    widths = {name: np.median([answers[name][1] for answers in studies]) for name in studies[0]}
    with capsys.disabled():
        print(f"\ncoverage of 90 % intervals over {case.num_studies} studies; width is high / low")
        for name, share in shares.items():
            error = standard_error(share, case)
            print(f"  {name:22} {share:.3f} +- {error:.3f}  width {widths[name]:.2f}")
    for name, share in shares.items():
        expected = case.known.get(name, 0.9)
        assert share >= expected - 4 * standard_error(expected, case), name
        if name not in case.open_above:
            assert share <= 0.9 + 4 * standard_error(0.9, case), name
    assert widths["4x"] < 7 / 6 * case.width_at_4x


def standard_error(share, case):
    return sqrt(share * (1 - share) / case.num_studies)

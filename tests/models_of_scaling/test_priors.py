"""The priors say what their comments claim, and truths drawn from them are held as promised."""

import importlib
import sys
from math import exp, sqrt
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from models_of_scaling.families import FAMILIES
from models_of_scaling.noise import NOISE_SIZES, NoiseKnowledge, stretch_beyond
from models_of_scaling.priors import (
    CRITICAL_BATCH_SIZE,
    PRIORS,
    log_prior_of_critical_batch_size,
)
from models_of_scaling.published.fixed_epochs import critical_batch_sizes

sys.path.insert(0, str(Path(__file__).parent))  # the processes look for the module there too
simulated_studies = importlib.import_module("simulated_studies")

# test_coverage.py has 500 of each law; a share of 300 has an error of 0.017.
NUM_STUDIES = 300


@pytest.fixture(scope="module")
def pool():
    with simulated_studies.processes() as pool:
        yield pool


def middle_ninety(name):
    prior = PRIORS[name]
    unit = stats.norm() if np.isinf(prior.degrees) else stats.t(prior.degrees)
    return tuple(np.exp(prior.mean + prior.sd * unit.ppf([0.05, 0.95])))


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("knee", 1 / 9, 31),
        ("exponent", 0.72, 1.4),
        ("sharpness", 0.66, 3.4),
        ("second_exponent", 0.027, 0.37),
        ("turning_batch_size", 2.5, 350),
    ],
)
def test_ninety_percent_of_a_prior_lie_where_its_comment_says(name, low, high):
    # the comments have two digits
    assert middle_ninety(name) == pytest.approx((low, high), rel=0.03)


def test_a_rise_at_the_centre_of_its_prior_adds_three_percent_to_the_largest_batch_size():
    largest_over_turning = exp(-PRIORS["turning_batch_size"].mean)
    assert exp(largest_over_turning) == pytest.approx(1.03, abs=0.005)


def test_small_critical_batch_sizes_are_as_rare_as_among_the_image_tasks_of_mccandlish_2018():
    rows = [row for row in critical_batch_sizes() if row.unit == "images"]
    assert len(rows) == 6
    ranges = [each for row in rows for each in (row.b_crit_start, row.b_crit_average)]
    logs = np.log([sqrt(each.low * each.high) for each in ranges])
    assert CRITICAL_BATCH_SIZE.mean == pytest.approx(logs.mean(), abs=0.05)
    assert CRITICAL_BATCH_SIZE.sd == pytest.approx(logs.std(ddof=1), abs=0.05)
    # against smaller ones as a normal, against larger ones nothing
    examples = np.log([1.0, 14.0, 200.0, 1e9])
    off = np.minimum((examples - 5.1) / 2.2, 0.0)
    got = log_prior_of_critical_batch_size(examples)
    np.testing.assert_allclose(got, stats.norm.logpdf(off) - stats.norm.logpdf(0.0), atol=1e-12)
    assert got[2:].tolist() == [0.0, 0.0]


def test_the_priors_of_a_law_are_those_of_what_it_frees():
    for family in FAMILIES.values():
        priors = [PRIORS[name] for name in ("knee", *family.free)]
        assert family.prior_mean_K.tolist() == [prior.mean for prior in priors]
        assert family.prior_sd_K.tolist() == [prior.sd for prior in priors]
        assert family.prior_degrees_K.tolist() == [prior.degrees for prior in priors]


def test_the_prior_of_the_noise_is_a_scaled_inverse_chi_squared_one():
    logs = NoiseKnowledge().log_probability(NOISE_SIZES)
    # sigma^2 = 3 0.03^2 / c with c chi-squared of 3 degrees, so p(log sigma) ~ c p(c)
    chi_squared = 3 * (0.03 / NOISE_SIZES) ** 2
    want = np.log(chi_squared) + stats.chi2(3).logpdf(chi_squared)
    np.testing.assert_allclose(logs - logs[0], want - want[0], rtol=1e-9)
    assert np.exp(logs).sum() == pytest.approx(1, rel=1e-12)


def test_the_allowance_for_a_law_that_errs_is_eight_percent_an_octave():
    misfit = [simulated_studies.misfit_beyond(np.log(times)) for times in (0.5, 1, 2, 8)]
    assert misfit == pytest.approx([0, 0, 0.08, 0.24], rel=1e-12)


def test_predictions_are_stretched_by_the_root_of_the_number_of_known_batch_sizes():
    seven = [2**k for k in range(3, 10)]
    octave = np.log(2.0)
    assert stretch_beyond(seven, 5 * octave) == 1.0
    assert stretch_beyond(seven[:4], octave) == pytest.approx(sqrt(4 / 7), rel=1e-12)
    # within the data nothing, half an octave beyond it half of it in logs
    assert stretch_beyond(seven[:4], -octave) == 1.0
    assert stretch_beyond(seven[:4], 0.5 * octave) == pytest.approx((4 / 7) ** 0.25, rel=1e-12)


def test_batch_sizes_within_a_doubling_and_repeats_count_once():
    octave = np.log(2.0)
    assert stretch_beyond([8, 8, 9, 10, 11, 12, 32, 64], octave) == pytest.approx(sqrt(4 / 7))
    # as far as back-tests have looked: 3 to 12 batch sizes
    assert stretch_beyond([8, 16], octave) == pytest.approx(sqrt(3 / 7))
    assert stretch_beyond([2**k for k in range(20)], octave) == pytest.approx(sqrt(12 / 7))


@pytest.mark.slow
@pytest.mark.alone  # two processes of its own
@pytest.mark.parametrize("name", FAMILIES)
def test_truths_drawn_from_the_priors_are_held_as_often_as_the_posterior_promises(
    pool, capsys, name
):
    """The calibration that a Bayesian interval has by construction, so both bounds are its own.

    The Gaussian process is not among them: it is no family of curves.
    """
    studies = simulated_studies.run_all(pool, simulated_studies.ask_prior_study, name, NUM_STUDIES)
    shares = {asked: np.mean([answers[asked][0] for answers in studies]) for asked in studies[0]}
    with capsys.disabled():
        print(f"\n{name}: truths from the prior, {NUM_STUDIES} studies")
        for asked, share in shares.items():
            error = sqrt(share * (1 - share) / NUM_STUDIES)
            width = np.median([answers[asked][1] for answers in studies])
            print(f"  {asked:26} {share:.3f} +- {error:.3f}  width {width:.2f}")
    for asked, share in shares.items():
        promised = 0.5 if asked.endswith("50%") else 0.9
        error = sqrt(promised * (1 - promised) / NUM_STUDIES)
        assert share >= promised - 4 * error, asked
        # Beyond the rows a prediction allows for misfit of the law, which is not here.
        if not asked.startswith(("2x", "4x", "8x")):
            assert share <= promised + 4 * error, asked

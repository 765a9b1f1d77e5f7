import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from models_of_scaling.errors import InputError
from models_of_scaling.intervals import Interval, check_level, interval_of, weighted_quantile
from models_of_scaling.wording import interval_in_words, number_in_words


@given(values=arrays.arrays(float, 37, elements=st.floats(-1e6, 1e6)), share=st.floats(0.01, 0.99))
def test_with_equal_weights_the_quantile_is_numpys(values, share):
    got = weighted_quantile(values, np.full(37, 0.3), [share])[0]
    assert got == np.quantile(values, share, method="inverted_cdf")


def test_a_value_of_weight_two_counts_as_two_values():
    assert weighted_quantile([1.0, 2.0, 3.0], [1, 2, 1], [0.3, 0.7, 0.8]).tolist() == [2, 2, 3]


def test_infinite_replicates_open_the_interval_and_never_become_nan():
    values = np.append(np.linspace(100, 200, 90), np.full(10, np.inf))
    interval = interval_of(150, values, np.ones(100), level=0.9, method="bootstrap")
    assert interval.high == np.inf and not interval.is_bounded
    assert interval_in_words(interval).startswith("more than 104")


def test_an_estimate_outside_its_replicates_widens_the_interval():
    interval = interval_of(5.0, np.linspace(1, 2, 50), np.ones(50), level=0.9, method="x")
    assert interval.high == 5 and interval.low < 1.1


def test_an_interval_that_does_not_hold_its_estimate_is_refused():
    with pytest.raises(ValueError, match="estimate 3"):
        Interval(estimate=3, low=1, high=2, level=0.9, method="x")


@pytest.mark.parametrize("level", [0.0, 0.4, 0.995, 1.0, 2.0, float("nan")])
def test_a_level_that_replicates_say_nothing_about_is_refused(level):
    with pytest.raises(InputError, match="--level"):
        check_level(level)


@pytest.mark.parametrize(
    ("value", "words"),
    [(88.2, "88"), (1234.5, "1,230"), (0.5, "0.5"), (0, "0"), (100, "100"), (np.inf, "infinity")],
)
def test_numbers_have_three_digits_and_no_false_ones(value, words):
    assert number_in_words(value) == words

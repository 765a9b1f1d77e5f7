import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_of_scaling.laws import Hyperbola, PNormKnee, PowerWithFloor
from models_of_scaling.quantities import batch_size_where_doubling_saves

positive = st.floats(1.0, 1e6)
exponents = st.floats(0.3, 2.0)
sharpnesses = st.floats(0.5, 30.0)
BATCH_SIZES = 2.0 ** np.arange(0, 21)


@given(min_steps=positive, critical_batch_size=positive)
def test_at_the_critical_batch_size_steps_and_examples_are_twice_their_minimum(
    min_steps, critical_batch_size
):
    law = Hyperbola(min_steps=min_steps, critical_batch_size=critical_batch_size)
    steps = law.steps_to_target(critical_batch_size)
    np.testing.assert_allclose(steps, 2 * min_steps, rtol=1e-12)
    np.testing.assert_allclose(law.examples(critical_batch_size), 2 * law.min_examples, rtol=1e-12)


@given(min_steps=positive, critical_batch_size=positive, exponent=exponents)
def test_steps_fall_with_batch_size_but_never_below_their_floor(
    min_steps, critical_batch_size, exponent
):
    law = PowerWithFloor(
        min_steps=min_steps, critical_batch_size=critical_batch_size, exponent=exponent
    )
    steps = law.steps_to_target(BATCH_SIZES)
    assert (np.diff(steps) <= 0).all()
    assert (steps >= min_steps).all()


@given(min_steps=positive, critical_batch_size=positive)
def test_examples_of_a_hyperbola_rise_with_batch_size_from_their_minimum(
    min_steps, critical_batch_size
):
    law = Hyperbola(min_steps=min_steps, critical_batch_size=critical_batch_size)
    examples = law.examples(BATCH_SIZES)
    assert (np.diff(examples) >= 0).all()
    np.testing.assert_allclose(law.examples(1e-9), law.min_examples, rtol=1e-8)  # B / B_crit


@given(min_steps=positive, critical_batch_size=positive)
def test_the_power_law_with_exponent_one_is_the_hyperbola(min_steps, critical_batch_size):
    hyperbola = Hyperbola(min_steps=min_steps, critical_batch_size=critical_batch_size)
    power = PowerWithFloor(
        min_steps=min_steps, critical_batch_size=critical_batch_size, exponent=1.0
    )
    np.testing.assert_allclose(
        power.steps_to_target(BATCH_SIZES), hyperbola.steps_to_target(BATCH_SIZES), rtol=1e-12
    )


@given(critical_batch_size=positive, exponent=exponents, share=st.floats(0.05, 0.95))
def test_doubling_saves_exactly_the_factor_where_the_closed_form_says(
    critical_batch_size, exponent, share
):
    law = PowerWithFloor(min_steps=10.0, critical_batch_size=critical_batch_size, exponent=exponent)
    saving = 1 + share * (2**exponent - 1)
    where = law.batch_size_where_doubling_saves(saving)
    got = law.steps_to_target(where) / law.steps_to_target(2 * where)
    np.testing.assert_allclose(got, saving, rtol=1e-9)  # share near 1 loses digits in 1 - f 2^-a
    beyond = law.steps_to_target(1.1 * where) / law.steps_to_target(2.2 * where)
    assert beyond < saving


@given(min_steps=positive, critical_batch_size=positive, sharpness=sharpnesses)
def test_the_p_norm_knee_is_the_q_norm_of_its_floor_and_its_falling_part(
    min_steps, critical_batch_size, sharpness
):
    law = PNormKnee(
        min_steps=min_steps, critical_batch_size=critical_batch_size, sharpness=sharpness
    )
    fall = law.min_examples / BATCH_SIZES
    # in logs, because q-th powers overflow
    log_norm = np.logaddexp(sharpness * np.log(min_steps), sharpness * np.log(fall)) / sharpness
    # 1e-12 in the exponent of q = 30 loses a digit
    np.testing.assert_allclose(law.steps_to_target(BATCH_SIZES), np.exp(log_norm), rtol=1e-11)
    at_critical = law.steps_to_target(critical_batch_size)
    np.testing.assert_allclose(at_critical, 2 * min_steps, rtol=1e-11)


@given(min_steps=positive, critical_batch_size=positive)
def test_a_p_norm_knee_of_sharpness_one_is_the_hyperbola(min_steps, critical_batch_size):
    ends = {"min_steps": min_steps, "critical_batch_size": critical_batch_size}
    np.testing.assert_allclose(
        PNormKnee(**ends, sharpness=1.0).steps_to_target(BATCH_SIZES),
        Hyperbola(**ends).steps_to_target(BATCH_SIZES),
        rtol=1e-12,
    )


def test_a_very_sharp_knee_is_a_corner_and_nothing_overflows():
    law = PNormKnee(min_steps=100, critical_batch_size=512, sharpness=3000.0)
    want = np.maximum(100, 2 * 100 * 512 / BATCH_SIZES)
    np.testing.assert_allclose(law.steps_to_target(BATCH_SIZES), want, rtol=1e-3)  # log 2 / 3000
    assert law.batch_size_where_doubling_saves(1.6) == pytest.approx(1024 / 1.6, rel=1e-3)


@given(critical_batch_size=positive, sharpness=sharpnesses, share=st.floats(0.05, 0.95))
def test_doubling_a_p_norm_knee_saves_exactly_the_factor_where_the_closed_form_says(
    critical_batch_size, sharpness, share
):
    law = PNormKnee(min_steps=10.0, critical_batch_size=critical_batch_size, sharpness=sharpness)
    where = law.batch_size_where_doubling_saves(1 + share)
    got = law.steps_to_target(where) / law.steps_to_target(2 * where)
    np.testing.assert_allclose(got, 1 + share, rtol=1e-8)  # q = 30 multiplies rounding by 30


def test_doubling_a_hyperbola_saves_1_6_up_to_a_third_of_the_critical_batch_size():
    law = Hyperbola(min_steps=100, critical_batch_size=900)
    np.testing.assert_allclose(law.batch_size_where_doubling_saves(1.6), 300, rtol=1e-12)


def test_no_batch_size_saves_more_than_the_slope_allows():
    assert batch_size_where_doubling_saves(1.6, critical_batch_size=500.0, exponent=0.5) == 0
    assert batch_size_where_doubling_saves(1.6, critical_batch_size=np.inf, exponent=0.5) == 0
    assert batch_size_where_doubling_saves(1.6, critical_batch_size=np.inf, exponent=1) == np.inf


def test_efficiency_is_one_at_the_reference_and_halves_at_the_critical_batch_size():
    law = Hyperbola(min_steps=100, critical_batch_size=1000)
    assert law.efficiency(10, reference_batch_size=10) == 1
    # E(0) / E(B_crit) = 1/2; the reference of 1e-6 is 1e-9 B_crit from zero
    np.testing.assert_allclose(law.efficiency(1000, reference_batch_size=1e-6), 0.5, rtol=1e-8)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
@pytest.mark.parametrize("field", ["min_steps", "critical_batch_size", "exponent"])
def test_a_law_refuses_a_parameter_that_is_not_positive_and_finite(field, bad):
    values = {"min_steps": 1.0, "critical_batch_size": 1.0, "exponent": 1.0, field: bad}
    with pytest.raises(ValueError, match=field):
        PowerWithFloor(**values)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_a_p_norm_knee_refuses_a_sharpness_that_is_not_positive_and_finite(bad):
    with pytest.raises(ValueError, match="sharpness"):
        PNormKnee(min_steps=1.0, critical_batch_size=1.0, sharpness=bad)


def test_a_saving_of_one_is_refused():
    with pytest.raises(ValueError, match="saving 1"):
        batch_size_where_doubling_saves(1.0, critical_batch_size=1.0, exponent=1.0)

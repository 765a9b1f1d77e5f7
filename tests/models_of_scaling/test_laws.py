import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_of_scaling.laws import (
    AVERAGED_LAWS,
    LAW_NAMES,
    LAWS,
    Hyperbola,
    KneeWithUpturn,
    PNormKnee,
    PowerWithFloor,
    SmoothlyBrokenPower,
)
from models_of_scaling.quantities import (
    batch_size_where_doubling_saves,
    batch_size_with_overhead,
    fall_over_floor,
)

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


broken_powers = st.builds(
    SmoothlyBrokenPower,
    corner_steps=positive,
    corner_batch_size=positive,
    exponent=st.floats(0.8, 1.5),
    second_exponent=st.floats(0.01, 0.3),
    sharpness=st.floats(0.7, 10.0),
)
upturns = st.builds(
    KneeWithUpturn,
    min_steps=positive,
    critical_batch_size=positive,
    turning_batch_size=st.floats(1.0, 1e8),
)


def log_slope(law, batch_size):
    """d log S / d log B by a central difference."""
    ends = law.steps_to_target(batch_size * np.exp([-1e-4, 1e-4]))
    return float(np.diff(np.log(ends))[0] / 2e-4)


@given(law=broken_powers)
def test_a_broken_power_has_its_two_slopes_far_from_its_corner_and_their_norm_at_it(law):
    # exp(-40) of the other power law is left, to the q
    far = np.exp(40 / law.sharpness / (law.exponent - law.second_exponent))
    # rounding of log S, about 50, over the step of 2e-4
    assert log_slope(law, law.corner_batch_size / far) == pytest.approx(-law.exponent, abs=1e-9)
    assert log_slope(law, law.corner_batch_size * far) == pytest.approx(
        -law.second_exponent, abs=1e-9
    )
    np.testing.assert_allclose(
        law.steps_to_target(law.corner_batch_size),
        law.corner_steps * 2 ** (1 / law.sharpness),
        rtol=1e-12,
    )


@given(law=broken_powers)
def test_steps_of_a_broken_power_fall_for_ever(law):
    assert (np.diff(law.steps_to_target(BATCH_SIZES)) < 0).all()


@given(
    min_steps=positive, critical_batch_size=positive, sharpness=st.floats(0.5, 10.0)
)  # fmt: skip
def test_a_broken_power_without_a_second_slope_is_the_p_norm_knee_with_its_corner_as_floor(
    min_steps, critical_batch_size, sharpness
):
    knee = PNormKnee(
        min_steps=min_steps, critical_batch_size=critical_batch_size, sharpness=sharpness
    )
    broken = SmoothlyBrokenPower(
        corner_steps=min_steps,
        corner_batch_size=knee.min_examples / min_steps,
        exponent=1.0,
        second_exponent=1e-13,
        sharpness=sharpness,
    )
    # beta x is 1e-13 * 30; sums in logs of 30 lose another digit
    np.testing.assert_allclose(
        broken.steps_to_target(BATCH_SIZES), knee.steps_to_target(BATCH_SIZES), rtol=1e-11
    )


def test_a_second_slope_as_steep_as_the_first_is_refused():
    with pytest.raises(ValueError, match="second_exponent 1 must be less than exponent 1"):
        SmoothlyBrokenPower(
            corner_steps=1, corner_batch_size=1, exponent=1, second_exponent=1, sharpness=1
        )


@given(law=upturns)
def test_no_batch_size_needs_fewer_steps_than_the_fastest_one_of_an_upturn(law):
    fastest = law.fastest_batch_size
    around = fastest * np.exp(np.linspace(-3, 3, 201))
    with np.errstate(over="ignore"):
        assert (law.steps_to_target(around) >= law.steps_to_target(fastest) * (1 - 1e-12)).all()
    # sqrt(B^2 / 4 + ...) - B / 2 loses up to 4 digits where B_crit is 1e6 times B_turn
    assert log_slope(law, fastest) == pytest.approx(0.0, abs=1e-6)


@given(law=upturns)
def test_at_its_turning_batch_size_an_upturn_is_e_times_its_hyperbola(law):
    hyperbola = Hyperbola(
        min_steps=law.min_steps, critical_batch_size=law.critical_batch_size
    ).steps_to_target(law.turning_batch_size)
    got = law.steps_to_target(law.turning_batch_size)
    np.testing.assert_allclose(got, np.e * hyperbola, rtol=1e-12)


@given(min_steps=positive, critical_batch_size=positive)
def test_an_upturn_infinitely_far_out_is_none(min_steps, critical_batch_size):
    ends = {"min_steps": min_steps, "critical_batch_size": critical_batch_size}
    np.testing.assert_allclose(
        KneeWithUpturn(**ends, turning_batch_size=1e20).steps_to_target(BATCH_SIZES),
        Hyperbola(**ends).steps_to_target(BATCH_SIZES),
        rtol=1e-12,  # 2^20 / 1e20 is 1e-14
    )


@given(critical_batch_size=positive, sharpness=sharpnesses, exponent=exponents)
def test_far_below_and_far_beyond_its_knee_a_law_is_its_falling_part_and_its_floor(
    critical_batch_size, sharpness, exponent
):
    power = PowerWithFloor(
        min_steps=10.0, critical_batch_size=critical_batch_size, exponent=exponent
    )
    knee = PNormKnee(min_steps=10.0, critical_batch_size=critical_batch_size, sharpness=sharpness)
    for law, slope in ((power, exponent), (knee, 1.0)):
        # Both are (B_crit / B)^slope apart, to the q: at e^-100 nothing is left of the smaller.
        far = np.exp(min(100 / slope / min(sharpness, 1.0), 300))
        assert log_slope(law, critical_batch_size / far) == pytest.approx(-slope, abs=1e-9)
        np.testing.assert_allclose(law.steps_to_target(critical_batch_size * far), 10.0, rtol=1e-12)


@pytest.mark.parametrize(
    ("sharpness", "saves_1_6", "saves_1_1", "overhead", "corner"),
    [(1.0, 0.33, 4.5, 0.2, 1.0), (2.0, 0.83, 3.2, 1.15, 1.73)],
)
def test_the_definitions_differ_as_the_table_in_quantities_says(
    sharpness, saves_1_6, saves_1_1, overhead, corner
):
    """Batch sizes in units of B_crit, for the hyperbola and for the p-norm knee with q = 2."""
    knee = {"critical_batch_size": 1.0, "sharpness": sharpness}
    assert round(float(batch_size_where_doubling_saves(1.6, **knee)), 2) == saves_1_6
    assert round(float(batch_size_where_doubling_saves(1.1, **knee)), 1) == saves_1_1
    assert round(float(batch_size_with_overhead(0.2, **knee)), 2) == overhead
    # y is (K / B) to the first power here, so at B = 1 it is the corner.
    assert round(float(fall_over_floor(1.0, **knee)), 2) == corner


@pytest.mark.parametrize("overhead", [0.0, -0.2])
def test_an_overhead_of_nothing_is_refused(overhead):
    with pytest.raises(ValueError, match="overhead"):
        batch_size_with_overhead(overhead, critical_batch_size=1.0)


def test_every_law_but_the_process_is_a_class_of_its_own_name():
    assert set(LAWS) == set(LAW_NAMES) - {"gaussian_process"}
    assert all(law.name == name for name, law in LAWS.items())
    assert set(AVERAGED_LAWS) <= set(LAWS)


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_every_parameter_of_every_law_must_be_positive_and_finite(law):
    good = dict.fromkeys(law.parameter_names(), 1.0)
    good |= {"second_exponent": 0.5} if "second_exponent" in good else {}
    law(**good)
    for name in good:
        for bad in (0.0, -1.0, np.nan, np.inf):
            with pytest.raises(ValueError, match=name):
                law(**{**good, name: bad})

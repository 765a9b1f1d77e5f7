"""Many curves at once: the looked-up quantities against the closed forms, and where none exists."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_of_scaling.curves import Curves
from models_of_scaling.gaussian_process import FREQUENCIES, Deviation
from models_of_scaling.laws import Hyperbola, KneeWithUpturn, PowerWithFloor, SmoothlyBrokenPower
from models_of_scaling.quantities import batch_size_where_doubling_saves, batch_size_with_overhead

# Two secants between points a twelfth of an octave apart; 3e-4 measured at the hardest knee.
LOOKED_UP = 5e-4
CORNERS = np.exp(np.linspace(0.0, 14.0, 29))


def a_process_that_adds_nothing(count):
    """Makes `Curves` look up what it has a closed form for."""
    return Deviation(
        x_C=np.zeros(1),
        amplitude_R=np.full(count, 0.1),
        length_R=np.full(count, 2.0),
        weights_RC=np.zeros((count, 1)),
        shift_R=np.full(count, 0.5),
        heights=np.zeros((count, 2 * FREQUENCIES)),
    )


def looked_up(**columns):
    columns = {name: np.broadcast_to(each, CORNERS.shape) for name, each in columns.items()}
    return Curves(
        columns={"min_steps": np.full(len(CORNERS), 100.0), **columns},
        deviation=a_process_that_adds_nothing(len(CORNERS)),
    )


@pytest.mark.parametrize("saving", [1.05, 1.1, 1.6, 1.9])
@pytest.mark.parametrize("sharpness", [1.0, 1.5, 2.0, 5.0, 18.0])
def test_where_doubling_saves_is_looked_up_to_half_a_thousandth(sharpness, saving):
    curves = looked_up(critical_batch_size=CORNERS, sharpness=sharpness)
    want = batch_size_where_doubling_saves(saving, critical_batch_size=CORNERS, sharpness=sharpness)
    np.testing.assert_allclose(curves.doubling_saves(saving), want, rtol=LOOKED_UP)


@pytest.mark.parametrize("exponent", [0.5, 0.8, 1.3, 2.0])
def test_where_doubling_a_power_law_saves_is_looked_up_to_half_a_thousandth(exponent):
    curves = looked_up(critical_batch_size=CORNERS, exponent=exponent)
    for share in (0.1, 0.6, 0.9):
        saving = 1 + share * (2**exponent - 1)
        want = batch_size_where_doubling_saves(
            saving, critical_batch_size=CORNERS, exponent=exponent
        )
        np.testing.assert_allclose(curves.doubling_saves(saving), want, rtol=LOOKED_UP)
    # More than 2^alpha is saved nowhere.
    np.testing.assert_array_equal(curves.doubling_saves(1.001 * 2**exponent), 0.0)


@pytest.mark.parametrize("overhead", [0.05, 0.2, 1.0])
@pytest.mark.parametrize("sharpness", [1.0, 2.0, 5.0, 18.0])
def test_the_batch_size_with_an_overhead_is_the_closed_form_for_a_tiny_reference(
    sharpness, overhead
):
    columns = {"critical_batch_size": CORNERS, "sharpness": np.full(len(CORNERS), sharpness)}
    curves = Curves(columns={"min_steps": np.full(len(CORNERS), 100.0), **columns})
    want = batch_size_with_overhead(overhead, **columns)
    # At 1e-6 of the smallest corner the hyperbola's examples are 1e-6 above their minimum.
    got = curves.with_overhead(overhead, reference_batch_size=1e-6)
    np.testing.assert_allclose(got, want, rtol=LOOKED_UP)


def test_the_overhead_is_counted_from_the_reference_and_not_from_a_limit():
    law = Hyperbola(min_steps=100, critical_batch_size=1000)
    at = law.batch_size_with_overhead(0.2, reference_batch_size=500)
    # (B + 1000) / 1500 = 1.2
    np.testing.assert_allclose(at, 800.0, rtol=LOOKED_UP)


def test_a_power_law_steeper_than_perfect_scaling_saves_examples_before_it_wastes_them():
    """With alpha > 1 the examples fall first: the last batch size below the limit counts."""
    law = PowerWithFloor(min_steps=100, critical_batch_size=1000, exponent=1.5)
    at = law.batch_size_with_overhead(0.2, reference_batch_size=10)
    np.testing.assert_allclose(law.examples(at) / law.examples(10), 1.2, rtol=LOOKED_UP)
    assert law.examples(1.01 * at) > 1.2 * law.examples(10)
    assert at > 10


upturns = st.builds(
    KneeWithUpturn,
    min_steps=st.floats(1.0, 1e5),
    critical_batch_size=st.floats(10.0, 1e5),
    turning_batch_size=st.floats(10.0, 1e7),
)
broken = st.builds(
    SmoothlyBrokenPower,
    corner_steps=st.floats(1.0, 1e5),
    corner_batch_size=st.floats(10.0, 1e5),
    exponent=st.floats(0.7, 1.4),
    second_exponent=st.floats(0.01, 0.4),
    sharpness=st.floats(0.7, 5.0),
)


@given(law=st.one_of(upturns, broken), saving=st.floats(1.35, 1.55))
def test_without_a_closed_form_doubling_saves_exactly_that_factor_there_and_less_beyond(
    law, saving
):
    at = law.batch_size_where_doubling_saves(saving)
    assert 0 < at < np.inf
    got = law.steps_to_target(at) / law.steps_to_target(2 * at)
    # log S(B) / S(2B) has at most a slope of 2.5 in log B here, and B is good to 5e-4
    np.testing.assert_allclose(got, saving, rtol=1.5e-3)
    beyond = at * np.geomspace(1.01, 2.0**12, 40)
    with np.errstate(over="ignore", invalid="ignore"):  # steps beyond all bounds
        ratio = law.steps_to_target(beyond) / law.steps_to_target(2 * beyond)
    assert not (ratio >= saving).any()


def test_a_slope_that_never_ends_saves_a_little_for_ever_and_more_only_up_to_a_size():
    law = SmoothlyBrokenPower(
        corner_steps=100, corner_batch_size=512, exponent=1, second_exponent=0.2, sharpness=2
    )
    assert law.batch_size_where_doubling_saves(1.1) == np.inf  # 2^0.2 is 1.15
    assert 512 < law.batch_size_where_doubling_saves(1.2) < np.inf
    assert law.batch_size_where_doubling_saves(2.1) == 0


def test_a_law_without_a_floor_has_no_fewest_steps_and_no_knee():
    curves = SmoothlyBrokenPower(
        corner_steps=100, corner_batch_size=512, exponent=1, second_exponent=0.2, sharpness=2
    ).curves
    assert not curves.has_floor
    assert curves.min_steps.tolist() == [0.0]
    assert curves.critical_batch_size.tolist() == [np.inf]
    with pytest.raises(ValueError, match="without a floor"):
        curves.knee()


def test_each_curve_is_asked_at_its_own_batch_sizes_or_all_at_the_same():
    curves = Curves(
        columns={
            "min_steps": np.array([100.0, 200.0]), "critical_batch_size": np.array([64.0, 512.0])
        }
    )  # fmt: skip
    assert len(curves) == 2
    np.testing.assert_allclose(curves.steps([64.0, 512.0])[[0, 1], [0, 1]], [200, 400], rtol=1e-12)
    own = curves.steps(np.array([[64.0], [512.0]]))
    np.testing.assert_allclose(own, [[200.0], [400.0]], rtol=1e-12)


def test_steps_beyond_all_bounds_are_infinite_and_end_the_search_without_a_warning():
    law = KneeWithUpturn(min_steps=100, critical_batch_size=1e6, turning_batch_size=10)
    assert law.steps_to_target(1e5) == np.inf
    assert 0 < law.batch_size_where_doubling_saves(1.6) < 10
    assert 0 < law.batch_size_with_overhead(0.2, reference_batch_size=1e-3) < 10

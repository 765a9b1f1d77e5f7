"""What every update rule of the registry must do; a new rule is tested by being there."""

import numpy as np
import pytest
import torch
from torch.func import vmap
from torch.nn import Parameter

from fullscale.optimizers.reference.table import TWINS
from fullscale.optimizers.reference.wrappers import (
    lookahead_reference,
    stochastic_weight_average_reference,
    weight_average_reference,
)
from fullscale.optimizers.registry import UPDATE_RULES, get_update_rule
from fullscale.optimizers.rule_optimizer import RuleOptimizer
from fullscale.optimizers.update_rule import TensorTraits
from models_of_scaling.errors import InputError

NAMES = [*UPDATE_RULES, "lookahead:adam", "ema:lars"]
RATES = [0.5, 0.3, 0.3, 0.1, 0.05]
SHAPES = [(4, 3), (3, 5), (2, 3, 3, 3), (4, 3, 1, 1), (1, 1), (6,), (1,)]
WEIGHT = TensorTraits()


def numbers_of(name):
    """Numbers that bring out every term within five steps."""
    given = TWINS[name].numbers if name in TWINS else {}
    return {**get_update_rule(name).defaults, "weight_decay": 0.01, **given}


def run_rule(name, weight, gradients, rates, traits=WEIGHT, **numbers):
    """Return the parameter after the gradients, and its optimizer."""
    parameter = Parameter(torch.tensor(weight))
    optimizer = RuleOptimizer(
        [parameter],
        rule=get_update_rule(name),
        learning_rate=rates[0],
        traits=[traits],
        **numbers,
    )
    for gradient, rate in zip(gradients, rates, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
    return parameter.detach().numpy(), optimizer


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", UPDATE_RULES)
def test_a_rule_does_what_its_slow_twin_does(name, shape):
    rng = np.random.default_rng(7)
    weight, gradients = rng.normal(size=shape), rng.normal(size=(len(RATES), *shape))
    got, _ = run_rule(name, weight, gradients, RATES, **numbers_of(name))
    want = TWINS[name].function(weight, gradients, learning_rates=RATES, **numbers_of(name))
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(4, 3), (6,), (1, 1)], ids=str)
def test_members_with_their_own_numbers_do_what_they_do_one_at_a_time(name, shape):
    rng, members = np.random.default_rng(8), 3
    rule, base = get_update_rule(name), {**numbers_of(name), "learning_rate": 0.1}
    own = [
        {key: value * (1 - 0.1 * k) if value < 1 else value for key, value in base.items()}
        for k in range(members)
    ]
    stacked = {key: torch.tensor([each[key] for each in own], dtype=torch.float64) for key in base}
    weights = torch.tensor(rng.normal(size=(members, *shape)))
    gradients = torch.tensor(rng.normal(size=(4, members, *shape)))
    together, states = weights, vmap(rule.init_state)(weights)
    for gradient in gradients:
        together, states = vmap(lambda w, g, s, n: rule.update(w, g, s, n, WEIGHT))(
            together, gradient, states, stacked
        )
    for k in range(members):
        alone, state = weights[k], rule.init_state(weights[k])
        for gradient in gradients:
            alone, state = rule.update(alone, gradient[k], state, own[k], WEIGHT)
        torch.testing.assert_close(together[k], alone, rtol=1e-12, atol=1e-13)
        for key, value in state.items():
            torch.testing.assert_close(states[key][k], value, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_zero_gradients_without_decay_leave_the_weight(name):
    weight = np.array([[1.0, -2.0]])
    got, _ = run_rule(name, weight, np.zeros((3, 1, 2)), [0.1] * 3, weight_decay=0.0)
    np.testing.assert_array_equal(got, weight)


@pytest.mark.parametrize("name", NAMES)
def test_a_weight_of_zero_can_leave_zero_and_goes_against_the_gradient(name):
    # Two steps: SOAP's first one only looks.
    got, _ = run_rule(name, np.zeros((1, 2)), np.ones((2, 1, 2)), [0.1] * 2)
    assert np.isfinite(got).all()
    assert (got < 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_all_zero_stays_zero_and_finite(name):
    got, _ = run_rule(name, np.zeros((2, 2)), np.zeros((2, 2, 2)), [0.1] * 2, weight_decay=0.1)
    np.testing.assert_array_equal(got, np.zeros((2, 2)))


@pytest.mark.parametrize("name", NAMES)
def test_weight_decay_moves_what_is_decayed_and_nothing_else(name):
    rng = np.random.default_rng(11)
    weight, gradients = rng.normal(size=(3, 2)), rng.normal(size=(3, 3, 2))
    plain, _ = run_rule(name, weight, gradients, [0.1] * 3, weight_decay=0.0)
    decayed, _ = run_rule(name, weight, gradients, [0.1] * 3, weight_decay=0.1)
    spared, _ = run_rule(
        name, weight, gradients, [0.1] * 3, TensorTraits(decayed=False), weight_decay=0.1
    )
    np.testing.assert_array_equal(spared, plain)
    if name != "lion":  # signs of gradients this large do not turn, and its decay is decoupled
        assert np.abs(decayed - plain).max() > 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_and_loaded_state_goes_on_bit_for_bit(name):
    rng = np.random.default_rng(10)
    weight, gradients = rng.normal(size=(3, 2)), rng.normal(size=(6, 3, 2))
    want, _ = run_rule(name, weight, gradients, [0.1] * 6, **numbers_of(name))
    half, before = run_rule(name, weight, gradients[:3], [0.1] * 3, **numbers_of(name))
    parameter = Parameter(torch.tensor(half))
    after = RuleOptimizer(
        [parameter], rule=get_update_rule(name), learning_rate=9.0, **numbers_of(name)
    )
    after.load_state_dict(before.state_dict())
    for gradient in gradients[3:]:
        parameter.grad = torch.tensor(gradient)
        after.step()
    np.testing.assert_array_equal(parameter.detach().numpy(), want)


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_weights_have_a_state_in_single_precision_which_survives_saving(name):
    rng = np.random.default_rng(12)
    start = torch.tensor(rng.normal(size=(3, 2))).bfloat16()
    gradients = torch.tensor(rng.normal(size=(4, 3, 2))).bfloat16()
    parameter = Parameter(start.clone())
    optimizer = RuleOptimizer([parameter], rule=get_update_rule(name), learning_rate=0.1)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    state = optimizer.state[parameter]
    assert parameter.dtype is torch.bfloat16
    assert bool(parameter.isfinite().all())
    assert not bool((parameter == start).all())
    assert {value.dtype for value in state.values()} <= {torch.float32}
    other = RuleOptimizer([Parameter(start)], rule=get_update_rule(name), learning_rate=0.1)
    other.load_state_dict(optimizer.state_dict())
    for key, value in other.state[other.param_groups[0]["params"][0]].items():
        assert value.dtype is torch.float32
        assert bool((value == state[key]).all())


@pytest.mark.parametrize("name", NAMES)
def test_a_state_keeps_its_names_and_shapes(name):
    rule = get_update_rule(name)
    numbers = {**rule.defaults, "learning_rate": 0.1}
    for shape in [(4, 3), (2, 3, 3, 3), (6,), (1,), ()]:
        before = rule.init_state(torch.ones(shape))
        new, after = rule.update(torch.ones(shape), torch.ones(shape), before, numbers, WEIGHT)
        assert new.shape == torch.Size(shape)
        assert {k: v.shape for k, v in before.items()} == {k: v.shape for k, v in after.items()}


def adam_step():
    """Adam's step of its own, for the wrappers' twins."""
    state = {"t": 0, "m": 0.0, "v": 0.0}

    def step(weight, gradient, rate):
        state["t"] += 1
        state["m"] = 0.9 * state["m"] + 0.1 * gradient
        state["v"] = 0.999 * state["v"] + 0.001 * gradient**2
        m = state["m"] / (1 - 0.9 ** state["t"])
        return weight - rate * m / (np.sqrt(state["v"] / (1 - 0.999 ** state["t"])) + 1e-8)

    return step


@pytest.mark.parametrize(
    ("name", "twin", "numbers"),
    [
        ("lookahead:adam", lookahead_reference, {"lookahead_steps": 2, "slow_step_size": 0.4}),
        ("ema:adam", weight_average_reference, {"average_decay": 0.7}),
        (
            "swa:adam",
            stochastic_weight_average_reference,
            {"average_start_steps": 2, "average_period_steps": 3},
        ),
    ],
)
def test_a_wrapper_trains_and_shows_the_weights_of_its_twin(name, twin, numbers):
    rng = np.random.default_rng(13)
    weight, gradients = rng.normal(size=(4, 3)), rng.normal(size=(len(RATES), 4, 3))
    trained, shown = twin(weight, gradients, learning_rates=RATES, inner=adam_step(), **numbers)
    got, optimizer = run_rule(name, weight, gradients, RATES, **numbers)
    got = got.copy()
    np.testing.assert_allclose(got, trained, rtol=1e-12)
    parameter = optimizer.param_groups[0]["params"][0]
    optimizer.show_evaluation_parameters()
    np.testing.assert_allclose(parameter.detach().numpy(), shown, rtol=1e-12)
    optimizer.show_trained_parameters()
    np.testing.assert_array_equal(parameter.detach().numpy(), got)


@pytest.mark.parametrize("name", ["lars", "lars_mlperf", "lamb", "novograd", "muon"])
def test_a_layer_wise_rule_does_not_depend_on_the_scale_of_the_gradient(name):
    rng = np.random.default_rng(9)
    weight, gradients = rng.normal(size=(3, 3)), rng.normal(size=(4, 3, 3))
    exact = {"epsilon": 0.0} if "epsilon" in get_update_rule(name).defaults else {}
    small, _ = run_rule(name, weight, gradients, [1.0] * 4, **exact)
    large, _ = run_rule(name, weight, 1e6 * gradients, [1.0] * 4, **exact)
    # Muon's iteration has a smallest norm of 1e-7 beside |z|, about 5 here.
    np.testing.assert_allclose(small, large, rtol=1e-6 if name == "muon" else 1e-12)


@pytest.mark.parametrize("name", ["lars", "lars_mlperf", "lars_scaled_momentum"])
def test_lars_moves_what_is_not_adapted_as_momentum_without_decay(name):
    weight, gradients = np.array([0.5, 2.0]), np.ones((2, 2))
    neither = TensorTraits(decayed=False, adapted=False)
    numbers = {"momentum": 0.5, "weight_decay": 0.1}
    got, _ = run_rule(name, weight, gradients, [0.1] * 2, neither, **numbers)
    want, _ = run_rule("momentum", weight, gradients, [0.1] * 2, neither, **numbers)
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_scaled_momentum_is_another_rule_only_once_the_rate_or_the_ratio_changes():
    rng = np.random.default_rng(14)
    weight, gradients = rng.normal(size=(3, 3)), rng.normal(size=(2, 3, 3))
    one, other = (
        [run_rule(name, weight, gradients[:n], [0.5, 0.1][:n])[0] for n in (1, 2)]
        for name in ("lars", "lars_scaled_momentum")
    )
    np.testing.assert_allclose(one[0], other[0], rtol=1e-14)
    assert np.abs(one[1] - other[1]).max() > 1e-5


def test_a_parameter_without_gradient_is_left_alone():
    parameter = Parameter(torch.ones(2, 2))
    RuleOptimizer([parameter], rule=get_update_rule("lars"), learning_rate=1.0).step()
    assert bool((parameter == 1).all())


def test_a_closure_is_evaluated_with_gradients_and_returned():
    parameter = Parameter(torch.ones(1, 1))
    optimizer = RuleOptimizer([parameter], rule=get_update_rule("momentum"), learning_rate=0.5)

    def closure():
        loss = (parameter**2).sum()
        loss.backward()
        return loss

    assert float(optimizer.step(closure).detach()) == 1.0
    assert float(parameter.detach()) == 0.0


def test_a_rule_is_found_by_name_by_wrapper_and_by_class_path():
    assert get_update_rule("lars").name == "lars"
    both = get_update_rule("ema:lookahead:momentum")
    assert both.name == "ema:lookahead:momentum"
    assert {"momentum", "slow_step_size", "average_decay"} <= set(both.defaults)
    assert get_update_rule("fullscale.optimizers.lamb.LAMB") is UPDATE_RULES["lamb"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("adamax", "optimizer 'adamax' is not one of sgd, momentum, nesterov, lars"),
        ("mean:adam", "'mean' is not one of lookahead, ema"),
        ("ema:ema:adam", "ema is there twice"),
        ("no_such_package.RULE", "can't be imported: No module named 'no_such_package'"),
        ("fullscale.optimizers.lamb.LOMB", "must be an UpdateRule, and is nothing"),
        ("fullscale.optimizers.lamb.vector_norm", "must be an UpdateRule, and is builtin"),
    ],
)
def test_an_unknown_rule_is_refused_in_one_line(name, message):
    with pytest.raises(InputError, match=message) as refused:
        get_update_rule(name)
    assert "\n" not in str(refused.value)


def test_an_unknown_number_is_named():
    with pytest.raises(ValueError, match="not trust"):
        get_update_rule("momentum").numbers(learning_rate=0.1, trust=1.0)
    with pytest.raises(ValueError, match="learning_rate is missing"):
        get_update_rule("momentum").numbers()

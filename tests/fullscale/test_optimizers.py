import numpy as np
import pytest
import torch
from torch.nn import Parameter

from fullscale.optimizers.reference import lars_reference, momentum_reference
from fullscale.optimizers.registry import UPDATE_RULES, get_update_rule, tensor_traits
from fullscale.optimizers.rule_optimizer import RuleOptimizer
from models_of_scaling.errors import InputError

REFERENCES = {"momentum": momentum_reference, "lars": lars_reference}
NUMBERS = {
    "momentum": {"momentum": 0.9, "weight_decay": 0.01},
    "lars": {"momentum": 0.9, "weight_decay": 0.01, "trust_coefficient": 0.02},
}
RATES = [0.5, 0.3, 0.3, 0.1, 0.05]


def run_rule(name, weight, gradients, rates, **numbers):
    """Return the parameter after the gradients, and its optimizer."""
    parameter = Parameter(torch.tensor(weight))
    optimizer = RuleOptimizer(
        [parameter], rule=get_update_rule(name), learning_rate=rates[0], **numbers
    )
    for gradient, rate in zip(gradients, rates, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
    return parameter.detach().numpy(), optimizer


@pytest.mark.parametrize("name", UPDATE_RULES)
@pytest.mark.parametrize("shape", [(4, 3), (1, 1), (2, 3, 3, 3)], ids=str)
def test_a_rule_does_what_its_slow_twin_does(name, shape):
    rng = np.random.default_rng(7)
    weight, gradients = rng.normal(size=shape), rng.normal(size=(len(RATES), *shape))
    got, _ = run_rule(name, weight, gradients, RATES, **NUMBERS[name])
    want = REFERENCES[name](weight, gradients, learning_rates=RATES, **NUMBERS[name])
    np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("nesterov_free_momentum", [0.0, 0.9])
def test_momentum_is_torch_sgd(nesterov_free_momentum):
    rng = np.random.default_rng(8)
    weight, gradients = rng.normal(size=(5, 2)), rng.normal(size=(5, 5, 2))
    numbers = {"momentum": nesterov_free_momentum, "weight_decay": 0.01}
    got, _ = run_rule("momentum", weight, gradients, [0.1] * 5, **numbers)
    parameter = Parameter(torch.tensor(weight))
    sgd = torch.optim.SGD([parameter], lr=0.1, **numbers)
    for gradient in gradients:
        parameter.grad = torch.tensor(gradient)
        sgd.step()
    np.testing.assert_allclose(got, parameter.detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize("name", UPDATE_RULES)
def test_zero_gradients_without_decay_leave_the_weight(name):
    weight = np.array([[1.0, -2.0]])
    got, _ = run_rule(name, weight, np.zeros((3, 1, 2)), [0.1] * 3, weight_decay=0.0)
    np.testing.assert_array_equal(got, weight)


@pytest.mark.parametrize("name", UPDATE_RULES)
def test_a_weight_of_zero_can_leave_zero(name):
    got, _ = run_rule(name, np.zeros((1, 2)), np.ones((1, 1, 2)), [0.1])
    np.testing.assert_allclose(got, -0.1 * np.ones((1, 2)), rtol=1e-12)


@pytest.mark.parametrize("name", UPDATE_RULES)
def test_all_zero_stays_zero_and_finite(name):
    got, _ = run_rule(name, np.zeros((2, 2)), np.zeros((2, 2, 2)), [0.1] * 2, weight_decay=0.1)
    np.testing.assert_array_equal(got, np.zeros((2, 2)))


def test_lars_does_not_depend_on_the_scale_of_the_gradient():
    rng = np.random.default_rng(9)
    weight, gradients = rng.normal(size=(3, 3)), rng.normal(size=(4, 3, 3))
    small, _ = run_rule("lars", weight, gradients, [1.0] * 4)
    large, _ = run_rule("lars", weight, 1e6 * gradients, [1.0] * 4)
    np.testing.assert_allclose(small, large, rtol=1e-12)


def test_lars_moves_biases_and_scales_as_plain_momentum_without_decay():
    weight, gradients = np.array([0.5, 2.0]), np.ones((2, 2))
    got, _ = run_rule("lars", weight, gradients, [0.1] * 2, momentum=0.5, weight_decay=0.1)
    want, _ = run_rule("momentum", weight, gradients, [0.1] * 2, momentum=0.5, weight_decay=0.0)
    np.testing.assert_allclose(got, want, rtol=1e-12)
    assert not tensor_traits(torch.zeros(4)).decayed
    assert tensor_traits(torch.zeros(4, 4)).adapted


@pytest.mark.parametrize("name", UPDATE_RULES)
def test_a_saved_and_loaded_state_goes_on_bit_for_bit(name):
    rng = np.random.default_rng(10)
    weight, gradients = rng.normal(size=(3, 2)), rng.normal(size=(6, 3, 2))
    want, _ = run_rule(name, weight, gradients, [0.1] * 6, **NUMBERS[name])
    half, before = run_rule(name, weight, gradients[:3], [0.1] * 3, **NUMBERS[name])
    parameter = Parameter(torch.tensor(half))
    after = RuleOptimizer(
        [parameter], rule=get_update_rule(name), learning_rate=9.0, **NUMBERS[name]
    )
    after.load_state_dict(before.state_dict())
    for gradient in gradients[3:]:
        parameter.grad = torch.tensor(gradient)
        after.step()
    np.testing.assert_array_equal(parameter.detach().numpy(), want)


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


def test_an_unknown_rule_and_an_unknown_number_are_named():
    with pytest.raises(InputError, match="optimizer 'adam' is not one of momentum, lars"):
        get_update_rule("adam")
    with pytest.raises(ValueError, match="not trust"):
        get_update_rule("momentum").numbers(learning_rate=0.1, trust=1.0)
    with pytest.raises(ValueError, match="learning_rate is missing"):
        get_update_rule("momentum").numbers()

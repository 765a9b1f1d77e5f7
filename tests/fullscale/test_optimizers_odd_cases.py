"""What rules do at the edges: numbers that mean nothing, runs that diverge, odd tensors."""

import math

import pytest
import torch
from torch.nn import Parameter

from fullscale.optimizer_flags import rule_numbers
from fullscale.optimizers.eigen import symmetric_eigen
from fullscale.optimizers.registry import UPDATE_RULES, get_update_rule
from fullscale.optimizers.rule_optimizer import RuleOptimizer
from models_of_scaling.errors import InputError

NAMES = [*UPDATE_RULES, "ema:adam", "lookahead:lars"]


def optimizer_of(name, *parameters, **numbers):
    return RuleOptimizer(
        parameters, rule=get_update_rule(name), learning_rate=0.1, traits=None, **numbers
    )


@pytest.mark.parametrize("value", [0.0, 2.5])
@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("lookahead:sgd", "lookahead_steps"),
        ("swa:sgd", "average_start_steps"),
        ("swa:sgd", "average_period_steps"),
    ],
)
def test_a_count_of_steps_at_which_nothing_would_ever_be_due_is_refused(name, number, value):
    """They were taken, and the run was evaluated with its first weights to the end."""
    message = f"{number} {value:g} must be a whole number of steps, at least 1"
    with pytest.raises(InputError, match=message):
        rule_numbers(get_update_rule(name), {number: value})
    with pytest.raises(InputError, match=message):
        optimizer_of(name, Parameter(torch.ones(2)), **{number: value})


def test_adascales_scale_is_refused_below_1_where_its_gain_would_be_a_loss():
    with pytest.raises(InputError, match=r"adascale_scale 0.5 must be at least 1"):
        rule_numbers(get_update_rule("adascale"), {"adascale_scale": 0.5})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_no_number_shows_in_its_weights_and_in_no_others(name, value):
    broken, sound = Parameter(torch.ones(3, 3)), Parameter(torch.ones(4, 2))
    optimizer = optimizer_of(name, broken, sound)
    for step in range(12):
        for parameter in (broken, sound):
            parameter.grad = torch.linspace(-1, 1, parameter.numel()).view_as(parameter).clone()
        if step == 3:
            broken.grad[:] = value
        optimizer.step()
    assert sound.isfinite().all()
    # Lion moves by a sign: an infinite gradient is a large one until it meets its opposite.
    assert not broken.isfinite().all() or (name == "lion" and value == math.inf)


def test_eigenvalues_of_a_matrix_of_no_numbers_are_none_of_one_member_alone():
    matrices = torch.stack([torch.eye(3), torch.full((3, 3), math.nan), 2 * torch.eye(3)])
    values, vectors = torch.func.vmap(symmetric_eigen)(matrices)
    assert values[1].isnan().all()
    torch.testing.assert_close(values[[0, 2]], torch.tensor([[1.0] * 3, [2.0] * 3]))
    torch.testing.assert_close(vectors[2].abs(), torch.eye(3))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(0,), (3, 0), (2, 0, 3), ()])
def test_tensors_without_elements_or_without_axes_take_steps(name, shape):
    parameter, other = Parameter(torch.ones(shape)), Parameter(torch.ones(2, 2))
    optimizer = optimizer_of(name, parameter, other)
    for _ in range(3):
        parameter.grad, other.grad = torch.ones(shape), torch.ones(2, 2)
        optimizer.step()
    assert parameter.shape == shape
    assert parameter.isfinite().all()
    assert (other < 1).all()


def test_parameters_that_are_thawed_later_are_taken_with_traits_by_their_shape():
    first, matrix, bias = (Parameter(torch.ones(shape)) for shape in ((2, 2), (2, 3), (3,)))
    optimizer = optimizer_of("lars", first, weight_decay=0.5)
    optimizer.add_param_group({"params": [matrix, bias], "lr": 0.2})
    for parameter in (first, matrix, bias):
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    # lr eta |w| / (|g| + wd |w|) (g + wd w), and lr g for the bias.
    torch.testing.assert_close(matrix.detach(), torch.full((2, 3), 1 - 0.2 * 0.001 / 1.5 * 1.5))
    torch.testing.assert_close(bias.detach(), torch.full((3,), 0.8))

"""A rule's step in place is the rule's update, for whatever tensors it accepts."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import Parameter

from fullscale.optimizers.registry import UPDATE_RULES, get_update_rule
from fullscale.optimizers.rule_optimizer import RuleOptimizer
from fullscale.optimizers.update_rule import TensorTraits

FUSED = [name for name, rule in UPDATE_RULES.items() if rule.fused is not None]
SHAPES = [(7, 5), (3, 2, 3, 3), (40, 33), (6,), (1,), (1, 1), (4, 3)]
TRAITS = [
    *(TensorTraits(), TensorTraits(), TensorTraits(adapted=False)),
    *(TensorTraits(decayed=False, adapted=False), TensorTraits(decayed=False), TensorTraits()),
    TensorTraits(),
]


def start():
    torch.manual_seed(3)
    tensors = [torch.randn(shape, dtype=torch.float64) for shape in SHAPES]
    tensors[-1].zero_()
    return [Parameter(tensor) for tensor in tensors]


def steps(rule, count=20, momentum=None):
    """Return the parameters and the optimizer after so many steps of random gradients."""
    parameters = start()
    given = {} if momentum is None else {"momentum": momentum}
    optimizer = RuleOptimizer(
        parameters, rule=rule, learning_rate=0.1, traits=TRAITS, weight_decay=0.01, **given
    )
    generator = torch.Generator().manual_seed(4)
    for step in range(count):
        optimizer.param_groups[0]["lr"] = 0.1 / (1 + step)
        for k, parameter in enumerate(parameters):
            gradient = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            # The first tensor's gradient is zero at times; zero weights and gradients both occur.
            parameter.grad = gradient * (0.0 if k == 0 and step % 3 == 0 else 1.0)
        optimizer.step()
    return parameters, optimizer


def counted(name):
    """Return a fused rule that counts its calls, and the same without a fused step."""
    rule, calls = get_update_rule(name), []

    def fused(tensors, numbers):
        calls.append(len(tensors))
        rule.fused(tensors, numbers)

    return dataclasses.replace(rule, fused=fused), dataclasses.replace(rule, fused=None), calls


@pytest.mark.parametrize("name", FUSED)
def test_a_step_in_place_is_the_pure_update_for_20_steps(name):
    fused, pure, calls = counted(name)
    got, optimizer = steps(fused)
    want, other = steps(pure)
    assert calls == [len(SHAPES)] * 20
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)
        for key, value in optimizer.state[a].items():
            torch.testing.assert_close(value, other.state[b][key], rtol=1e-12, atol=1e-13)


def test_layer_wise_rules_and_momentum_have_a_step_in_place():
    assert {"momentum", "lars", "lars_mlperf", "lamb"} <= set(FUSED)
    assert get_update_rule("ema:lars").fused is None


def test_without_momentum_the_velocity_is_still_that_of_the_pure_update():
    fused, pure, calls = counted("lars")
    got, optimizer = steps(fused, count=3, momentum=0.0)
    want, other = steps(pure, count=3, momentum=0.0)
    assert calls == []
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
        torch.testing.assert_close(
            optimizer.state[a]["velocity"], other.state[b]["velocity"], rtol=0, atol=0
        )


@pytest.mark.parametrize("name", FUSED)
@pytest.mark.parametrize("case", ["channels_last", "transposed_gradient", "bfloat16", "sliced"])
def test_tensors_in_another_order_or_type_get_the_pure_update_or_the_same_one(name, case):
    def run(rule):
        torch.manual_seed(5)
        layer = nn.Conv2d(3, 4, 3, bias=False)
        if case == "channels_last":
            layer = layer.to(memory_format=torch.channels_last)
        if case == "bfloat16":
            layer = layer.bfloat16()
        weight = layer.weight
        if case == "sliced":
            weight = Parameter(torch.randn(4, 6)[:, ::2])
        optimizer = RuleOptimizer([weight], rule=rule, learning_rate=0.1, weight_decay=0.01)
        for _ in range(3):
            weight.grad = torch.randn(weight.shape).to(weight.dtype)
            if case == "channels_last":
                weight.grad = weight.grad.to(memory_format=torch.channels_last)
            if case == "transposed_gradient":
                weight.grad = weight.grad.transpose(2, 3).contiguous().transpose(2, 3)
            optimizer.step()
        return weight.detach()

    fused, pure, calls = counted(name)
    # float32: three steps, each rounding once or twice.
    torch.testing.assert_close(run(fused), run(pure), rtol=1e-6, atol=1e-6)
    assert bool(calls) == (case == "channels_last")

"""Whose gradient is measured: by what our own optimizers do to it, or not at all."""

from functools import partial

import numpy as np
import pytest
import torch
from noise_modules import WITHOUT_HINTS, Planted, loader, quiet_trainer

from fullscale.callbacks.gradient_noise import GradientNoiseScale
from fullscale.gradient_noise.preconditioners import lars_numbers
from fullscale.optimizers.registry import UPDATE_RULES, get_update_rule
from fullscale.optimizers.rule_optimizer import RuleOptimizer
from fullscale.optimizers.update_rule import TensorTraits
from models_of_scaling.errors import InputError

pytestmark = WITHOUT_HINTS
STEPS, SIZE = 16, 5
DATA = torch.randn(STEPS * 4 * SIZE, 10, generator=torch.Generator().manual_seed(1)) + 0.3


def ours(parameters, lr, *, name, **numbers):
    return RuleOptimizer(parameters, rule=get_update_rule(name), learning_rate=lr, **numbers)


def measured(optimizer, preconditioner="adam", sizes=(7, 3)):
    noise = GradientNoiseScale(window_steps=STEPS, blocks=8, preconditioner=preconditioner)
    module = Planted(sizes=sizes, optimizer=optimizer)
    quiet_trainer(accumulate_grad_batches=4, callbacks=[noise]).fit(
        module, loader(DATA, batch_size=SIZE)
    )
    return noise.preconditioned_noise_scale()


@pytest.mark.parametrize(
    ("name", "library", "numbers"),
    [
        ("adam", torch.optim.Adam, {}),
        ("ema:adamw", torch.optim.AdamW, {}),
        ("rmsprop", torch.optim.RMSprop, {"alpha": 0.9}),
    ],
)
def test_our_rules_are_measured_as_torchs_optimizers_of_their_name(name, library, numbers):
    got, want = measured(partial(ours, name=name)), measured(partial(library, **numbers))
    assert got.steps == want.steps > 0
    # Single precision, summed over 160 gradients.
    np.testing.assert_allclose(
        (got.trace, got.sq_norm), (want.trace, want.sq_norm), rtol=1e-4, atol=1e-4 * want.trace
    )


def test_amsgrads_largest_moment_is_what_divides():
    """At rate 0 the same gradients come; the largest moment is never below the last one."""
    plain, largest = (
        measured(partial(torch.optim.Adam, betas=(0.9, 0.5), amsgrad=amsgrad))
        for amsgrad in (False, True)
    )
    assert largest.trace < 0.9 * plain.trace


OTHERS = sorted(UPDATE_RULES.keys() - {"adam", "adamw", "lamb", "radam", "rmsprop", "yogi"})


@pytest.mark.parametrize("name", OTHERS)
def test_rules_that_make_something_else_of_a_gradient_are_refused_at_the_start(name):
    with pytest.raises(InputError, match=f"preconditioner 'adam': .*{name} does not divide"):
        measured(partial(ours, name=name))


@pytest.mark.parametrize(
    ("optimizer", "entry"),
    [
        (torch.optim.Adadelta, "acc_delta"),
        (partial(torch.optim.RMSprop, centered=True), "grad_avg"),
    ],
)
def test_torchs_optimizers_that_do_more_than_divide_are_refused(optimizer, entry):
    with pytest.raises(InputError, match=f"it also keeps {entry}"):
        measured(optimizer)


def test_who_has_a_trust_ratio_is_what_the_optimizers_traits_say():
    """A head without a ratio and a bias with one, as --model.no_trust_ratio can ask."""
    parameters = [torch.nn.Parameter(torch.ones(2, 3)), torch.nn.Parameter(torch.ones(4))]
    traits = [TensorTraits(adapted=False), TensorTraits(adapted=True, decayed=False)]
    optimizer = ours(
        parameters, 0.1, name="lars_mlperf", weight_decay=0.5, epsilon=0.25, traits=traits
    )
    numbers = lars_numbers(optimizer, parameters)
    ratios = numbers.trust_ratios(torch.tensor([2.0, 2.0]), torch.tensor([4.0, 4.0]))
    # 0.001 |w| / (|g| + 0 |w| + epsilon) for the second.
    torch.testing.assert_close(ratios, torch.tensor([1.0, 0.001 * 2 / 4.25]))

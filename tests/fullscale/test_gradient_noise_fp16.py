"""The gradient noise scale under real fp16: autocast, a scaler that scales, steps it skips."""

import numpy as np
import pytest
import torch
from fit_callbacks import ScaleLosses
from lightning.pytorch import LightningModule
from noise_modules import WITHOUT_HINTS, loader, quiet_trainer
from torch import nn

from fullscale.callbacks.gradient_noise import GradientNoiseScale

pytestmark = WITHOUT_HINTS
SIZE, STEPS = 16, 16


class CountedSteps(torch.optim.SGD):
    """Counts the steps that a scaler lets through."""

    taken = 0

    def step(self, closure=None):
        type(self).taken += 1
        return super().step(closure)


class Network(LightningModule):
    """A user's classifier; with rate 0 each step's gradients are those of the same weights."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 3))
        self.dtypes, self.largest, self.overflowed = set(), 0.0, []

    def training_step(self, batch):
        scores = self.network(batch[0])
        self.dtypes.add(scores.dtype)
        return nn.functional.cross_entropy(scores.float(), batch[1])

    def on_after_backward(self):
        """Before anything unscales it."""
        norm = float(self.network[0].weight.grad.norm())
        self.largest = max(self.largest, norm if np.isfinite(norm) else 0.0)

    def on_before_optimizer_step(self, optimizer):
        """After the callbacks: a gradient that is not finite leaves float32's weights alone too."""
        if not all(parameter.grad.isfinite().all() for parameter in self.parameters()):
            self.overflowed.append(self.trainer.global_step)
        for parameter in self.parameters():
            parameter.grad.nan_to_num_(0, 0, 0)

    def configure_optimizers(self):
        return CountedSteps(self.parameters(), lr=0.0)


def examples(steps, accumulation):
    generator = torch.Generator().manual_seed(1)
    count = steps * accumulation * SIZE
    inputs = torch.randn(count, 12, generator=generator)
    return inputs, (inputs[:, :3] + torch.randn(count, 3, generator=generator)).argmax(dim=1)


def measured(data, accumulation, callbacks=()):
    noise = GradientNoiseScale(window_steps=STEPS, blocks=8, probe_every_n_steps=1)
    module, CountedSteps.taken = Network(), 0
    trainer = quiet_trainer(accumulate_grad_batches=accumulation, callbacks=[*callbacks, noise])
    trainer.fit(module, loader(*data, batch_size=SIZE))
    return noise.noise_scale(), noise.layer_noise_scales(), module


@pytest.mark.parametrize("accumulation", [1, 4])
def test_under_fp16_the_estimate_is_that_of_float32_and_skipped_steps_are_left_out(accumulation):
    """From a scale of 2^24 gradients overflow until it has been halved often enough."""
    total = STEPS + 12
    inputs, labels = examples(total, accumulation)
    scaler = ScaleLosses(init_scale=2.0**24, growth_interval=1000)
    scaled, layers, module = measured((inputs, labels), accumulation, [scaler])
    skipped = module.overflowed
    assert len(skipped) == total - CountedSteps.taken  # the scaler skipped them too
    assert 0 < len(skipped) <= 12
    assert module.dtypes == {torch.float16}
    assert module.largest > 1e3  # what the hooks saw was scaled
    late = sum(step >= total - STEPS for step in skipped)
    words = f"{late} of the last {STEPS} measured steps had a gradient that was not finite"
    assert (words in scaled.reason) == (late > 0)
    # In float32 the same steps are left out where their inputs are not finite.
    inputs.view(total, -1)[skipped] = float("inf")
    plain, plain_layers, module = measured((inputs, labels), accumulation)
    assert module.dtypes == {torch.float32}
    assert plain.steps == scaled.steps == STEPS
    # Scores and gradients are rounded to 2^-11 each; over tensors and steps that averages out.
    for got, want in [(scaled, plain), *((layers[name], plain_layers[name]) for name in layers)]:
        np.testing.assert_allclose(got.trace, want.trace, rtol=1e-3)
        # |G|^2 is a difference: rounding is a share of the squared norm, noise included.
        rounding = 1e-3 * (want.sq_norm + want.trace / (accumulation * SIZE))
        np.testing.assert_allclose(got.sq_norm, want.sq_norm, atol=rounding)

"""Norms as gradients flow by: nothing is copied, and a ResNet's batch norm is as it trains."""

import weakref

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from noise_modules import loader, quiet_trainer
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

from fullscale.callbacks.gradient_noise import GradientNoiseScale
from fullscale.gradient_noise import norms as norms_module
from fullscale.gradient_noise.meter import NoiseMeter
from fullscale.gradient_noise.step_norms import Microbatch
from fullscale.models import build_network
from models_of_scaling.noise_scale import unbiased_moments
from models_of_scaling.noise_stream import Window

MICROBATCHES, SIZE, STEPS = 4, 8, 8


class LargeTensors(TorchDispatchMode):
    """Counts the new tensors of at least so many elements."""

    def __init__(self, elements):
        super().__init__()
        self.elements, self.count = elements, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # noqa: PLW3201 - torch's
        out = function(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.numel() >= self.elements:
            known = {a.untyped_storage().data_ptr() for a in args if isinstance(a, torch.Tensor)}
            self.count += out.untyped_storage().data_ptr() not in known
        return out


def test_no_gradient_is_copied_or_kept(monkeypatch):
    """Two steps of four backward passes make as many large tensors with the norms as without."""
    seen = []
    plain_write = norms_module.write_norm

    def write(gradient, slot):
        seen.append(weakref.ref(gradient))
        plain_write(gradient, slot)

    monkeypatch.setattr(norms_module, "write_norm", write)
    counts = []
    for measured in (False, True):
        module = nn.Linear(40, 50, bias=False)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        meter = NoiseMeter(
            module, optimizer, window=Window(steps=8, blocks=8), preconditioner="none"
        )
        microbatch = Microbatch(examples=2, factor=1.0, accumulation=MICROBATCHES)
        with LargeTensors(40 * 50) as large:
            for _ in range(2):
                optimizer.zero_grad(set_to_none=True)
                for _ in range(MICROBATCHES):
                    if measured:
                        meter.begin()
                    module(torch.ones(2, 40)).sum().backward()
                    if measured:
                        meter.add(microbatch)
                if measured:
                    meter.finish_step(microbatch)
                optimizer.step()
        counts.append(large.count)
        meter.close()
    assert counts[0] > 0
    assert counts[1] == counts[0]
    assert len(seen) == 2 * MICROBATCHES
    optimizer.zero_grad(set_to_none=True)
    assert not any(gradient() is not None for gradient in seen)


class Resnet(LightningModule):
    """A ResNet with batch norm at fixed weights; its statistics train, or do not."""

    def __init__(self, *, statistics_train):
        super().__init__()
        self.network = build_network("resnet8", image_shape=(1, 8, 8), num_classes=3, seed=0)
        self.network.double()
        self.statistics_train = statistics_train

    def on_train_start(self):
        if not self.statistics_train:
            for layer in self.network.modules():
                if isinstance(layer, nn.modules.batchnorm._BatchNorm):  # noqa: SLF001
                    layer.eval()

    def training_step(self, batch):
        return cross_entropy(self.network(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*is smaller than the logging interval")
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*")
@pytest.mark.filterwarnings("ignore:.*litlogger.*")
@pytest.mark.parametrize("statistics_train", [True, False])
def test_of_a_resnet_it_is_the_noise_of_microbatches_with_statistics_of_their_own(
    statistics_train,
):
    generator = torch.Generator().manual_seed(1)
    count = MICROBATCHES * SIZE * STEPS
    images = torch.randn(count, 1, 8, 8, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (count,), generator=generator)
    noise = GradientNoiseScale(window_steps=STEPS, blocks=8)
    quiet_trainer(accumulate_grad_batches=MICROBATCHES, callbacks=[noise]).fit(
        Resnet(statistics_train=statistics_train), loader(images, labels, batch_size=SIZE)
    )
    found = noise.noise_scale()
    codes = {problem.code for problem in found.problems}
    assert ("batch_norm" in codes) == statistics_train
    module = Resnet(statistics_train=statistics_train)
    module.on_train_start()
    parameters = list(module.parameters())
    gradients = []
    for batch in zip(images.split(SIZE), labels.split(SIZE), strict=True):
        parts = torch.autograd.grad(module.training_step(batch), parameters)
        gradients.append(torch.cat([part.flatten() for part in parts]).numpy())
    want = []
    for step in range(STEPS):
        four = np.stack(gradients[step * MICROBATCHES : (step + 1) * MICROBATCHES])
        want.append(
            unbiased_moments(
                np.square(four).sum(axis=1).mean(),
                np.square(four.mean(axis=0)).sum(),
                inverse_small=1 / SIZE,
                inverse_big=1 / (SIZE * MICROBATCHES),
            )
        )
    # Float64 through eight layers, and norms of sums in another order.
    np.testing.assert_allclose((found.trace, found.sq_norm), np.mean(want, axis=0), rtol=1e-9)

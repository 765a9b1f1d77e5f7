"""What the gradient noise scale costs: steps that are measured beside steps that are not.

One run of ResNet-18 on 64 x 64 pictures with 8 microbatches of 16, one thread; every second step is
measured, so both kinds see the same machine. Processor time, medians.
"""

import statistics
import time

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

from fullscale.callbacks.gradient_noise import GradientNoiseScale

MICROBATCHES, SIZE, STEPS, WARM_UP = 8, 16, 10, 2
# Promised are 2 %; measured 0.9 to 1.3 %. The rest is room for what other processes do to a cache.
AT_MOST = 1.03

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*"),
]


class Plain(LightningModule):
    """What a user has."""

    def __init__(self):
        super().__init__()
        from torchvision.models import resnet18

        self.network = resnet18(num_classes=10)

    def training_step(self, batch):
        return torch.nn.functional.cross_entropy(self.network(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Stamp(Callback):
    def __init__(self):
        self.times = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if (batch_idx + 1) % MICROBATCHES == 0:
            self.times.append(time.process_time())


def test_the_noise_scale_of_8_microbatches_costs_at_most_2_percent_of_a_step(capsys):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    stamp = Stamp()
    noise = GradientNoiseScale(every_n_steps=2, reduce_every_n_steps=1, window_steps=8, blocks=8)
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        accumulate_grad_batches=MICROBATCHES,
        callbacks=[noise, stamp],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    count = MICROBATCHES * SIZE * STEPS
    pictures = torch.rand(64, 3, 64, 64).repeat(count // 64, 1, 1, 1)
    batches = DataLoader(TensorDataset(pictures, torch.arange(count) % 10), batch_size=SIZE)
    trainer.fit(Plain(), batches)
    torch.set_num_threads(threads)
    seconds = [b - a for a, b in zip(stamp.times, stamp.times[1:], strict=False)][WARM_UP - 1 :]
    # seconds[0] is step 2: even steps are measured.
    measured, plain = (statistics.median(seconds[first::2]) for first in (0, 1))
    with capsys.disabled():
        print(
            f"\nstep of 8 microbatches: {plain:.3f} s, measured {measured:.3f} s, "
            f"ratio {measured / plain:.4f}"
        )
    assert noise.noise_scale().sq_norm is not None
    assert measured / plain <= AT_MOST

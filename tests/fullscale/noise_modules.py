"""Lightning modules, of users who know nothing of ours, for the tests of the noise scale."""

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

# Lightning's hints about loaders and logging are no concern of these runs.
WITHOUT_HINTS = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*is smaller than the logging interval"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*"),
    pytest.mark.filterwarnings("ignore:.*litlogger.*"),
]


class Planted(LightningModule):
    """Gradients that are known: the loss of example x is <w, x>, so its gradient is x itself.

    With rate 0 every step draws from the same distribution.
    """

    def __init__(self, sizes=(7, 3), *, optimizer=torch.optim.SGD, **numbers):
        super().__init__()
        self.tensors = nn.ParameterList([nn.Parameter(torch.zeros(n)) for n in sizes])
        self._optimizer, self._numbers = optimizer, {"lr": 0.0, **numbers}

    def training_step(self, batch, batch_idx):
        flat = torch.cat([tensor.flatten() for tensor in self.tensors])
        return (batch[0] @ flat).mean()

    def configure_optimizers(self):
        return self._optimizer(self.parameters(), **self._numbers)


class SmallNetwork(LightningModule):
    """A user's classifier with all that a second forward could disturb."""

    def __init__(self, *, batch_norm=True):
        super().__init__()
        from torchmetrics.classification import MulticlassAccuracy

        torch.manual_seed(0)
        norm = nn.BatchNorm2d(4) if batch_norm else nn.Identity()
        self.network = nn.Sequential(
            nn.Conv2d(1, 4, 3), norm, nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(144, 3)
        )
        self.accuracy = MulticlassAccuracy(3)
        self.seen = []

    def training_step(self, batch):
        images, labels = batch
        scores = self.network(images)
        self.accuracy.update(scores.argmax(dim=1), labels)
        loss = nn.functional.cross_entropy(scores, labels)
        self.log("train_loss", loss)
        return loss

    def on_train_batch_end(self, *_):
        self.seen.append(float(self.trainer.callback_metrics["train_loss"]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def pictures(count):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, 1, 8, 8, generator=generator)
    return images, torch.randint(3, (count,), generator=generator)


def quiet_trainer(**more):
    return Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"max_epochs": 1, **more},
    )


def loader(*tensors, batch_size):
    return DataLoader(TensorDataset(*tensors), batch_size=batch_size)

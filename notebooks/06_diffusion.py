# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # By which law do the weights leave their start?
#
# Hoffer, Hubara & Soudry (2017) saw the distance of the weights from their start grow like log t, called
# it ultra-slow diffusion, and explained the generalization gap of large batches by it: fewer steps, less
# distance. If that were the law, a run at a batch 8 times larger would have to go on for as many steps,
# not as many epochs. So it matters which law holds, and how sure that is.

# %%
import fullscale  # first: it makes torchvision importable where torch is for the CPU

# isort: split
import math
import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fullscale.callbacks.diffusion import Diffusion
from fullscale.data.digits import digits_arrays
from models_of_scaling.diffusion import words
from models_of_scaling.diffusion.study import study_diffusion
from models_of_scaling.diffusion.walk_table import WalkChoice, read_walks
from models_of_scaling.plots.diffusion import draw_diffusion

FAST = bool(os.environ.get("NOTEBOOK_FAST"))
RESULTS = Path(fullscale.__file__).resolve().parents[1] / "paper" / "results"

# %% [markdown]
# ## A run of your own
#
# One callback in any Lightning `Trainer`. Two batch sizes of a small network on digits at a constant
# learning rate; a row is written at log-spaced steps.


# %%
class Digits(LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

    def training_step(self, batch, _):
        images, labels = batch
        return nn.functional.cross_entropy(self.network(images), labels)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


data = digits_arrays()
pairs = TensorDataset(
    torch.as_tensor(data.train_images, dtype=torch.float32), torch.as_tensor(data.train_labels)
)
folder = Path(tempfile.mkdtemp())
for batch_size in (16, 128):
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, max_epochs=-1, max_steps=300 if FAST else 4000,
        callbacks=[Diffusion(path=str(folder / f"b{batch_size}.csv"))],
    )  # fmt: skip
    order = torch.Generator().manual_seed(0)
    trainer.fit(Digits(), DataLoader(pairs, batch_size=batch_size, shuffle=True, generator=order))

mine = study_diffusion(
    read_walks(folder, WalkChoice(from_steps=8)), replicates=50 if FAST else 400, level=0.9, seed=0
)
for each in mine.settings:
    print(words.setting_in_words(each.setting))
    print(words.verdict(each.comparison))
    print(words.exponent_in_words(each.exponent), "\n")

# %% [markdown]
# ## Fashion-MNIST, 14 runs
#
# From the records in `paper/results`: three batch sizes, two learning rates, two seeds, and Adam. The
# first 32 steps are left out; over all steps no law fits, and the tool says so.

# %%
walks = read_walks(RESULTS / "diffusion_fashion_mnist", WalkChoice(from_steps=32))
study = study_diffusion(walks, replicates=50 if FAST else 400, level=0.9, seed=0)
for each in study.settings:
    exponent, behind = each.exponent, each.comparison.behind("log")
    found = f"t^{exponent.estimate:.3f} ({exponent.low:.3f} to {exponent.high:.3f})"
    setting = words.setting_in_words(each.setting)
    print(f"{setting:42} {found}, log t is {behind:.0f} behind in AICc")
for trend in study.trends:
    print(words.trend_in_words(trend))
assert all(each.comparison.behind("log") > 10 for each in study.settings)

# %%
columns = 2
rows = math.ceil(len(study.settings) / columns)
figure, axes = plt.subplots(rows, columns, figsize=(9, 3.6 * rows), layout="constrained")
for ax, each in zip(np.ravel(axes), study.settings, strict=False):
    draw_diffusion(ax, each)
for ax in np.ravel(axes)[len(study.settings) :]:
    ax.set_axis_off()
plt.show()

# %% [markdown]
# Not log t: in every setting a power of t is better by far, with an exponent around 0.3, below the 1/2 of a
# free random walk and falling slowly with the batch size. `docs/diffusion.md` says how the laws are
# compared and how often simulated walks are classified right.

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
# # From nothing to a verdict
#
# You train a network to some quality, and you may buy more machines. More machines mean a larger batch:
# more examples in each optimizer step. That helps only as far as fewer steps are then needed. So the
# question is how the number of steps to a fixed quality falls with the batch size, and where it stops
# falling. This notebook measures such a curve on real images in a minute or two, fits a law to it, and
# reads off how far the batch size can be raised, and how sure that is.

# %%
# %matplotlib inline
import fullscale  # noqa: F401 - first: it makes torchvision importable where torch is for the CPU

# isort: split
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from models_of_scaling.commands.fit import summary
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.limit import judge
from models_of_scaling.limit_words import verdict_in_words
from models_of_scaling.plots.report_figures import (
    definitions_figure,
    saving_figure,
    search_figure,
    steps_figure,
)
from models_of_scaling.prediction import predict
from models_of_scaling.prediction_tables import prediction_table
from models_of_scaling.report import search_points
from models_of_scaling.study_source import TableChoice, read_measurements
from models_of_scaling.trials import read_trials
from surrogate.run_sweep import SweepSettings, run_sweep

# %%
# The fast mode is for the test suite: fewer batch sizes and trials. The text speaks of the full mode.
FAST = bool(os.environ.get("NOTEBOOK_FAST"))
SIZES = (16, 64, 256, 1024) if FAST else (4, 8, 16, 32, 64, 128, 256, 512, 1024)
folder = tempfile.TemporaryDirectory()
TRIALS = 8 if FAST else 32  # searched at each batch size
out = Path(folder.name)
settings = SweepSettings(workload="digits", out=out, batch_sizes=SIZES, trials=TRIALS, quick=FAST)
with ThreadPoolExecutor(1) as here:  # in this process; `make study` uses all cores
    swept = run_sweep(settings, progress=False, workers=here)
print(swept.in_words())

# %% [markdown]
# The workload is digits: 1,024 images of 8x8 pixels to train on, which scikit-learn carries, and a small
# network. The quality to reach, the **target**, is a training loss of 0.05. At every batch size the sweep
# searched learning rate and momentum, compared the best few on fresh seeds, and ran the winner again on
# seeds used nowhere before.
#
# ## One run
#
# Below are the winners' runs at three batch sizes, five seeds each. Counted in steps the large batch gets
# there first: its gradient is the better one. Counted in examples, which is what the machines compute, 16
# and 64 go together and 1,024 pays several times as much. A run's **steps to target** is the first
# evaluation at which its curve is on or below the dotted line.

# %%
trials = read_trials(swept.trials_folder).to_pandas()
repeats = trials[trials["phase"] == "repeat"]
figure = Figure(figsize=(9, 3.6), layout="constrained")
axes = figure.subplots(1, 2, sharey=True)
for size, colour in zip((16, 64, 1024), ("#0072B2", "#E69F00", "#009E73"), strict=True):
    for _, run in repeats[repeats["batch_size"] == size].iterrows():
        for ax, factor in zip(axes, (1, size), strict=True):
            ax.loglog(run["curve_steps"] * factor, run["curve_train_loss"], color=colour, lw=0.9)
    axes[0].plot([], [], color=colour, label=f"batch size {size:,}")

# %%
for ax, unit in zip(axes, ("optimizer steps", "examples processed"), strict=True):
    ax.axhline(0.05, color="black", linestyle=":")
    ax.set_xlabel(unit)
axes[0].set_ylabel("training loss")
axes[0].legend(frameon=False)
figure  # noqa: B018 - shown by Jupyter

# %% [markdown]
# ## Why every batch size is tuned anew
#
# Below is all that the search tried. A column is a batch size; yellow is a learning rate that needed about
# the fewest steps found there, grey one with which no run reached the target in time, white one that was
# not tried. The best rate, ringed, climbs more than tenfold from the smallest batch to the middle. Had one
# rate been kept for all, the curve would speak of that rate: the best one of the small batches lies in the
# grey at the large ones, which would look useless, and the other way round. Nor is there a rule to
# trust: the lines are linear and square-root scaling from the middle, and the rings leave both, as beyond a
# few hundred examples the best rate no longer rises.

# %%
measured = read_measurements(swept.trials_folder, TableChoice())
fit = fit_laws(measured, FitChoice())
search_figure(search_points(fit, read_trials(swept.trials_folder)))

# %% [markdown]
# ## Runs that never got there
#
# A search tries poor settings too. A run that has not reached the target by three times the fewest steps
# known at its batch size is stopped. It is not thrown away: its row says "more than so many steps"
# (censored), and a run that diverged is counted as one that did. A curve from the successes alone would be
# too low wherever successes are rare, which is at the ends.

# %%
print(pd.crosstab(trials["phase"], trials["status"]))

# %% [markdown]
# ## The winner's curse
#
# The fewest steps among all trials of a search are not what the winner needs. Of many trials the best is
# the luckiest as well as the best. So the winner runs again with fresh seeds, and only those
# runs are the measurement. The last column is by how much the search alone would have promised too few
# steps: here between a few per cent and a third.

# %%
steps = trials["steps"].where(trials["status"] == "reached", np.inf)
by_phase = steps.groupby([trials["phase"], trials["batch_size"]])
found = pd.DataFrame({
    "best of the search": by_phase.min()["search"],
    "its winner on fresh seeds": by_phase.median()["repeat"],
})
found["more steps, %"] = 100 * (found.iloc[:, 1] / found.iloc[:, 0] - 1)
print(found.round(0).astype(int))

# %% [markdown]
# ## The curve, and a law
#
# Now the curve: each point a run with a fresh seed, the line the average of three laws, the band where a
# new study of one more batch size, tuned with the same effort, would land nine times in ten. All three laws
# say that the steps first fall with the batch size, along the dotted line or near it, and end at a floor that no
# batch size goes below. They can't be told apart here: the weights in the legend say so, and the one that is
# named best is the simplest that no other clearly beats.

# %%
print(summary(fit))
steps_figure(fit)

# %% [markdown]
# ## Three regimes
#
# What does a doubling of the batch divide the steps by? At the left nearly by 2: **perfect scaling**, where
# twice the machines do the work in half the time and no example is wasted. Then comes a wide stretch of
# **diminishing returns**. At the right, near 1, the steps are at their floor and **more examples
# per step buy nothing**. Shallue et al. (2019) saw these three on every workload that they tried. There is
# no edge between them: a "limit" is where somebody draws a line. The table below has the same as
# efficiency: of 1,024 examples in a step nearly nine tenths do nothing.

# %%
verdict = judge(fit)
saving_figure(fit, verdict)

# %%
print(prediction_table(fit, predict(fit, [*SIZES, 2 * SIZES[-1]])))

# %% [markdown]
# ## The verdict
#
# So the verdict draws four lines and names them, each with an interval. All are read off the same curve,
# and yet the largest is nearly ten times the smallest: two people who each call theirs "the critical batch
# size" can both be right and disagree by as much.

# %%
print(verdict_in_words(verdict))
definitions_figure(fit, verdict)

# %% [markdown]
# ## Does it hold beyond what was measured?
#
# The test of a law is a batch size that it has not seen. Here it is fitted to the smaller batch sizes only
# and asked for the two largest, which were measured but kept from it. Both lie inside their intervals, and
# those are wide: high over low is more than two, as the rows up to 256 have hardly seen the floor. The
# larger batch sizes narrow the critical batch size's interval by far.

# %%
blind = fit_laws(measured, FitChoice(holdout_above=256))
print(prediction_table(blind, predict(blind, [size for size in SIZES if size > 256])))
print(f"Critical batch size, known from up to 256: {blind.critical_batch_size.low:.0f} to "
      f"{blind.critical_batch_size.high:.0f}; from all: {fit.critical_batch_size.low:.0f} to "
      f"{fit.critical_batch_size.high:.0f}.")  # fmt: skip

# %% [markdown]
# ## The same on your workload
#
# `python -m surrogate.sweep --workload mnist --data-root DIR --out my_sweep` sweeps another set, and
# `python -m models_of_scaling fit my_runs.csv --out fit.json` takes a table of your own: batch size, steps,
# reached. `docs/search_protocol.md` has the protocol with its numbers, `03_fit_laws.py` what the laws can
# and can't say, `04_surrogate_to_fullscale.py` the way to a run on many machines.

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
# # What the laws say, and what they can't
#
# A few measured batch sizes, a law through them, and a limit read off the law: three places to go wrong.
# This notebook fits every law to the same rows, reads every definition off the same curves, takes rows away
# to see what extrapolation costs, and damages rows to see what that does. All rows are in the repository:
# our own of digits and Fashion-MNIST (`paper/results`), and the reference points that MLPerf publishes.

# %%
# %matplotlib inline
import fullscale  # first: it makes torchvision importable where torch is for the CPU

# isort: split
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from models_of_scaling.backtest.run import back_test
from models_of_scaling.backtest.scores import scores
from models_of_scaling.backtest.tables import score_table
from models_of_scaling.commands.fit import summary
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.laws import LAW_NAMES
from models_of_scaling.limit import differ_by, judge
from models_of_scaling.plots.report_figures import residuals_figure, steps_figure
from models_of_scaling.plots.steps_to_target import batch_size_axis, log_axis_in_numbers
from models_of_scaling.prediction import estimated_steps, predict
from models_of_scaling.published.loader import choose_series
from models_of_scaling.quantities import batch_size_where_doubling_saves, batch_size_with_overhead
from models_of_scaling.residuals import batch_size_residuals
from models_of_scaling.study_source import TableChoice, read_measurements
from models_of_scaling.wording import interval_in_words, law_title

# %%
FAST = bool(os.environ.get("NOTEBOOK_FAST"))  # for the test suite: fewer published series
RESULTS = Path(fullscale.__file__).resolve().parents[1] / "paper" / "results"
DIGITS = TableChoice(workload="digits_subset1024_width48")
rows = {
    "digits": read_measurements(RESULTS / "ladder_digits.csv", DIGITS),
    "Fashion-MNIST": read_measurements(RESULTS / "fashion_mnist.csv", TableChoice()),
    "ResNet-50, LARS (MLPerf)": choose_series(["mlperf_reference"])[0].rows,
    "BERT (MLPerf)": choose_series(["mlperf_bert"])[0].rows,
}
fits = {name: fit_laws(each, FitChoice()) for name, each in rows.items()}

# %% [markdown]
# ## Six laws through the same rows
#
# Fashion-MNIST was swept from 16 examples to all 60,000 as one batch. All six laws go through the points,
# and where there are points they can hardly be told apart. They part company beyond, and in what they make
# of the same word: their critical batch sizes go from 171 to 235. The last two columns are how far a law
# missed larger batch sizes when it was fitted to the smaller ones alone, and the weight that follows from
# that and from its marginal likelihood.

# %%
every = fit_laws(rows["Fashion-MNIST"], FitChoice(laws=LAW_NAMES))
table = pd.DataFrame(index=[law_title(law.name) for law in every.laws])
for size in (64, 60_000, 240_000):
    table[f"S at {size:,}"] = [law.steps(size) for law in every.laws]
table["B_crit"] = [law.point.get("critical_batch_size", np.nan) for law in every.laws]
table["held-out error, %"] = [100 * law.held_out_error for law in every.laws]
table["weight, %"] = [100 * law.weight for law in every.laws]
print(table.round(1).to_string())
steps_figure(every)

# %% [markdown]
# An answer averages the first three, by weight. The smoothly broken law has no floor and so no B_crit; the
# one with an upturn says that steps rise again beyond the data, which nothing here shows; the Gaussian
# process follows any wiggle. `docs/laws.md` says why those are left out.
#
# ## Four definitions off the same curves
#
# Now the limit, by four definitions and on four workloads. Per workload they lie a factor of 4 to 19
# apart: the choice of words matters more than the choice of law.

# %%
limits = pd.DataFrame({
    name: {claim.name: claim.batch_size.estimate for claim in judge(fit).definitions}
    | {"largest over smallest": differ_by(judge(fit).definitions)}
    for name, fit in fits.items()
})
print(limits.map(lambda value: f"{value:,.3g}" if value < 100 else f"{value:,.0f}").to_string())

# %% [markdown]
# Why they differ, and not by a constant: each asks how far the curve has bent, and how much of a
# bend is between two answers depends on how sharp the knee is. Per B_crit, by the formulas alone, for a
# hyperbola (q = 1) and sharper knees:

# %%
print("  q  overhead 20 %  doubling saves 1.6  doubling saves 1.1   (B_crit = 1)")
for q in (1.0, 1.5, 2.0, 3.0):
    overhead = batch_size_with_overhead(0.2, critical_batch_size=1.0, sharpness=q)
    saves = [
        batch_size_where_doubling_saves(f, critical_batch_size=1.0, sharpness=q) for f in (1.6, 1.1)
    ]
    print(f"{q:3.1f}  {overhead:13.2f}  {saves[0]:18.2f}  {saves[1]:18.2f}")

# %% [markdown]
# With a hyperbola 22 times lie between the first and the last, with a knee of q = 2 less than four; even
# their order changes. That is the factor between papers which each speak of "the" critical batch size.
#
# ## What extrapolation costs
#
# The largest batch size of two workloads, predicted from those up to ever smaller ones. The dashed line is
# what was measured there. From one doubling off the interval is narrow and right. From farther off it is several
# times wider, and has to be: on digits the middle predicted from 64 is off by more than a factor of two, and
# the interval just holds the truth. Rows before the knee are a straight line, and where it will bend is
# not in them.

# %%
blind = {
    name: [
        fit_laws(rows[name], FitChoice(holdout_above=int(origin)))
        for origin in np.unique(rows[name].batch_size)[2:-1]
    ]
    for name in ("digits", "ResNet-50, LARS (MLPerf)")
}

# %%
figure = Figure(figsize=(9, 3.8), layout="constrained")
for ax, (name, prefixes) in zip(figure.subplots(1, 2), blind.items(), strict=True):
    asked = int(rows[name].batch_size.max())
    found = [predict(each, [asked])[0] for each in prefixes]
    origins = np.array([asked / each.extrapolation for each in found])
    steps = np.array([(each.steps.estimate, each.steps.low, each.steps.high) for each in found]).T
    ax.vlines(origins, steps[1], steps[2], color="#0072B2", label="90 % interval")
    ax.plot(origins, steps[0], "o", color="#0072B2", label="predicted")
    ax.axhline(found[0].measured, color="black", linestyle="--", label="measured")
    ax.set_title(f"{name}: steps at batch size {asked:,}", fontsize="medium")

# %%
for ax, prefixes in zip(figure.axes, blind.values(), strict=True):
    batch_size_axis(ax, np.array([float(each.largest_batch_size) for each in prefixes]))
    ax.set_yscale("log")  # whose limits are positive
    log_axis_in_numbers(ax, ax.get_ylim())
    ax.set_xlabel("largest batch size fitted (examples)")
figure.axes[0].legend(frameon=False)
figure  # noqa: B018 - shown by Jupyter

# %% [markdown]
# The weights move with it. On digits up to 128 the three laws share them, for the rows before the knee
# fit them all. Then the floor comes into the rows, the p-norm knee gains, and the hyperbola, whose knee
# is softer than that of digits, is nearly out. That is what an average is for: nobody has to know beforehand
# which law it will be.

# %%
weights = pd.DataFrame({
    each.largest_batch_size: {law_title(law.name): 100 * law.weight for law in each.laws}
    for each in [*blind["digits"], fits["digits"]]
})
print("weight, %, by the largest batch size fitted (digits)")
print(weights.round(0).astype(int).to_string())

# %% [markdown]
# ## "Not identified" is an answer
#
# From the batch sizes up to 32 alone the same digits scale perfectly, as far as one can see. A number for
# the critical batch size would then be the prior's and nobody's measurement. So there is none, but a bound,
# a result code, and what to run next.

# %%
early = fit_laws(rows["digits"], FitChoice(holdout_above=32))
print(summary(early))

# %% [markdown]
# ## A batch size that was tuned badly
#
# Now damage: at batch size 64, right at the knee, all runs are given 1.6 times their steps, as if its search
# had missed the good learning rates. The laws' noise has heavy tails, so the curve passes nearer to the
# other eight. B_crit does move, from 78 to 122, but within the interval that it had; the new interval is
# wider and holds both; and the batch size is named.

# %%
STEPS = ["steps", "steps_low", "steps_high"]
table = pd.read_csv(RESULTS / "ladder_digits.csv").astype(dict.fromkeys(STEPS, float))
table = table[table["workload"] == DIGITS.workload]
table["seed"] = range(len(table))  # tells runs of equal steps apart
folder = tempfile.TemporaryDirectory()
FILE = Path(folder.name) / "rows.csv"

# %%
worse = table.copy()
worse.loc[worse["batch_size"] == 64, STEPS] *= 1.6
worse.to_csv(FILE, index=False)
damaged = fit_laws(read_measurements(FILE, TableChoice()), FitChoice())
print(f"B_crit as measured: {interval_in_words(fits['digits'].critical_batch_size)}")
print(f"B_crit with damage: {interval_in_words(damaged.critical_batch_size)}")
print(*[each.in_words() for each in batch_size_residuals(damaged) if each.is_outlier], sep="\n")
residuals_figure(damaged)

# %% [markdown]
# ## Runs that did not get there
#
# And a budget: at every batch size the runs are cut at the median of the five, so that the two slowest end
# without the target. Left out, as tables of results do without saying so, they leave the lucky ones, and the
# curve is 6 to 7 % too low. Kept as "more than so many steps", they bring it back to within 2 %.

# %%
budget = table.groupby("batch_size")["steps"].transform("median")
late = table["steps"] > budget
cut = table.assign(steps=np.minimum(table["steps"], budget), reached=~late)
cut.loc[late, ["steps_low", "steps_high"]] = np.nan
for name, each in {"whole": table, "left out": table[~late], "censored": cut}.items():
    each.to_csv(FILE, index=False)
    fit = fit_laws(read_measurements(FILE, TableChoice()), FitChoice())
    print(f"{name:9}", *[f" S({size}) = {estimated_steps(fit, size):.1f}" for size in (8, 64, 512)])

# %% [markdown]
# ## On what others published
#
# Our own rows were measured by one protocol. MLPerf's reference points were not: their tuning is that of
# many people. Every published series is fitted up to some batch size and asked for 2, 4 and 8 times that
# (`docs/published_data.md` says how, and what it can't show). "Today's practice" is a hyperbola by robust
# least squares, which gives no interval.
#
# The middle of a prediction is off by about 9 % at twice the largest batch size, 15 % at four times and
# 20 to 30 % at eight, by any of the three: on these series averaging buys no better middle than the
# hyperbola, whose knee happens to fit most of them. What the laws add are intervals, and those hold about
# what they claim, with 6 cases at 8x saying little. On digits and on the simulator, where knees are
# harder, the same page has the average ahead.

# %%
asked = ["mlperf_reference", "mlperf_bert"] if FAST else None
series = [each for each in choose_series(asked) if each.part == "workload"]
outcomes = back_test(series, forecasters=("averaged", "hyperbola", "todays_practice"))
rolling = [each for each in outcomes if each.case.design == "rolling"]
print(score_table(scores(rolling), level=0.9))

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
# # From surrogates to a run on 64 nodes
#
# A full-scale run can be afforded at one or two batch sizes, small runs at as many as one likes. This
# notebook goes the whole way: a ladder of small studies says where the knee of a larger one lies, two
# measurements of the larger one fix its level, a model of the machine turns steps into hours and device hours,
# and a plan is written that `fullscale.fit` runs as it is. Nothing is trained here.

# %%
# %matplotlib inline
import fullscale  # first: it makes torchvision importable where torch is for the CPU

# isort: split
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from fullscale.fit import main as fullscale_fit
from fullscale.recipes.catalogue import get_recipe
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.limit import judge
from models_of_scaling.limit_words import verdict_in_words
from models_of_scaling.machine.all_reduce import Link, Network
from models_of_scaling.machine.answer import answer_machine
from models_of_scaling.machine.cluster import Roofline
from models_of_scaling.machine.machines import Machines, candidate_batch_sizes
from models_of_scaling.machine.step_time_belief import belief_from_roofline
from models_of_scaling.machine.words import answer_in_words
from models_of_scaling.planning.plan import Sources, make_plan
from models_of_scaling.planning.plan_choice import choose_run
from models_of_scaling.planning.plan_file import plan_text, write_plan
from models_of_scaling.plots.machine import draw_time_against_cost, draw_time_against_nodes
from models_of_scaling.plots.transfer import (
    draw_full_scale,
    draw_ladder,
    ladder_points,
    regression_band,
)
from models_of_scaling.prediction_tables import reliance_in_words
from models_of_scaling.published.loader import choose_series
from models_of_scaling.transfer.anchors import anchors_of
from models_of_scaling.transfer.full_scale import (
    from_anchors_alone,
    from_ladder,
    predict_full_scale,
    predict_knee,
    shapes_of,
)
from models_of_scaling.transfer.ladder_table import read_ladder

# %% [markdown]
# ## A rehearsal, with the answer in a drawer
#
# `paper/results/ladder_digits.csv` holds studies of digits with an MLP that differ in the size of the training
# set and in the width of the network. The largest of them, 1,024 examples and 128 hidden units, shall be our
# "full scale": its batch sizes 16 and 32 are the anchors, everything else of it goes into a drawer. The
# other eight are the ladder.

# %%
RESULTS = Path(fullscale.__file__).resolve().parents[1] / "paper" / "results"
COVARIATES = ("num_train_examples", "num_parameters")
whole = read_ladder(RESULTS / "ladder_digits.csv", COVARIATES)
rung, family = np.array(whole.rung), np.array(whole.workload)
place = whole.rung.index("digits_subset1024_width128")
ladder = whole.take((family == "digits_mlp") & (rung != whole.rung[place]))
drawer = whole.measurements[place]
anchors = anchors_of(drawer.take(np.isin(drawer.batch_size, (16, 32))))

# %% [markdown]
# Each rung has a critical batch size with an interval, from its own fit. The regression over the ladder, by
# training set and by parameters, says what a rung that is not there would have. On this ladder it is nearly
# flat: an eightfold training set or network moves the knee by less than the rungs' own intervals. So what
# the ladder brings is a place, known within a factor of two.

# %%
figure = Figure(figsize=(9, 4), layout="constrained")
for ax, name in zip(figure.subplots(1, 2), COVARIATES, strict=True):
    draw_ladder(
        ax,
        ladder_points(ladder, name, "critical_batch_size", 0.9),
        regression_band(ladder, name, "critical_batch_size", 0.9),
        covariate=name,
    )
figure  # noqa: B018 - shown by Jupyter

# %% [markdown]
# Now all three together. The ladder gives the place of the knee and the fewest steps, the rungs' own curves
# its shape, the anchors correct both. Beside it what the anchors would say alone.

# %%
at = {name: float(whole.covariates[name][place]) for name in COVARIATES}
predicted = predict_knee(ladder, at, workload="digits_mlp")
curve = from_ladder(predicted, shapes_of(ladder.fits), anchors, with_level=True)
alone = from_anchors_alone(curve)
sizes = [size for size in np.unique(drawer.batch_size).tolist() if size > 32]
print(reliance_in_words(curve, alone, source="the ladder", batch_size=sizes[-1], level=0.9))

# %% [markdown]
# And the drawer is opened. By ladder and anchors every interval holds the mean of the five runs, up to 32 times
# the larger anchor, and is narrower than a factor of two from end to end. The anchors alone hold it too,
# but at 1,024 in an interval of a factor of 18, with a middle of 4 steps where 18 and more were measured: two
# batch sizes before the knee can't say where it is.

# %%
print("batch size  by ladder and anchors   by the anchors alone   measured (five runs)")
for size, *both in zip(
    sizes,
    predict_full_scale(curve, sizes, level=0.9),
    predict_full_scale(alone, sizes, level=0.9),
    strict=True,
):
    runs = np.sort(drawer.steps[drawer.batch_size == size]).astype(int)
    words = [f"{x.steps.estimate:4.0f} ({x.steps.low:.0f} to {x.steps.high:.0f})" for x in both]
    print(f"{size:10,}  {words[0]:<21}  {words[1]:<21}  {', '.join(map(str, runs))}")

# %%
held = [curve.steps(size, level=0.9) for size in sizes]
means = [np.exp(np.log(drawer.steps[drawer.batch_size == size]).mean()) for size in sizes]
assert all(each.low < mean < each.high for each, mean in zip(held, means, strict=True))
figure = Figure(figsize=(7, 4.4), layout="constrained")
ax = figure.subplots()
draw_full_scale(ax, curve, 1024.0, level=0.9)
shown = drawer.batch_size > 32
ax.plot(drawer.batch_size[shown], drawer.steps[shown], "D", color="#D55E00", ms=4, label="drawer")
ax.legend(frameon=False, fontsize="small")
figure  # noqa: B018 - shown by Jupyter

# %% [markdown]
# One rung left out proves little. `python -m models_of_scaling backtest-transfer` leaves out each in turn
# (`docs/transfer.md`): a median error of 9 % at 8 times the larger anchor, where the anchors alone leave
# 37 %; and no gain at all from a ladder of another family. On your own tables the same is
# `predict fit.json --anchor full_scale.csv --ladder ladder.csv --at num_train_examples=... --batch-size ...`.
#
# ## A full scale: ResNet-50 on ImageNet
#
# The repository holds no ladder of ImageNet surrogates, and nobody has yet tested such a ladder against a
# full-scale run. So from here on the steps are those that MLPerf's reference points give for ResNet-50 with
# LARS to 75.9 % top-1, which others tuned and chose for being fast. What follows is the same for a fit of your
# own. Note the fourth definition: it lies beyond everything measured, and the verdict says so.

# %%
fit = fit_laws(choose_series(["mlperf_reference"])[0].rows, FitChoice())
print(verdict_in_words(judge(fit)))

# %% [markdown]
# ## The machine
#
# Steps are no hours. A step takes the compute of the device with the most examples, and an all-reduce of
# the gradients as far as the backward pass does not hide it. Best measure a few configurations and give
# them with `--throughput`. Here is a data sheet instead: nodes of eight devices of 3.1e14 FLOP/s at half
# precision, 15 % of it taken to be attainable by ResNet-50, one link of 100 Gbit/s a node. The 15 % is an
# assumption, and so is that 90 % of real step times lie within a factor of 1.5 of the modelled one; only the
# latter is in the intervals.

# %%
roofline = Roofline(flops_per_example=2.46e10, peak_flops_per_s=3.1e14, attainable_fraction=0.15)
step = roofline.step_time(
    network=Network(
        within=Link(latency_s=5e-6, bandwidth=2e11), between=Link(latency_s=2e-5, bandwidth=1.2e10)
    ),
    parameter_bytes=1.022e8,
    overlap=0.5,
    algorithm="tree",
)
belief = belief_from_roofline(roofline, step, error_factor=1.5, seed=0)

# %%
nodes = (1, 4, 16, 32, 64, 128, 256, 512)
machines = Machines(nodes=nodes, devices_per_node=8, max_per_device_batch_size=128)
answer = answer_machine(fit, belief, machines, candidate_batch_sizes(fit))
print(answer_in_words(answer, every_option=False))

# %%
figure = Figure(figsize=(10.5, 4.4), layout="constrained")
left, right = figure.subplots(1, 2)
draw_time_against_cost(left, answer.options, answer.chosen)
useful = None if answer.useful.is_open else answer.useful.nodes.estimate
draw_time_against_nodes(right, answer.options, useful_nodes=useful)
figure  # noqa: B018 - shown by Jupyter

# %% [markdown]
# At the left end of the front machines are nearly free: 4 nodes cost 6 % more device hours than 1 and take a
# quarter of the time. From there each doubling of the nodes costs more and buys less, and the batch
# size grows along with them, past the critical one. At the balanced option the device's speed, the critical
# batch size and the link between nodes limit about alike: no one of them alone is what to pay for. The
# fastest option stands on a batch size that nobody in the table has run, and is marked so. Input
# pipelines, evaluation and start-up are in none of these times.
#
# ## The plan
#
# Say 64 nodes are to be had. The objective chooses the batch size on them; the law says how long the run
# must be allowed to be; a recipe gives network, data and schedule, and the rest follows by rules that are
# written down beside it. Every line of the file has a source, named at its top. (The law's 2,300 steps at
# 32,768 agree with the 2,190 of that reference point; as it is among the rows fitted, that is no test.)

# %%
here = Machines(nodes=(64,), devices_per_node=8, max_per_device_batch_size=128)
sizes = candidate_batch_sizes(fit)
choice = choose_run(fit, belief, here, sizes, objective="balanced", probability=0.95)
recipe = get_recipe("resnet50_lars_32k")
plan = make_plan(fit, choice, Sources(base=dict(recipe.settings), tuned=()))
folder = tempfile.TemporaryDirectory()
FILE = Path(folder.name) / "plan.yaml"
text = plan_text(plan, FILE, source="MLPerf's reference points").replace(folder.name, "my_runs")
write_plan(FILE, text)
print(text)

# %% [markdown]
# ## A dry run at 64 nodes
#
# `--dry_run` builds the network without its weights, cuts the batch over 512 devices, lays out the schedule, and
# counts memory and traffic. It needs neither data nor devices nor peers, and finds the wrong input that
# the run would find. Of batch norm's 128 examples each device has 64 here, so devices go in pairs.

# %%
code = fullscale_fit(["--config", str(FILE), "--dry_run"])
assert code == 0

# %% [markdown]
# Started without `--dry_run`, on each of the 64 nodes, the same file trains. However the run ends, its record
# is a trial, which `python -m models_of_scaling fit` reads with the others: it then says what was predicted and
# what came of it. Nobody has run this plan on a cluster yet.

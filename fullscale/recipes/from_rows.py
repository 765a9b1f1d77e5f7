"""Recipes made from rows of published tables, so that nineteen near-copies need no nineteen files.

- `mlperf_rcp_resnet_summary.csv`: MLPerf Training's reference convergence points with LARS.
- `lars_90_epochs_table.csv`: LARS at 90 epochs, NUS-HPC-AI-Lab/LARS-ImageNet-PyTorch.
- `imagenet_resnet50_published.csv`: dm-haiku's example, whose rates follow from its program.

What a row does not say is said by its source's program, named in the text; what no source says is
not in the recipe.
"""

import math
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

from fullscale.recipes.recipe import Recipe, parse_recipe
from models_of_scaling.published.csv_files import Row, read_published
from models_of_scaling.published.series import IMAGENET_TRAIN_EXAMPLES

_WIDTH: Final = 98
_REFERENCE_POINTS: Final = "mlperf_rcp_resnet_summary.csv"
_LARS_90: Final = "lars_90_epochs_table.csv"
_PAPERS: Final = "imagenet_resnet50_published.csv"
# Lengths up to this are epochs in that column, longer ones steps (in rule set 1.0.0 both occur).
_MOST_EPOCHS: Final = 100
# Rule set 1.0.0 prints 0.002 at 2,048 and 4,096. MLPerf's README has 0.0002 for both (folder
# retired_benchmarks/resnet-tf2 of mlcommons/training), and so has the newer point at 4,096.
_MISPRINTED_DECAY: Final = {"0.002": 0.0002}
_NUS_GPUS: Final = {512: 8, 1024: 8, 4096: 32, 8192: 64}  # by that README's table
_OURS: Final = (
    "Our crops are drawn by (seed, position); batch norm's moving averages move once per step; "
    "the scale of a block's last batch norm starts at 1."
)
# In mlcommons/training: commit 615ad0a of image_classification/tensorflow2/lars_optimizer.py, and
# the commands of the README above.
_REFERENCE_PROGRAM: Final = (
    "Label smoothing 0.1, trust coefficient 0.001 and the tensors without weight decay and trust "
    "ratio are those of MLPerf's reference program, not columns of the table; a creator's own "
    "program may have others. That program adds 1e-7 to the trust ratio's denominator where the "
    "table has epsilon 0."
)


def recipes_from_rows() -> Iterator[Recipe]:
    """Yield the recipe of every row that records its hyper-parameters."""
    for line, row in _lines(_REFERENCE_POINTS):
        yield _reference_point(line, row)
    for line, row in _lines(_LARS_90):
        yield _lars_90_epochs(line, row)
    for line, row in _lines(_PAPERS):
        if row["paper"].startswith("dm-haiku"):
            yield _haiku(line, row)


def _lines(file: str) -> Iterator[tuple[int, Row]]:
    return enumerate(read_published(file), start=2)


def schedule_steps(row: Row) -> tuple[int, bool]:
    """Return the length of a reference point's schedule, and whether the warm-up was added to it.

    Its `decay_steps` is the whole schedule at some points and what comes after the warm-up at
    others. No seed met the target after the end of its schedule, so where `decay_steps` is shorter
    than the longest seed, the warm-up comes on top: at 2,048 that gives the 41 epochs of the
    command in MLPerf's README, at 4,096 its 42 are there without.

    Args:
        row: of mlperf_rcp_resnet_summary.csv.
    """
    steps_per_epoch = IMAGENET_TRAIN_EXAMPLES / int(row["batch_size"])
    length = float(row["decay_steps"])
    steps = math.ceil(length * steps_per_epoch) if length <= _MOST_EPOCHS else int(length)
    # A whole schedule may fall short of its last epoch by the rounding to steps.
    if steps + 1 >= float(row["max_epochs"]) * steps_per_epoch:
        return steps, False
    return steps + math.ceil(float(row["warmup_epochs"]) * steps_per_epoch), True


def _reference_point(line: int, row: Row) -> Recipe:
    batch_size, versions = int(row["batch_size"]), row["versions"].split("|")
    oldest = versions == ["1.0.0"]
    name = f"resnet50_lars_mlperf_{batch_size}" + ("_1.0.0" if oldest else "")
    rules = versions[0] if oldest else f"{versions[0]} ... {versions[-1]}"
    creator = f" by {row['creator']}" if row["creator"] else ", creator not named"
    steps, with_warmup = schedule_steps(row)
    decay = _MISPRINTED_DECAY.get(row["weight_decay"], float(row["weight_decay"]))
    mean, sd = float(row["mean_epochs"]), float(row["sd_epochs"])
    fields = {
        "Row": f"{_REFERENCE_POINTS} line {line}",
        "Source": f"MLPerf Training reference convergence point {row['rcp_name']}, rule sets "
        f"{rules}{creator}; mlcommons/logging at commit {row['commit'][:7]}; LARS after You et al. "
        "2017, arXiv:1708.03888.",
        "Seeds": row["n_seeds"],
        "Expect": f"{mean:.1f} +- {sd:.1f} epochs to 75.9 %; that is {_steps(row):,.0f} steps, "
        f"mean and sd of {row['n_seeds']} seeds of the source, {row['min_epochs']} ... "
        f"{row['max_epochs']} epochs, evaluated after each; not run by us.",
        "Differs from the source": " ".join((
            _length_words(row, steps, with_warmup),
            f"The table prints weight decay {row['weight_decay']}, a misprint for {decay:g} by "
            "MLPerf's README." if decay != float(row["weight_decay"]) else "",
            "End rate 0.0001 and power 2 are MLPerf's rules, not columns of this row."
            if not row["end_lr"] else "",
            _REFERENCE_PROGRAM, _OURS,
        )),
        "Cost": "not recorded in the source, not measured by us; "
        f"{mean:.0f} epochs are {mean * IMAGENET_TRAIN_EXAMPLES / 1e6:.0f} million images.",
    }  # fmt: skip
    model = {
        "optimizer": "lars",
        "learning_rate": float(row["base_lr"]),
        "momentum": float(row["momentum"]),
        "weight_decay": decay,
        "optimizer_numbers": {"trust_coefficient": 0.001},
        "warmup": f"{row['warmup_epochs']} epochs",
        "train_duration": f"{steps} steps",
        "decay_power": 2.0,
        "end_learning_rate": 0.0001,
        "label_smoothing": 0.1,
        "batch_norm_span": int(row["bn_span"]),
        "target": "validation_accuracy>=0.759",
    }
    title = f"LARS, batch size {batch_size:,}, to 75.9 % top-1 (MLPerf training target)"
    return _render(name, title, fields, model=model, batch_size=batch_size)


def _steps(row: Row) -> float:
    return float(row["mean_epochs"]) * IMAGENET_TRAIN_EXAMPLES / int(row["batch_size"])


def _length_words(row: Row, steps: int, with_warmup: bool) -> str:
    length = float(row["decay_steps"])
    unit = "epochs" if length <= _MOST_EPOCHS else "steps"
    said = f"The table's decay_steps {length:,.0f} ({unit})"
    if with_warmup:
        return (
            f"{said} end before its seeds met the target, so the warm-up is taken to come on top: "
            f"{steps:,} steps."
        )
    return f"{said} are taken for the whole schedule, {steps:,} steps."


def _lars_90_epochs(line: int, row: Row) -> Recipe:
    batch_size = int(row["batch_size"])
    fields = {
        "Row": f"{_LARS_90} line {line}",
        "Source": "README of NUS-HPC-AI-Lab/LARS-ImageNet-PyTorch; rate by the square root of the "
        "batch size, warm-up in proportion to it.",
        "Expect": f"{row['top1_percent']} % top-1 after {row['epochs']} epochs; one number in the "
        "source, of how many runs it does not say; not run by us.",
        "Differs from the source": "Momentum 0.9, label smoothing 0.1, power 2 and end rate 0 are "
        "defaults of the source's program, trust coefficient 0.001 is the paper's. Batch norm's "
        "span is what each device held by the README's numbers of GPUs. The target of 1 lets a "
        f"run go its whole length. {_OURS}",
        "Cost": "time not recorded in the source (NVIDIA V100), not measured by us; "
        f"{row['epochs']} epochs are 115 million images.",
    }
    model = {
        "optimizer": "lars",
        "learning_rate": float(row["base_lr"]),
        "momentum": 0.9,
        "weight_decay": float(row["weight_decay"]),
        "optimizer_numbers": {"trust_coefficient": 0.001},
        "warmup": f"{row['warmup_epochs']} epochs",
        "train_duration": f"{row['epochs']} epochs",
        "decay_power": 2.0,
        "label_smoothing": 0.1,
        "batch_norm_span": batch_size // _NUS_GPUS[batch_size],
        "target": "validation_accuracy>=1",
    }
    title = f"LARS, batch size {batch_size:,}, {row['epochs']} epochs"
    return _render(
        f"resnet50_lars_nus_{batch_size}", title, fields, model=model, batch_size=batch_size
    )


def _haiku(line: int, row: Row) -> Recipe:
    batch_size = int(row["batch_size"])
    fields = {
        "Row": f"{_PAPERS} line {line}",
        "Source": "google-deepmind/dm-haiku, examples/imagenet: table in README.md, rates and "
        "schedule in train.py (commit 02f2fab), which cites section 5.1 of Goyal et al. 2017.",
        "Expect": f"{row['top1_percent']} % top-1 after 90 epochs; one number in the source, of "
        "how many runs it does not say, hyper-parameters not re-tuned; not run by us.",
        "Differs from the source": "The source's network is ResNet-50 v2 by default, ours v1.5; "
        "the program that was read need not be the version that made the table. The target of 1 "
        f"lets a run go its whole length. {_OURS}",
        "Cost": f"{row['time_or_steps']} on {row['hardware']} in the source; not measured by us.",
    }
    model = {
        "optimizer": "nesterov",
        "learning_rate": 0.1 * batch_size / 256,
        "momentum": 0.9,
        "weight_decay": 0.0001,
        "no_decay": "norm",
        "schedule": "step",
        "warmup": "5 epochs",
        "train_duration": "90 epochs",
        # 32 examples per device at each of the four batch sizes.
        "batch_norm_span": 32,
        "target": "validation_accuracy>=1",
    }
    title = f"SGD with Nesterov momentum, batch size {batch_size:,}, 90 epochs"
    return _render(
        f"resnet50_nesterov_haiku_{batch_size}", title, fields, model=model, batch_size=batch_size
    )


def _render(
    name: str,
    title: str,
    fields: Mapping[str, str],
    *,
    model: Mapping[str, Any],
    batch_size: int,
) -> Recipe:
    run = (
        f"python -m fullscale.recipes show {name} > {name}.yaml; "
        f"python -m fullscale.fit --config {name}.yaml --data.root /path/to/imagenet"
    )
    lines = [f"# ResNet-50 / ImageNet-1k, {title}."]
    for field, words in {**fields, "Run": run}.items():
        lines += textwrap.wrap(
            f"{field + ':':8}{'' if len(field) < 7 else ' '}{' '.join(words.split())}",
            _WIDTH, initial_indent="# ", subsequent_indent="#         ",
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
    settings = {
        "trainer": {
            "accelerator": "gpu",
            "devices": 8,
            "num_nodes": 1,
            "precision": "bf16-mixed",
        },
        "model": {"name": "resnet50", **model, "channels_last": True},
        "data": {
            "name": "image_folder",
            "root": "imagenet",
            "num_classes": 1000,
            "global_batch_size": batch_size,
            "max_per_device_batch_size": 128,
            "evaluate_every": "1 epochs",
            "num_workers": 8,
            "image_size": 224,
            "seed": 0,
        },
    }
    body: str = yaml.safe_dump(settings, sort_keys=False, width=_WIDTH)
    return parse_recipe(name, "\n".join(lines) + "\n" + body)

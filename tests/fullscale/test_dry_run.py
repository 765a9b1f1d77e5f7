"""The plan of a run that is not started, and what it is made of."""

import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from fullscale.communication import HookSettings, step_traffic
from fullscale.memory_estimate import estimate_memory, kept_for_backward
from fullscale.models import build_network
from fullscale.optimizers.lars import LARS
from fullscale.strategies import planned_cut
from models_of_scaling.errors import InputError

RECIPE = Path(__file__).parents[2] / "fullscale" / "recipes" / "resnet50_lars_32k.yaml"


@pytest.fixture
def dry_run(capsys):
    def run(*flags):
        from fullscale.fit import main

        try:
            code = main([*flags, "--dry_run"])
        except SystemExit as left:
            code = left.code
        return code, *capsys.readouterr()

    return run


def test_the_64_node_recipe_is_planned_without_nodes_gpus_or_data(dry_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = dry_run("--config", str(RECIPE), "--trainer.num_nodes=64")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "batch   32768 = 64 per device x 512 devices x 1 accumulation"
    assert lines[1].startswith(
        "model   resnet50, 25,557,032 parameters, batch norm over 128 examples, 2 devices together;"
    )
    assert "1,281,167 examples" in lines[1]
    assert "peak 21.2 after 626 warm-up steps" in lines[2]
    assert "2268 steps = 58.0079 epochs, or to validation_accuracy>=0.759" in lines[3]
    assert lines[4].startswith("seed    0 (data order); commit ")
    # 2 * 511 / 512 * 25,557,032 * 4 bytes.
    assert lines[5].startswith("groups  weight decay on 54 tensors of 25.5 M parameters, not on")
    assert f"gradients {2 * 511 / 512 * 25_557_032 * 4 / 2**20:.1f}" in lines[7]
    assert lines[-1] == "dry run: nothing was started, read or written"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_dry_run_of_64_nodes_is_quick():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = [sys.executable, "-m", "fullscale.fit", "--config", str(RECIPE)]
    subprocess.run([*words, "--trainer.num_nodes=64", "--dry_run"], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Of the processor, so that other work on the machine does not count.
    # 10 s are promised, 7.0 to 8.0 measured, nearly all of them imports; slower machines exist.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 15


def test_a_dry_run_says_what_follows_from_the_flags(dry_run):
    many = "--data.num_examples=5000"
    base = ("--data.name=image_folder", "--data.root=nowhere", "--trainer.accelerator=gpu")
    net = ("--model.name=resnet8", "--data.image_size=32", many, "--data.num_classes=7")
    code, out, err = dry_run(
        *(*base, *net, "--data.global_batch_size=1000", "--trainer.devices=4"),
        *("--trainer.strategy=fsdp2_head2", "--trainer.max_steps=3"),
    )
    assert (code, err) == (0, "")
    assert "500 per device x 2 devices x 1 accumulation, each on 2 devices that share" in out
    assert "5,000 examples" in out
    assert "100 steps = 20 epochs, stopped at 3" in out
    assert "weights" in out.splitlines()[7]
    assert "over all 4 devices" in out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--data.global_batch_size=100",), "must not be smaller than the 512 processes"),
        (("--model.batch_norm_span=256", "--trainer.num_nodes=1"), None),
        (("--model.batch_norm_span=100000",), "at most the global batch size 32768"),
        (("--model.warmup=60 epochs",), "must be shorter than the run"),
        (("--model.lerning_rate=1",), "lerning_rate"),
        (("--data.name=imagenet",), "--data.name 'imagenet' is not one of digits, mnist"),
        (("--trainer.strategy=dpp",), "--trainer.strategy 'dpp' is not one of auto, ddp"),
        (
            ("--trainer.strategy=fsdp2_head8", "--trainer.devices=3", "--trainer.num_nodes=1"),
            "tensor_parallel_size 8 must divide the 3 devices",
        ),
        (("--trainer.num_nodes=0",), "--trainer.num_nodes 0 must be at least 1"),
        (("--trainer.devices=-2",), "--trainer.devices -2 must be at least 1, or -1 for all"),
        (("--trainer.max_steps=-7",), "--trainer.max_steps -7 must be at least -1"),
        (("--data.name=cifar10", "--data.num_examples=7"), "num_examples 7: cifar10 has 50000"),
    ],
)
def test_a_dry_run_finds_the_wrong_input_that_the_run_would_find(dry_run, flags, words):
    code, out, err = dry_run("--config", str(RECIPE), "--trainer.num_nodes=64", *flags)
    if words is None:
        assert code == 0, err
        return
    assert code == 2
    assert len(err.splitlines()) == 1
    assert words in err
    assert not out


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mnist", "mlp, 25,450 parameters, no batch norm; mnist, 60,000 examples"),
        ("fashion_mnist", "25,450 parameters, no batch norm; fashion_mnist, 60,000 examples"),
        ("cifar10", "98,666 parameters, no batch norm; cifar10, 50,000 examples"),
        ("cifar100", "101,636 parameters, no batch norm; cifar100, 50,000 examples"),
    ],
)
def test_an_official_set_that_is_not_here_is_planned_with_its_own_size(dry_run, name, words):
    code, out, err = dry_run(f"--data.name={name}", "--data.global_batch_size=500")
    assert (code, err) == (0, "")
    assert words in out
    assert "assumed" not in out


def test_what_a_dry_run_assumes_of_a_tree_is_said_and_lists_say_how_much_there_is(
    dry_run, tmp_path
):
    flags = ("--data.name=image_folder", "--data.global_batch_size=4", "--data.image_size=8")
    _, out, _ = dry_run(*flags)
    assert "assumed, as ImageNet has them: 1,281,167 examples and 1,000 classes" in out
    classes, images = tmp_path / "classes", tmp_path / "images"
    classes.write_text("cat\ndog\n")
    images.write_text(
        "".join(f"train/cat/{number}.jpg\n" for number in range(9)) + "val/dog/1.jpg\n"
    )
    _, out, _ = dry_run(*flags, f"--data.classes={classes}", f"--data.images={images}")
    assert "9 examples" in out
    # 192 pixels and a bias to 32, those to 2.
    assert f"{193 * 32 + 33 * 2:,} parameters" in out
    assert "assumed" not in out


def test_a_dry_run_asked_for_in_a_file_needs_no_cluster(tmp_path, capsys):
    from fullscale.fit import main

    recipe = tmp_path / "planned.yaml"
    recipe.write_text("data: {global_batch_size: 128}\ntrainer: {num_nodes: 64}\ndry_run: true\n")
    assert main(["--config", str(recipe)]) == 0
    assert "x 64 devices" in capsys.readouterr().out


def test_activations_are_those_that_a_linear_chain_keeps():
    with torch.device("meta"):
        network = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 5))
        images = torch.empty(8, 10)
        labels = torch.empty(8, dtype=torch.int64)
    # Linear keeps its input, ReLU its output, which is the next layer's input: one storage; cross
    # entropy keeps its logarithms, its labels and one number.
    floats = 8 * 10 + 8 * 20 + 8 * 5 + 1
    assert kept_for_backward(network, images, labels) == 4 * floats + 8 * 8


def estimate(**more):
    with torch.device("meta"):
        network = build_network("resnet50", image_shape=(3, 64, 64), num_classes=1000, seed=0)
    given = {"images_shape": (4, 3, 64, 64), "precision": "32-true", "shards": 1, "world_size": 1}
    return estimate_memory(network, rule=LARS, **given | more)


def test_memory_grows_with_the_forward_and_shrinks_with_shards_and_precision():
    one, twice = estimate(), estimate(images_shape=(8, 3, 64, 64))
    assert one.parameters == one.gradients == one.optimizer_state == 25_557_032 * 4
    assert one.reduction == 0
    assert estimate(world_size=2).reduction == one.gradients
    # But for the mean and deviation of each of 26,560 channels, and the loss.
    assert twice.activations == 2 * one.activations - 4 * (2 * 26_560 + 1)
    sharded = estimate(shards=8, world_size=8)
    assert sharded.optimizer_state == 25_557_032 * 4 // 8
    assert sharded.parameters < one.parameters
    assert sharded.reduction == 0
    half = estimate(precision="bf16-mixed")
    assert half.parameters == one.parameters
    # Half of each, and a copy of the weights in half precision.
    assert half.activations == pytest.approx(one.activations / 2 + 25_557_032 * 2, rel=0.01)
    assert estimate(precision="bf16-true").gradients == one.gradients / 2
    assert estimate(precision="64-true").gradients == one.gradients * 2


def test_a_ring_sends_2_n_minus_1_over_n_times_the_bytes():
    def traffic(**more):
        given = {
            "parameter_bytes": 1000.0,
            "batch_norm_channels": 0,
            "ranks_per_statistic": 1,
            "world_size": 4,
            "forwards": 3,
            "fully_sharded": False,
        }
        return step_traffic(**given | more)

    assert traffic().total == 1500
    assert traffic(world_size=1).total == 0
    assert traffic(gradient_bytes_factor=0.5).gradients == 750
    # Reduced once a forward, gathered twice: 3 forwards.
    assert traffic(fully_sharded=True).gradients == 3 * 750
    assert traffic(fully_sharded=True).weights == 2 * 3 * 750
    # Moving averages: two numbers of 4 bytes for each of 10 channels, by a ring of 4.
    alone = traffic(batch_norm_channels=10).batch_norm
    assert alone == 2 * 80 * 3 / 4
    # In each of 3 forwards both ranks of a team send theirs, and a sum by a ring of 2 comes back.
    assert traffic(batch_norm_channels=10, ranks_per_statistic=2).batch_norm == alone + 3 * 160


@pytest.mark.parametrize(
    ("name", "cut", "copies"),
    [("auto", False, 1), ("ddp", False, 1), ("fsdp2", True, 1), ("fsdp2_head4", True, 4)],
)
def test_what_a_strategy_will_do_is_known_from_its_name(name, cut, copies):
    assert planned_cut(name, devices=8) == (cut, copies)


@pytest.mark.parametrize(
    ("field", "value"),
    [("rank", 0), ("averaging_period_steps", 1), ("group_size", 0), ("start_steps", 1)],
)
def test_a_hooks_number_out_of_range_is_named(field, value):
    with pytest.raises(InputError, match=re.escape(f"--comm.{field} {value} must be at least")):
        HookSettings(**{field: value})


def test_a_trials_settings_tell_the_hook_with_the_numbers_that_it_uses():
    assert HookSettings(hook="fp16", rank=3).choices() == {"comm_hook": "fp16"}
    chosen = HookSettings(hook="powersgd", rank=3).choices()
    assert chosen == {"comm_hook": "powersgd", "comm_start_steps": "100", "comm_rank": "3"}

"""The distances of a run: right, cheap, the same on any number of processes, and resumable."""

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import nn

from fullscale.callbacks.diffusion import Diffusion
from fullscale.log_spaced import LogSpacedSteps
from fullscale.weight_moves import Stretches
from models_of_scaling.__main__ import main as models_of_scaling
from models_of_scaling.errors import InputError

HERE = Path(__file__).parent
COMMON = (
    *("--data.global_batch_size=64", "--model.train_duration=20 steps"),
    *("--data.evaluate_every=20 steps", "--trainer.precision=64-true"),
)
CALLBACK = "--trainer.callbacks+=fullscale.callbacks.diffusion.Diffusion"


def read(path):
    with path.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


class UsersModule(pl.LightningModule):
    """A module of one's own, with batch norm, a scheduler and a head that Lightning never sees."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
        self.frozen = nn.Linear(3, 3).requires_grad_(False)

    def training_step(self, batch, batch_idx):
        images, labels = batch
        return nn.functional.cross_entropy(self.frozen(self.body(images)), labels)

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        return [optimizer], [
            {"scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 4), "interval": "step"}
        ]


class KeepWeights(pl.Callback):
    """The twin: every step's weights, kept whole."""

    def __init__(self):
        self.weights = []

    def _keep(self, module):
        named = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
        self.weights.append({n: p.detach().double().numpy().copy() for n, p in named})

    def on_train_start(self, trainer, pl_module):
        self._keep(pl_module)

    def on_train_batch_end(self, trainer, pl_module, *_):
        if trainer.global_step == len(self.weights):
            self._keep(pl_module)


def users_trainer(*callbacks, max_steps=12, **more):
    return pl.Trainer(
        max_steps=max_steps, accelerator="cpu", devices=1, logger=False, callbacks=list(callbacks),
        enable_progress_bar=False, enable_model_summary=False, **more,
    )  # fmt: skip


def users_data(examples=48):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(examples, 6, generator=generator)
    data = torch.utils.data.TensorDataset(images, torch.arange(examples) % 3)
    return torch.utils.data.DataLoader(data, batch_size=8)


# Lightning's remark that a laptop's loader could have more workers.
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec")
class TestAUsersOwnModule:
    def test_has_the_distances_of_its_weights_and_not_of_its_buffers(self, tmp_path):
        twin = KeepWeights()
        callbacks = [Diffusion(path=tmp_path / "walk.csv", points_per_octave=2), twin]
        users_trainer(*callbacks, accumulate_grad_batches=2, enable_checkpointing=False).fit(
            UsersModule(), users_data()
        )
        rows = read(tmp_path / "walk.csv")
        assert [int(row["steps"]) for row in rows] == [1, 2, 3, 4, 6, 8, 11]
        flat = np.stack([np.concatenate([*map(np.ravel, w.values())]) for w in twin.weights])
        assert flat.shape[1] == 6 * 8 + 8 + 2 * 8 + 8 * 3 + 3
        last = 0
        for row in rows:
            t = int(row["steps"])
            update, before = flat[t] - flat[t - 1], flat[t - 1] - flat[max(t - 2, 0)]
            cosine = update @ before / np.linalg.norm(update) / max(np.linalg.norm(before), 1e-9)
            expected = {
                "distance": np.linalg.norm(flat[t] - flat[0]),
                "distance_from_last": np.linalg.norm(flat[t] - flat[last]),
                "update_norm": np.linalg.norm(update),
                "weight_norm": np.linalg.norm(flat[t]),
                "distance/body.0": np.sqrt(
                    sum(
                        np.square(twin.weights[t][n] - twin.weights[0][n]).sum()
                        for n in ("body.0.weight", "body.0.bias")
                    )
                ),
            }
            if t > 1:
                expected["cosine"] = cosine
            # float32 weights: differences are exact to 1e-7 of the weights' own norm.
            for name, value in expected.items():
                np.testing.assert_allclose(float(row[name]), value, rtol=1e-4, atol=1e-7)
            assert int(row["examples"]) == t * 16
            # The step's own rate, not the next one's.
            np.testing.assert_allclose(float(row["learning_rate"]), 0.1 * 0.1 ** ((t - 1) // 4))
            last = t
        assert rows[0]["cosine"] == ""
        assert rows[-1]["optimizer"] == "sgd"
        sums = np.cumsum(0.1 * 0.1 ** (np.arange(12) // 4))
        np.testing.assert_allclose(float(rows[-1]["learning_rate_sum"]), sums[10])

    def test_goes_on_from_lightnings_own_checkpoint(self, tmp_path):
        def fit(name, steps, ckpt_path=None):
            walk = Diffusion(path=tmp_path / name, points_per_octave=4)
            trainer = users_trainer(walk, max_steps=steps, enable_checkpointing=False)
            # One batch an epoch: Lightning's own place in an epoch is not what is tested.
            trainer.fit(UsersModule(), users_data(examples=8), ckpt_path=ckpt_path)
            return trainer

        fit("whole.csv", 18)
        fit("parts.csv", 12).save_checkpoint(tmp_path / "at12.ckpt")
        fit("parts.csv", 18, tmp_path / "at12.ckpt")
        assert (tmp_path / "parts.csv").read_text() == (tmp_path / "whole.csv").read_text()

    def test_that_was_saved_without_it_is_refused_in_one_line(self, tmp_path):
        first = users_trainer(max_steps=4, enable_checkpointing=False)
        first.fit(UsersModule(), users_data())
        first.save_checkpoint(tmp_path / "bare.ckpt")
        second = users_trainer(Diffusion(path=tmp_path / "walk.csv"), enable_checkpointing=False)
        with pytest.raises(InputError, match="step 4 was saved without"):
            second.fit(UsersModule(), users_data(), ckpt_path=tmp_path / "bare.ckpt")


def test_points_are_whole_steps_each_once_and_eight_to_an_octave():
    points, step, found = LogSpacedSteps(8), 0, []
    while step < 5000:
        found.append(step := points.after(step))
    assert found[:9] == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert sum(1024 <= each < 2048 for each in found) == 8
    assert sorted(set(found)) == found


def test_millions_of_single_precision_weights_lose_no_digits_in_their_sum():
    """torch's norm on a CPU adds one by one: of five million squares it loses the fourth digit."""
    generator = torch.Generator().manual_seed(0)
    a, b = (1e-3 * torch.randn(5_000_000, generator=generator) for _ in range(2))
    stretches = Stretches.of([2_000_000, 3_000_000], ["one", "two"], [1, 2])
    for got, (x, y) in ((stretches.squares(a), (a, a)), (stretches.products(a, b), (a, b))):
        cuts = (slice(2_000_000), slice(2_000_000, None))
        parts = [x.double()[cut] @ y.double()[cut] for cut in cuts]
        size = float(x.double().norm() * y.double().norm())
        want = [float(parts[0]), float(parts[1]) / 2]
        # Blocked sums of single precision: 2^-24 times a few.
        np.testing.assert_allclose(got.numpy(), want, rtol=0, atol=2e-6 * size)


def test_a_run_of_digits_has_its_walk_judged_by_one_command(fit, tmp_path, capsys):
    code, _, error = fit(*COMMON, CALLBACK, f"--trainer.callbacks.path={tmp_path / 'walk.csv'}")
    assert code == 0, error
    assert models_of_scaling(["diffusion", str(tmp_path / "walk.csv"), "--json"]) == 0
    (setting,) = json.loads(capsys.readouterr().out)["settings"]
    assert (setting["batch_size"], setting["optimizer"]) == (64, "momentum")
    assert setting["num_points"] == len(read(tmp_path / "walk.csv")) == 17


def test_a_run_that_was_interrupted_measures_as_one_that_was_not(fit, tmp_path):
    whole = tmp_path / "whole.csv"
    parts = tmp_path / "parts.csv"
    assert fit(*COMMON, CALLBACK, f"--trainer.callbacks.path={whole}")[0] == 0
    flags = (
        *COMMON,
        *(f"--checkpoint.folder={tmp_path / 'saved'}", "--checkpoint.every=7 steps"),
        f"--record.folder={tmp_path / 'parts'}",
    )
    stop = ("--trainer.callbacks+=fit_callbacks.FailAtStep", "--trainer.callbacks.step=17")
    with pytest.raises(RuntimeError, match="planted"):
        fit(*flags, CALLBACK, f"--trainer.callbacks.path={parts}", *stop)
    assert len(read(parts)) > 12
    assert fit(*flags, CALLBACK, f"--trainer.callbacks.path={parts}")[0] == 0
    assert parts.read_text() == whole.read_text()


@pytest.mark.slow
def test_two_processes_write_the_walk_of_one_under_ddp_and_fsdp2(tmp_path, environment, fit):
    resnet = (
        *(*COMMON, "--model.train_duration=9 steps", "--data.evaluate_every=9 steps"),
        *("--model.name=resnet8", "--model.batch_norm_span=16"),
    )
    alone = tmp_path / "alone.csv"
    assert fit(*resnet, CALLBACK, f"--trainer.callbacks.path={alone}")[0] == 0
    runs = {
        name: [
            *(*resnet, "--trainer.accelerator=cpu", "--trainer.devices=2"),
            *(f"--trainer.strategy={name}", f"--record.folder={tmp_path / 'two' / name}"),
            *(f"--checkpoint.folder={tmp_path / 'saved' / name}", "--checkpoint.every=5 steps"),
            *(CALLBACK, f"--trainer.callbacks.path={tmp_path / name}.csv"),
        ]
        for name in ("ddp", "fsdp2")
    }
    script = tmp_path / "runs.json"
    script.write_text(json.dumps(runs))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node=2", str(HERE / "run_many.py"), str(script)),
        ],
        env=environment | {"PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parents[1]}"},
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {path.read_text() for path in tmp_path.glob("*.code.*")} == {"0"}, done.stderr
    for name in runs:
        for ours, theirs in zip(read(alone), read(tmp_path / f"{name}.csv"), strict=True):
            assert ours.keys() == theirs.keys()
            for column, value in ours.items():
                if column not in {"optimizer", "cosine"}:
                    # float64; sums in another order.
                    np.testing.assert_allclose(float(theirs[column]), float(value), rtol=1e-9)
            if ours["cosine"]:
                np.testing.assert_allclose(
                    float(theirs["cosine"]), float(ours["cosine"]), rtol=1e-6
                )


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec")
@pytest.mark.alone
def test_the_walk_costs_less_than_a_hundredth_of_a_run_of_a_thousand_steps(tmp_path):
    class Timed(Diffusion):
        """What each step's end costs, in processor time; and when it ended."""

        def __init__(self, **more):
            super().__init__(**more)
            self.spent, self.ended = [], []

        def on_train_batch_end(self, *arguments):
            start = time.process_time()
            super().on_train_batch_end(*arguments)
            self.ended.append(time.process_time())
            self.spent.append(self.ended[-1] - start)

    from fullscale.models import build_network

    class Resnet(UsersModule):
        def __init__(self):
            super().__init__()
            self.body = build_network("resnet8", image_shape=(1, 16, 16), num_classes=3, seed=0)

    # Half the side of CIFAR's pictures: a step four times cheaper than theirs.
    images = torch.randn(1920, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    data = torch.utils.data.TensorDataset(images, torch.arange(1920) % 3)
    timed = Timed(path=tmp_path / "walk.csv")
    trainer = users_trainer(timed, max_steps=60, enable_checkpointing=False)
    trainer.fit(Resnet(), torch.utils.data.DataLoader(data, batch_size=32))
    spent = np.array(timed.spent)
    step_s = np.median(np.diff(timed.ended) - spent[1:])
    points = LogSpacedSteps(8)
    # As a thousand steps would cost, by what was measured in sixty of them: a point, one of the
    # two steps before it, which copy the weights, and any other.
    kinds = np.array([min(points.after(step - 1) - step, 3) for step in range(1, 1001)])
    costs = [np.median(spent[kinds[:60] == kind]) for kind in range(4)]
    share = sum(costs[kind] * (kinds == kind).sum() for kind in range(4)) / (1000 * step_s)
    print(f"share {share:.5f}, step {1e3 * step_s:.1f} ms, point {1e3 * costs[0]:.2f} ms")
    assert share < 0.01

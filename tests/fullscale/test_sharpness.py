"""The Hessian of live modules against the full matrix, and a run that does not feel it."""

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from fullscale.callbacks.sharpness import Sharpness, SharpnessCost
from models_of_scaling.errors import InputError

curvlinops = pytest.importorskip("curvlinops")
from fullscale.hessian import HessianOfLoss  # noqa: E402 - needs curvlinops
from fullscale.spectral import (  # noqa: E402
    keskar_sharpness,
    lanczos_quadrature,
    top_eigenvalues,
    trace,
)

HERE = Path(__file__).parent
CALLBACK = "--trainer.callbacks+=fullscale.callbacks.sharpness.Sharpness"
CHEAP = SharpnessCost(
    num_examples=24,
    examples_per_forward=12,
    num_eigenvalues=2,
    lanczos_steps=12,
    tolerance=1e-5,
    keskar_epsilon=0,
)


def read(path):
    with path.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def double(build):
    """A network in double precision from a fixed seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return build().double()


def mlp():
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def with_batch_norm():
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))


GENERATOR = torch.Generator().manual_seed(5)
IMAGES = torch.randn(24, 6, generator=GENERATOR, dtype=torch.float64)
LABELS = torch.arange(24) % 3


def hessian_of(network, *, chunk=10):
    parameters = list(network.parameters())
    parts = [
        (lambda x=x, y=y: cross_entropy(network(x), y), len(y) / 24)
        for x, y in zip(IMAGES.split(chunk), LABELS.split(chunk), strict=True)
    ]
    return HessianOfLoss(parameters, parts, over_processes=False), parts


def full_matrix(network, parts):
    """Row by row, by differentiating each entry of the gradient."""
    parameters = list(network.parameters())
    loss = sum(share * part() for part, share in parts)
    gradients = torch.autograd.grad(loss, parameters, create_graph=True)
    flat = torch.cat([each.flatten() for each in gradients])
    rows = [
        torch.cat([
            part.flatten()
            for part in torch.autograd.grad(
                entry, parameters, retain_graph=True, materialize_grads=True
            )
        ])
        for entry in flat
    ]
    return torch.stack(rows)


@pytest.mark.parametrize("build", [mlp, with_batch_norm])
def test_products_are_those_of_the_full_hessian_also_where_batch_norm_trains(build):
    network = double(build)
    hessian, parts = hessian_of(network)
    matrix = full_matrix(network, parts)
    got = hessian @ torch.eye(len(matrix), dtype=torch.float64)
    torch.testing.assert_close(got, matrix, rtol=1e-10, atol=1e-12)


# curvlinops' way to derivatives; torch's remark about its own parts.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script. is deprecated")
def test_products_are_those_of_curvlinops_own_operator():
    network = double(mlp)
    hessian, _ = hessian_of(network)
    data = list(zip(IMAGES.split(10), LABELS.split(10), strict=True))
    theirs = curvlinops.HessianLinearOperator(
        network, nn.CrossEntropyLoss(), list(network.parameters()), data
    )
    vector = torch.randn(hessian.shape[1], generator=GENERATOR, dtype=torch.float64)
    torch.testing.assert_close(hessian @ vector, theirs @ vector, rtol=1e-10, atol=1e-12)


def test_eigenvalues_trace_and_quadrature_are_those_of_the_full_matrix():
    network = double(mlp)
    hessian, parts = hessian_of(network, chunk=24)
    exact = np.linalg.eigvalsh(full_matrix(network, parts).numpy())
    top = top_eigenvalues(hessian, count=4, tolerance=1e-10, seed=0)
    np.testing.assert_allclose(top, exact[::-1][:4], rtol=1e-8)
    torch.manual_seed(0)
    quadrature = lanczos_quadrature(hessian, num_probes=24, num_steps=16)
    mean = quadrature.moment(1)
    assert abs(mean.value - exact.mean()) < 4 * mean.standard_error
    # The largest outlier has converged; the probes' mean of squares is the norm's.
    np.testing.assert_allclose(quadrature.nodes.max(), exact[-1], rtol=1e-6)
    squares = quadrature.moment(2)
    assert abs(squares.value - np.square(exact).mean()) < 4 * squares.standard_error
    negative = quadrature.share_below(-0.01)
    low, high = quadrature.bounds_below(-0.01)
    spread = 4 * negative.standard_error
    assert low - spread <= (exact < -0.01).mean() <= high + spread
    # Hutch++ on 60 of 83 dimensions has nearly the whole matrix in its sketch.
    np.testing.assert_allclose(trace(hessian, num_products=60), exact.sum(), rtol=0.02)


def test_keskars_sharpness_of_a_quadratic_is_the_corner_of_its_box():
    weights = nn.Parameter(torch.tensor([0.3, -0.2, 0.0], dtype=torch.float64))
    curvature = torch.tensor([1.0, 4.0, 0.5], dtype=torch.float64)
    part = (lambda: 0.5 * (curvature * weights.square()).sum(), 1.0)
    hessian = HessianOfLoss([weights], [part], over_processes=False)
    before = weights.detach().clone()
    got = keskar_sharpness(hessian, [weights], epsilon=0.1)
    x = before.abs().numpy()
    corner, loss = (0.5 * float(curvature.numpy() @ np.square(at)) for at in (x + 0.1 * (x + 1), x))
    np.testing.assert_allclose(got, 100 * (corner - loss) / (1 + loss), rtol=1e-8)
    assert torch.equal(weights, before)


class UsersModule(pl.LightningModule):
    """A module of one's own, with batch norm, dropout and a log that measuring must not reach."""

    def __init__(self, dropout=0.2):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3)
        )

    def training_step(self, batch, batch_idx):
        images, labels = batch
        loss = cross_entropy(self.body(images), labels)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)


def train_users_module(*callbacks, dropout=0.2):
    data = torch.utils.data.TensorDataset(IMAGES.float(), LABELS)
    trainer = pl.Trainer(
        max_steps=4, accelerator="cpu", devices=1, logger=False, callbacks=list(callbacks),
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    module = UsersModule(dropout)
    trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=8, shuffle=True))
    return module


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec")
class TestAUsersOwnModule:
    def test_trains_on_as_if_it_had_not_been_measured(self, tmp_path):
        plain = train_users_module()
        cost = SharpnessCost(num_examples=24, num_probes=1, lanczos_steps=3, num_eigenvalues=1)
        measured = train_users_module(
            Sharpness(path=tmp_path / "sharpness.csv", every_steps=2, cost=cost)
        )
        for name, value in plain.state_dict().items():
            assert torch.equal(value, measured.state_dict()[name]), name
        assert measured.training

    def test_has_its_sharpness_with_four_lines_of_its_own(self, tmp_path):
        train_users_module(Sharpness(path=tmp_path / "sharpness.csv", every_steps=2, cost=CHEAP))
        rows = read(tmp_path / "sharpness.csv")
        assert [(int(row["steps"]), row["batch_norm"]) for row in rows] == [
            (steps, mode) for steps in (0, 2, 4) for mode in ("evaluation", "training")
        ]
        spectrum = read(tmp_path / "sharpness.spectrum.csv")
        assert len(spectrum) == len(rows) * CHEAP.num_probes * CHEAP.lanczos_steps
        for row in rows:
            # 2 + 2 m over eta, less the weight decay's own curvature.
            np.testing.assert_allclose(float(row["stability_limit"]), 3.8 / 0.1 - 0.01)
            assert float(row["eigenvalue_1"]) >= float(row["eigenvalue_2"])
            nodes = [
                (float(each["node"]), float(each["weight"]))
                for each in spectrum
                if (each["steps"], each["batch_norm"]) == (row["steps"], row["batch_norm"])
            ]
            # Twelve steps see the top of 99 eigenvalues to a percent, from below.
            top = max(node for node, _ in nodes)
            assert 0.95 * float(row["eigenvalue_1"]) < top < 1.01 * float(row["eigenvalue_1"])

    def test_has_the_eigenvalues_of_its_full_matrix_in_both_modes(self, tmp_path):
        callback = Sharpness(path=tmp_path / "sharpness.csv", every_steps=2, cost=CHEAP)
        train_users_module(callback, dropout=0.0)
        module = UsersModule(dropout=0.0)
        chunks = [(IMAGES.float()[:12], LABELS[:12]), (IMAGES.float()[12:], LABELS[12:])]
        for row in read(tmp_path / "sharpness.csv")[:2]:
            module.train(row["batch_norm"] == "training")
            parts = [(lambda b=b: cross_entropy(module.body(b[0]), b[1]), 0.5) for b in chunks]
            exact = np.linalg.eigvalsh(full_matrix(module, parts).double().numpy())
            # Single precision, 99 eigenvalues to 1e-6 of the largest.
            np.testing.assert_allclose(float(row["eigenvalue_1"]), exact[-1], rtol=1e-4)
            np.testing.assert_allclose(float(row["eigenvalue_2"]), exact[-2], rtol=1e-4)
            loss = sum(share * part().item() for part, share in parts)
            np.testing.assert_allclose(float(row["loss"]), loss, rtol=1e-5)

    def test_costs_the_products_that_its_settings_say(self, tmp_path):
        spent = {}
        for steps in (4, 8):
            path = tmp_path / f"{steps}.csv"
            cost = replace(CHEAP, num_eigenvalues=0, lanczos_steps=steps, num_probes=3)
            train_users_module(Sharpness(path=path, every_steps=4, cost=cost))
            spent[steps] = {int(row["num_products"]) for row in read(path)}
        # Of each probe one product a Lanczos step, in either mode, and none besides.
        assert spent == {4: {12}, 8: {24}}

    def test_without_a_data_set_of_indices_is_told_to_name_examples(self, tmp_path):
        class Stream(torch.utils.data.IterableDataset):
            def __iter__(self):
                return iter(zip(IMAGES.float(), LABELS, strict=True))

        trainer = pl.Trainer(
            max_steps=1, accelerator="cpu", logger=False, enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=False,
            callbacks=[Sharpness(path=tmp_path / "sharpness.csv", every_steps=2, cost=CHEAP)],
        )  # fmt: skip
        with pytest.raises(InputError, match="give the callback batches"):
            trainer.fit(UsersModule(), torch.utils.data.DataLoader(Stream(), batch_size=8))


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ({"trace_products": 4}, "multiple of 3"),
        ({"lanczos_steps": 1}, "lanczos_steps 1 must be at least 2"),
        ({"num_examples": 0}, "num_examples 0 must be at least 1"),
    ],
)
def test_a_cost_that_is_none_is_refused(field, said):
    with pytest.raises(InputError, match=said):
        SharpnessCost(**field)


RUN = (
    *("--data.global_batch_size=64", "--model.train_duration=3 steps"),
    *("--data.evaluate_every=3 steps", "--trainer.precision=64-true", "--model.name=resnet8"),
    "--model.batch_norm_span=16",
)
COST = (
    "--trainer.callbacks.cost={num_examples: 32, examples_per_forward: 16, lanczos_steps: 3, "
    "num_probes: 1, num_eigenvalues: 0, keskar_epsilon: 0}"
)


@pytest.mark.slow
def test_a_run_of_digits_on_two_processes_has_the_spectrum_of_one_in_both_modes(
    tmp_path, environment, fit
):
    alone = tmp_path / "alone.csv"
    assert fit(*RUN, CALLBACK, f"--trainer.callbacks.path={alone}", COST)[0] == 0
    runs = {
        name: [
            *(*RUN, "--trainer.accelerator=cpu", "--trainer.devices=2"),
            *(f"--trainer.strategy={name}", f"--record.folder={tmp_path / 'two' / name}"),
            *(CALLBACK, f"--trainer.callbacks.path={tmp_path / name}.csv", COST),
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
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    codes = {path.name: path.read_text() for path in tmp_path.glob("*.code.*")}
    assert codes["ddp.code.0"] == codes["ddp.code.1"] == "0", done.stderr
    assert codes["fsdp2.code.0"] == "2"
    assert "can't be measured under FSDP2" in done.stderr
    one, two = read(alone), read(tmp_path / "ddp.csv")
    assert {row["batch_norm"] for row in one} == {"evaluation", "training"}
    assert len(one) == len(two) == 6
    for ours, theirs in zip(one, two, strict=True):
        for column in ("loss", "gradient_norm", "eigenvalue_1", "smallest_node", "trace"):
            # float64; sums in another order, carried through Lanczos.
            np.testing.assert_allclose(float(theirs[column]), float(ours[column]), rtol=1e-8)

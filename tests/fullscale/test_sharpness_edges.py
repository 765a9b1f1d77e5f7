"""The sharpness at a run's edges: its first point, where it diverges, losses that are flat."""

import csv
import math

import pytest
import torch
from torch import nn

pytest.importorskip("curvlinops")
from fullscale.hessian import HessianOfLoss, NotFiniteError
from fullscale.spectral import keskar_sharpness

RUN = (
    *("--data.global_batch_size=64", "--model.name=mlp_width8", "--model.train_duration=6 steps"),
    "--trainer.callbacks+=fullscale.callbacks.sharpness.Sharpness",
    "--trainer.callbacks.every_steps=1",
    "--trainer.callbacks.cost={num_examples: 32, num_eigenvalues: 1, keskar_epsilon: 0, "
    "num_probes: 1, lanczos_steps: 4}",
)


def measured(fit, path, *flags):
    code, trial, err = fit(*RUN, f"--trainer.callbacks.path={path}", *flags)
    assert code == 0, err
    with path.open(encoding="utf-8") as stream:
        return trial, list(csv.DictReader(stream))


def test_the_start_has_the_edge_of_the_first_steps_rate_not_of_the_peak(fit, tmp_path):
    _, rows = measured(
        fit,
        tmp_path / "sharpness.csv",
        *("--model.optimizer=ema:sgd", "--model.learning_rate=0.4", "--model.warmup=4 steps"),
    )
    rates = [float(row["learning_rate"]) for row in rows]
    assert rates[:5] == pytest.approx([0.1, 0.1, 0.2, 0.3, 0.4])
    assert float(rows[0]["stability_limit"]) == pytest.approx(20.0)


def test_a_run_that_diverges_is_recorded_as_such_and_has_no_point_there(fit, tmp_path):
    trial, rows = measured(fit, tmp_path / "sharpness.csv", "--model.learning_rate=1e30")
    assert trial.status == "diverged"
    assert [row["steps"] for row in rows] == ["0"]


def hessian_of(loss, *parameters):
    return HessianOfLoss(parameters, [(loss, 1.0)], over_processes=False)


def test_a_weight_that_the_loss_is_linear_in_or_does_not_have_is_flat():
    bent, linear, unused = (nn.Parameter(torch.tensor([value])) for value in (2.0, 3.0, 4.0))
    hessian = hessian_of(lambda: torch.sum(bent**3 + linear), bent, linear, unused)
    torch.testing.assert_close(hessian @ torch.eye(3), torch.diag(torch.tensor([12.0, 0, 0])))
    assert not (hessian_of(lambda: torch.sum(1 * linear), linear, unused) @ torch.eye(2)).any()


def test_a_product_that_overflows_says_that_the_run_has_diverged():
    weight = nn.Parameter(torch.tensor([1e30]))
    with pytest.raises(NotFiniteError, match="the run has diverged"):
        hessian_of(lambda: torch.sum(weight**4), weight) @ torch.ones(1)


def test_keskars_sharpness_of_a_box_in_which_the_loss_is_no_number_is_none():
    weight = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    hessian = hessian_of(lambda: torch.sum(2 - torch.sqrt(1 + 1e3 * (1 - weight))), weight)
    assert math.isnan(keskar_sharpness(hessian, [weight], epsilon=1e-2))
    assert float(weight.detach()) == 1.0

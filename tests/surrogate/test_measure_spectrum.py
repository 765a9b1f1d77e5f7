"""The spectrum of a real network, for the simulator: exact where it can be, and a forecast."""

import csv

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

pytest.importorskip("curvlinops")
from fullscale.hessian import HessianOfLoss
from fullscale.spectral import spectral_measure
from surrogate.measure_spectrum import main, measured_modes

GENERATOR = torch.Generator().manual_seed(2)
IMAGES = torch.randn(40, 5, generator=GENERATOR, dtype=torch.float64)
LABELS = torch.arange(40) % 3


def network(seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def full_hessian(model):
    parameters = list(model.parameters())
    loss = cross_entropy(model(IMAGES), LABELS)
    flat = torch.cat([
        g.flatten() for g in torch.autograd.grad(loss, parameters, create_graph=True)
    ])
    rows = [
        torch.cat([
            g.flatten()
            for g in torch.autograd.grad(
                each, parameters, retain_graph=True, materialize_grads=True
            )
        ])
        for each in flat
    ]
    return torch.stack(rows)


def test_a_vectors_spectral_measure_has_its_moments_and_ends_where_its_space_does():
    model = network(0)
    hessian = HessianOfLoss(
        list(model.parameters()),
        [(lambda: cross_entropy(model(IMAGES), LABELS), 1.0)],
        over_processes=False,
    )
    matrix = full_hessian(model)
    vector = torch.randn(len(matrix), generator=GENERATOR, dtype=torch.float64)
    nodes, weights = spectral_measure(hessian, vector, num_steps=5)
    moved = vector
    for power in range(10):
        np.testing.assert_allclose(weights @ nodes**power, float(vector @ moved), rtol=1e-8)
        moved = matrix @ moved
    eigenvector = torch.linalg.eigh(matrix)[1][:, -1]
    nodes, _ = spectral_measure(hessian, eigenvector, num_steps=5)
    assert len(nodes) == 1


def test_the_modes_hold_the_way_and_the_noise_of_the_network():
    model, start = network(0), network(1)
    modes = measured_modes(model, start, (IMAGES, LABELS), num_steps=8, num_probes=40)
    way = nn.utils.parameters_to_vector(start.parameters()) - nn.utils.parameters_to_vector(
        model.parameters()
    )
    matrix = full_hessian(model)
    np.testing.assert_allclose(modes[:, 2].sum(), float((way @ way).detach()), rtol=1e-9)
    risk = 0.5 * float((way @ matrix @ way).detach())
    np.testing.assert_allclose(0.5 * modes[:, 0] @ modes[:, 2], risk, rtol=1e-8)
    gradients = torch.stack([
        nn.utils.parameters_to_vector(
            torch.autograd.grad(cross_entropy(model(x[None]), y[None]), list(model.parameters()))
        )
        for x, y in zip(IMAGES, LABELS, strict=True)
    ])
    covariance = torch.cov(gradients.T, correction=0)
    # Forty random combinations: 1 / sqrt(40) of the spread between them, which is below the mean.
    assert abs(modes[:, 1].sum() / float(covariance.trace()) - 1) < 4 / np.sqrt(40) * 0.5
    along = float((covariance @ matrix).trace())
    assert abs(modes[:, 0] @ modes[:, 1] / along - 1) < 4 / np.sqrt(40)


def test_a_checkpoint_that_is_none_is_refused(tmp_path, capsys):
    path = tmp_path / "step-000000001.ckpt"
    path.write_bytes(b"nothing")
    with pytest.raises(SystemExit) as left:
        main([str(path), "--out", str(tmp_path / "spectrum.csv")])
    assert left.value.code == 2
    assert "is not a checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "spectrum.csv").exists()


@pytest.mark.slow
def test_a_digits_checkpoint_forecasts_the_recorded_critical_batch_size_within_a_factor_of_two(
    tmp_path, capsys
):
    from fullscale.fit import main as fit
    from models_of_scaling.__main__ import main as models_of_scaling
    from surrogate.simulate import main as simulate

    folder = tmp_path / "checkpoints"
    flags = [
        *("--data.global_batch_size=64", "--model.schedule=constant"),
        *("--model.train_duration=200 steps", "--data.evaluate_every=200 steps"),
        *("--trainer.accelerator=cpu", f"--record.folder={tmp_path / 'trials'}"),
        *(f"--checkpoint.folder={folder}", "--checkpoint.every=200 steps"),
    ]
    assert fit(flags) == 0
    spectrum, steps = tmp_path / "spectrum.csv", tmp_path / "steps.csv"
    checkpoint = sorted(folder.glob("*.ckpt"))[-1]
    assert main([str(checkpoint), "--out", str(spectrum), "--lanczos-steps", "30"]) == 0
    words = ["--spectrum", str(spectrum), "--target-risk", "0.05", "--out", str(steps)]
    assert simulate([*words, "--batch-sizes", "4,16,64,256,1024"]) == 0
    with steps.open() as stream:
        rows = {int(row["batch_size"]): int(row["steps"]) for row in csv.DictReader(stream)}
    # S(B) = 2 S_min between two of these: B_crit of the records is 151 (87 to 195).
    floor = rows[1024]
    assert rows[64] > 2 * floor * 0.75
    assert rows[256] < 2 * floor
    assert models_of_scaling(["fit", str(steps), "--out", str(tmp_path / "fit.json")]) == 0
    capsys.readouterr()

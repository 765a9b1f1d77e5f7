"""Gradient clipping beside rules that make their own gradient: it holds, or is refused."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from fullscale.data.digits import digits_arrays
from fullscale.data.image_source import ArraySource
from fullscale.data.order import stream_indices
from fullscale.models import build_network

TWO_STEPS = (
    *("--data.global_batch_size=256", "--model.train_duration=2 steps", "--model.decay_power=0"),
    *("--model.learning_rate=0.5", "--model.target=validation_accuracy>=1"),
    *("--model.name=mlp_width8", "--trainer.gradient_clip_val=0.2"),
)


def test_sams_second_gradient_is_clipped(fit, tmp_path):
    path = tmp_path / "weights.pt"
    code, _, err = fit(
        *TWO_STEPS,
        "--model.optimizer=sam",
        "--trainer.precision=64-true",
        "--data.max_per_device_batch_size=100",
        "--trainer.callbacks+=fit_callbacks.DumpWeights",
        f"--trainer.callbacks.path={path}",
    )
    assert code == 0, err
    source = ArraySource(digits_arrays())
    network = build_network("mlp_width8", image_shape=(1, 8, 8), num_classes=10, seed=0).double()
    weights = list(network.parameters())
    velocity, norms = [torch.zeros_like(p) for p in weights], []

    def norm(gradients):
        return math.sqrt(sum(float(g.square().sum()) for g in gradients))

    for step in range(2):
        rows = range(256 * step, 256 * (step + 1))
        indices = stream_indices(
            seed=0, num_examples=source.num_train_examples, start=rows.start, stop=rows.stop
        )
        images, labels = source.train_batch(indices, rows)

        def gradients(images=images, labels=labels):
            return torch.autograd.grad(cross_entropy(network(images.double()), labels), weights)

        first = gradients()
        ascent = [0.05 / norm(first) * g for g in first]
        with torch.no_grad():
            for p, e in zip(weights, ascent, strict=True):
                p.add_(e)
        second = gradients()
        norms.append(norm(second))
        with torch.no_grad():
            for p, e, v, g in zip(weights, ascent, velocity, second, strict=True):
                v.mul_(0.9).add_(g * min(1.0, 0.2 / norms[-1]))
                p.sub_(e + 0.5 * v)
    assert min(norms) > 0.4  # clipping halves them at least
    for got, want in zip(torch.load(path, weights_only=True), weights, strict=True):
        np.testing.assert_allclose(got, want.detach(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--model.optimizer=adascale",), "--trainer.gradient_clip_val 0.2: adascale compares"),
        (
            ("--model.optimizer=sam:lars", "--trainer.gradient_clip_algorithm=value"),
            "--trainer.gradient_clip_algorithm value: sam:lars clips its second gradient by its",
        ),
    ],
)
def test_clipping_that_would_falsify_a_rule_is_one_line(fit, flags, message):
    code, trial, err = fit(*TWO_STEPS, *flags)
    assert (code, trial) == (2, None)
    assert message in err

import numpy as np
import pytest
import torch
from torch.nn import functional

from fullscale.data.digits import digits_arrays
from fullscale.optimizers.registry import get_update_rule
from surrogate.training.evaluation import mean_loss_and_accuracy
from surrogate.training.task import Task


def task(model, **more):
    given = {"batch_size": 8, "dtype": torch.float64} | more
    return Task(data=digits_arrays(), model=model, rule=get_update_rule("sgd"), **given)


def test_a_forward_takes_fewer_images_of_a_network_that_keeps_more():
    # In float32 432 bytes an image and 41 kB; 32 MiB of it are taken at once.
    models = "mlp", "resnet8"
    with torch.no_grad():  # as evaluations are
        counts = [task(model, dtype=torch.float32).images_of_a_forward for model in models]
    assert counts == [2_048, 512]


@pytest.mark.parametrize("model", ["mlp", "resnet8"])
def test_sets_larger_than_a_forward_are_evaluated_whole_each_by_its_own_count(model):
    shared = task(model)
    network = shared.network(0).eval()
    parameters = {name: value.detach() for name, value in network.named_parameters()}
    buffers = dict(network.named_buffers())
    at_once = shared.images_of_a_forward
    rng = np.random.default_rng(0)
    sets = []
    for count in (10, at_once + 50, at_once):  # a part; one and a rest; exactly one
        chosen = torch.from_numpy(rng.integers(0, 1_024, count))
        labels = torch.from_numpy(rng.integers(0, 10, count))
        sets.append((shared.images[chosen], labels))

    with torch.no_grad():
        found = mean_loss_and_accuracy(shared, parameters, buffers, *sets)

    for (loss, accuracy), (images, labels) in zip(found.tolist(), sets, strict=True):
        with torch.no_grad():
            logits = network(images)
        np.testing.assert_allclose(
            loss, functional.cross_entropy(logits, labels).item(), rtol=1e-12
        )
        assert accuracy == (logits.argmax(dim=1) == labels).double().mean().item()

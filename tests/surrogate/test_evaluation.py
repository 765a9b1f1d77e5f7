import numpy as np
import torch
from torch.nn import functional

from fullscale.data.digits import digits_arrays
from fullscale.optimizers.registry import get_update_rule
from surrogate.training.evaluation import mean_loss_and_accuracy
from surrogate.training.task import Task


def test_sets_larger_than_a_forward_are_evaluated_whole_each_by_its_own_count():
    task = Task(
        data=digits_arrays(),
        model="mlp",
        rule=get_update_rule("sgd"),
        batch_size=8,
        dtype=torch.float64,
    )
    network = task.network(0)
    parameters = {name: value.detach() for name, value in network.named_parameters()}
    rng = np.random.default_rng(0)
    sets = []
    for count in (10, 5_000, 2_048):  # one part; two whole ones and a rest; exactly one
        chosen = torch.from_numpy(rng.integers(0, 1_024, count))
        labels = torch.from_numpy(rng.integers(0, 10, count))
        sets.append((task.images[chosen], labels))

    with torch.no_grad():
        found = mean_loss_and_accuracy(task, parameters, {}, *sets)

    for (loss, accuracy), (images, labels) in zip(found.tolist(), sets, strict=True):
        logits = network(images)
        np.testing.assert_allclose(
            loss, functional.cross_entropy(logits, labels).item(), rtol=1e-12
        )
        assert accuracy == (logits.argmax(dim=1) == labels).double().mean().item()

import numpy as np
import pytest
import torch
from torch import nn

from fullscale.memory_probe import (
    agree_on_smallest,
    is_out_of_memory,
    largest_that_fits,
    probe_per_device_limit,
)
from fullscale.models import build_network
from fullscale.optimizers.lars import LARS
from models_of_scaling.errors import InputError

ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    MemoryError(),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 8 bytes"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
    RuntimeError("cuDNN error: out of memory"),
]


def attempts(capacity, error=ERRORS[0]):
    tried = []

    def attempt(examples):
        tried.append(examples)
        if examples > capacity:
            raise error

    return attempt, tried


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: str(error)[:20])
def test_every_way_to_run_out_of_memory_is_survived(error):
    attempt, tried = attempts(100, error)
    assert is_out_of_memory(error)
    assert largest_that_fits(attempt, limit=1000) == 64
    assert tried == [1, 2, 4, 8, 16, 32, 64, 128]


def test_another_error_is_raised():
    attempt, _ = attempts(4, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        largest_that_fits(attempt, limit=1000)


@pytest.mark.parametrize(
    ("capacity", "limit", "best"),
    [(10**9, 97, 97), (97, 97, 97), (96, 97, 64), (10, 1, 1), (0, 8, 0), (1, 8, 1)],
)
def test_what_is_found_is_a_power_of_two_or_all_that_is_of_use(capacity, limit, best):
    assert largest_that_fits(attempts(capacity)[0], limit=limit) == best


def test_a_device_without_room_for_one_example_is_named():
    with pytest.raises(InputError, match="no memory for a single example"):
        agree_on_smallest(0, device=torch.device("cpu"))


class _Limited(nn.Module):
    """Fails beyond so many examples."""

    def __init__(self, network, capacity):
        super().__init__()
        self.network, self.capacity = network, capacity

    def forward(self, images):
        if len(images) > self.capacity:
            raise torch.OutOfMemoryError("planted")
        return self.network(images)


def test_a_probe_of_a_network_with_batch_norm_leaves_it_untouched():
    network = build_network("resnet8", image_shape=(1, 8, 8), num_classes=10, seed=0)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    found = probe_per_device_limit(
        _Limited(network, 21),
        rule=LARS,
        image_shape=(1, 8, 8),
        device=torch.device("cpu"),
        context=lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        limit=64,
    )
    assert found == 16
    for name, tensor in network.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), before[name].numpy())
    assert all(parameter.grad is None for parameter in network.parameters())

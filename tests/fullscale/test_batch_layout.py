import itertools

import pytest

from fullscale.batch_layout import BatchLayout
from models_of_scaling.errors import InputError

LAYOUTS = [
    BatchLayout(global_batch_size=batch, world_size=world, max_per_device_batch_size=limit)
    for batch, world, limit in itertools.product((8, 97, 256, 1000), (1, 2, 3, 8), (1, 5, 64, 4096))
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_the_forwards_of_all_ranks_hold_each_place_of_the_step_once_in_order(layout):
    places = [
        place
        for rank in range(layout.world_size)
        for forward in range(layout.accumulate_grad_batches)
        for place in layout.micro_batch(rank=rank, forward=forward)
    ]
    assert places == list(range(layout.global_batch_size))


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_shares_and_forwards_differ_by_one_example_at_most_and_fit_the_device(layout):
    shares = [len(layout.share(rank)) for rank in range(layout.world_size)]
    assert max(shares) - min(shares) <= 1
    for rank in range(layout.world_size):
        sizes = [
            len(layout.micro_batch(rank=rank, forward=forward))
            for forward in range(layout.accumulate_grad_batches)
        ]
        assert max(sizes) - min(sizes) <= 1
        assert max(sizes) <= layout.per_device_batch_size <= layout.max_per_device_batch_size


def test_no_layout_makes_more_forwards_than_the_device_needs():
    layout = BatchLayout(global_batch_size=97, world_size=2, max_per_device_batch_size=20)
    assert layout.accumulate_grad_batches == 3
    assert layout.per_device_batch_size == 17


def test_a_full_imagenet_step_is_legal_on_512_devices():
    layout = BatchLayout(global_batch_size=1_281_167, world_size=512, max_per_device_batch_size=256)
    assert sum(len(layout.share(rank)) for rank in range(512)) == 1_281_167
    assert layout.accumulate_grad_batches == 10


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("global_batch_size", 0, "--data.global_batch_size 0 must be at least 1"),
        ("global_batch_size", 7, "--data.global_batch_size 7 must not be smaller than the 8"),
        ("world_size", 0, "world_size 0"),
        ("max_per_device_batch_size", 0, "--data.max_per_device_batch_size 0"),
    ],
)
def test_a_field_out_of_range_is_named_with_its_value(field, value, words):
    good = {"global_batch_size": 64, "world_size": 8, "max_per_device_batch_size": 4}
    with pytest.raises(InputError, match=words):
        BatchLayout(**good | {field: value})

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
    shares = []
    for rank in range(layout.world_size):
        sizes = [
            len(layout.micro_batch(rank=rank, forward=forward))
            for forward in range(layout.accumulate_grad_batches)
        ]
        assert max(sizes) - min(sizes) <= 1
        assert max(sizes) <= layout.per_device_batch_size <= layout.max_per_device_batch_size
        shares.append(sum(sizes))
    assert max(shares) - min(shares) <= 1


def test_no_layout_makes_more_forwards_than_the_device_needs():
    layout = BatchLayout(global_batch_size=97, world_size=2, max_per_device_batch_size=20)
    assert layout.accumulate_grad_batches == 3
    assert layout.per_device_batch_size == 17


def test_a_full_imagenet_step_is_legal_on_512_devices():
    layout = BatchLayout(global_batch_size=1_281_167, world_size=512, max_per_device_batch_size=256)
    forwards = itertools.product(range(512), range(10))
    places = (layout.micro_batch(rank=rank, forward=forward) for rank, forward in forwards)
    assert sum(map(len, places)) == 1_281_167
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


SPANS = [
    BatchLayout(
        global_batch_size=batch,
        world_size=world,
        max_per_device_batch_size=limit,
        batch_norm_span=span,
    )
    for batch, world, limit, span in itertools.product(
        (97, 256, 1000), (1, 2, 3, 8), (33, 64, 4096), (8, 32, 33)
    )
]


def statistics_by_place(layout):
    """The places of each statistic, gathered from the ranks and forwards that hold its parts."""
    found = {}
    for rank in range(layout.world_size):
        for forward in range(layout.accumulate_grad_batches):
            places = iter(layout.micro_batch(rank=rank, forward=forward))
            for number, parts in enumerate(layout.statistics(rank=rank, forward=forward)):
                count = parts[rank % layout.ranks_per_group]
                team = rank // layout.ranks_per_group
                ours = list(itertools.islice(places, count))
                found.setdefault((team, forward, number), []).extend(ours)
            assert not list(places)
    return sorted(found.values())


@pytest.mark.parametrize("layout", SPANS, ids=str)
def test_which_examples_share_a_statistic_depends_on_the_batch_and_the_span_only(layout):
    alone = BatchLayout(
        global_batch_size=layout.global_batch_size,
        world_size=1,
        max_per_device_batch_size=layout.global_batch_size,
        batch_norm_span=layout.batch_norm_span,
    )
    groups = statistics_by_place(layout)
    assert groups == statistics_by_place(alone)
    assert sorted(place for group in groups for place in group) == list(
        range(layout.global_batch_size)
    )
    sizes = {len(group) for group in groups}
    assert max(sizes) <= layout.batch_norm_span
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("layout", SPANS, ids=str)
def test_forwards_made_of_whole_statistics_fit_the_device(layout):
    sizes = [
        len(layout.micro_batch(rank=rank, forward=forward))
        for rank in range(layout.world_size)
        for forward in range(layout.accumulate_grad_batches)
    ]
    assert max(sizes) == layout.per_device_batch_size <= layout.max_per_device_batch_size


def test_a_statistic_larger_than_a_device_is_shared_by_as_few_ranks_as_hold_it():
    layout = BatchLayout(
        global_batch_size=4096, world_size=64, max_per_device_batch_size=32, batch_norm_span=128
    )
    assert layout.ranks_per_group == 4
    assert layout.statistics(rank=0, forward=0) == ((32, 32, 32, 32),)
    assert layout.accumulate_grad_batches == 2


@pytest.mark.parametrize(
    ("span", "batch", "words"),
    [
        (1, 64, "--model.batch_norm_span 1 must be at least 2"),
        (65, 64, "at most the global batch size 64"),
        (32, 64, "give --data.max_per_device_batch_size 16 or more, or .* divisible by 8"),
        (2, 5, "one of them of a single example"),
    ],
)
def test_a_span_that_no_forward_can_hold_is_refused_with_what_would_do(span, batch, words):
    with pytest.raises(InputError, match=words):
        BatchLayout(
            global_batch_size=batch,
            world_size=2,
            max_per_device_batch_size=4,
            batch_norm_span=span,
        )

import numpy as np
import pytest

from fullscale.batch_layout import BatchLayout
from fullscale.data.digits import NUM_TRAIN_EXAMPLES, digits_arrays
from fullscale.data.image_source import ArraySource, open_image_source
from fullscale.data.micro_batches import TrainMicroBatches, ValidationMicroBatches
from fullscale.data.order import epoch_permutation, stream_indices
from models_of_scaling.errors import InputError


def stream(start, stop, *, seed=3, num_examples=10):
    return stream_indices(seed=seed, num_examples=num_examples, start=start, stop=stop)


def test_each_epoch_of_the_stream_is_a_permutation_and_no_two_are_alike():
    epochs = stream(0, 50).reshape(5, 10)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(10), (5, 1)))
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 5


@pytest.mark.parametrize("batch_size", [1, 3, 7, 10, 23, 50])
def test_the_stream_does_not_depend_on_how_it_is_cut(batch_size):
    pieces = [stream(s, min(s + batch_size, 50)) for s in range(0, 50, batch_size)]
    np.testing.assert_array_equal(np.concatenate(pieces), stream(0, 50))


def test_another_seed_is_another_order_and_the_cached_one_can_not_be_changed():
    assert (stream(0, 10) != stream(0, 10, seed=4)).any()
    with pytest.raises(ValueError, match="read-only"):
        epoch_permutation(3, 0, 10)[0] = 5


def test_a_batch_over_several_epochs_repeats_each_example_as_often():
    counts = np.bincount(stream(0, 30), minlength=10)
    np.testing.assert_array_equal(counts, 3)


def test_digits_has_its_fixed_split_with_all_classes_in_both_parts():
    arrays = digits_arrays()
    assert arrays.num_train_examples == NUM_TRAIN_EXAMPLES == 1024
    assert len(arrays.validation_labels) == 773
    assert arrays.image_shape == (1, 8, 8)
    for labels in (arrays.train_labels, arrays.validation_labels):
        counts = np.bincount(labels, minlength=10) / len(labels)
        assert counts.min() > 0.07  # a tenth each, as in the whole set, within a third
    # Standardised by the training split, in float32.
    assert abs(float(arrays.train_images.mean())) < 1e-5
    assert abs(float(arrays.train_images.std()) - 1) < 1e-5


def test_no_digit_is_in_both_parts():
    arrays = digits_arrays()
    train = {image.tobytes() for image in arrays.train_images}
    assert not any(image.tobytes() in train for image in arrays.validation_images)


@pytest.mark.parametrize(("world_size", "limit"), [(1, 97), (2, 20), (3, 7), (97, 1), (5, 1000)])
def test_every_layout_trains_on_the_same_examples_in_each_step(world_size, limit):
    source = ArraySource(digits_arrays())
    layout = BatchLayout(
        global_batch_size=97, world_size=world_size, max_per_device_batch_size=limit
    )
    forwards = layout.accumulate_grad_batches
    ranks = [
        TrainMicroBatches(source, layout=layout, rank=rank, num_steps=12, seed=5)
        for rank in range(world_size)
    ]
    assert {len(rank) for rank in ranks} == {12 * forwards}
    step = 11  # goes over the end of the first epoch
    labels = [
        label
        for rank in ranks
        for forward in range(step * forwards, (step + 1) * forwards)
        for label, weight in zip(*[t.tolist() for t in rank[forward][1:]], strict=True)
        if weight
    ]
    want = stream_indices(seed=5, num_examples=1024, start=97 * step, stop=97 * (step + 1))
    assert labels == digits_arrays().train_labels[want].tolist()


def test_a_forward_without_examples_has_one_filler_of_weight_zero():
    layout = BatchLayout(global_batch_size=3, world_size=2, max_per_device_batch_size=1)
    source = ArraySource(digits_arrays())
    second = TrainMicroBatches(source, layout=layout, rank=1, num_steps=1, seed=0)
    assert [weights.tolist() for _, _, weights in second] == [[1.0], [0.0]]


@pytest.mark.parametrize(("world_size", "batch_size"), [(1, 773), (2, 100), (7, 3), (1000, 8)])
def test_validation_counts_each_image_once_in_as_many_forwards_on_every_rank(
    world_size, batch_size
):
    source = ArraySource(digits_arrays())
    ranks = [
        ValidationMicroBatches(source, world_size=world_size, rank=rank, batch_size=batch_size)
        for rank in range(world_size)
    ]
    assert len({len(rank) for rank in ranks}) == 1
    batches = [batch for rank in ranks for batch in rank]
    assert sum(float(weights.sum()) for _, _, weights in batches) == 773
    assert max(len(labels) for _, labels, _ in batches) <= batch_size
    assert all(len(labels) for _, labels, _ in batches)


def test_an_unknown_data_set_and_a_missing_root_are_named():
    with pytest.raises(InputError, match="--data.name 'svhn' is not one of digits, "):
        open_image_source("svhn", root=None, image_size=8, seed=0)
    with pytest.raises(InputError, match="--data.root is missing"):
        open_image_source("image_folder", root=None, image_size=8, seed=0)

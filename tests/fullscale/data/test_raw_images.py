import numpy as np
import pytest

from fullscale.data.raw_images import (
    RawImages,
    SplitChoice,
    area_weights,
    down_sampled,
    held_out_rows,
    standardised_arrays,
)
from models_of_scaling.errors import InputError


@pytest.fixture
def raw():
    rng = np.random.default_rng(1)
    labels = np.array([0] * 30 + [1] * 20 + [2] * 10)
    return RawImages(
        name="tiny",
        train_images=rng.integers(0, 256, (60, 2, 4, 4), dtype=np.uint8),
        train_labels=labels[rng.permutation(60)],
        test_images=rng.integers(0, 256, (12, 2, 4, 4), dtype=np.uint8),
        test_labels=np.arange(12) % 3,
        num_classes=3,
    )


def test_the_last_images_of_each_class_are_held_out_in_the_classes_proportions(raw):
    held_out = held_out_rows(raw.train_labels, 13)  # shares 6.5, 4.33, 2.17
    counts = np.bincount(raw.train_labels[held_out])
    assert held_out.sum() == 13 and counts.tolist() == [7, 4, 2]
    for label in range(3):
        rows = np.flatnonzero(raw.train_labels == label)
        assert held_out[rows].tolist() == sorted(held_out[rows].tolist())


def test_a_holdout_is_apart_from_training_and_leaves_the_test_split_alone(raw):
    choice = SplitChoice(holdout=12, evaluate_on="validation")
    data = standardised_arrays(raw, choice)
    held_out = held_out_rows(raw.train_labels, 12)
    np.testing.assert_array_equal(data.validation_labels, raw.train_labels[held_out])
    np.testing.assert_array_equal(data.train_labels, raw.train_labels[~held_out])
    tested = standardised_arrays(raw, SplitChoice(holdout=12, evaluate_on="test"))
    np.testing.assert_array_equal(tested.train_images, data.train_images)
    np.testing.assert_array_equal(tested.validation_labels, raw.test_labels)


def test_changed_test_images_change_nothing_where_a_holdout_is_evaluated(raw):
    choice = SplitChoice(holdout=12, evaluate_on="validation")
    before = standardised_arrays(raw, choice)
    raw.test_images[:] = 0
    after = standardised_arrays(raw, choice)
    np.testing.assert_array_equal(before.train_images, after.train_images)
    np.testing.assert_array_equal(before.validation_images, after.validation_images)


def test_each_channel_of_the_training_split_has_mean_0_and_deviation_1(raw):
    data = standardised_arrays(raw, SplitChoice(resolution=3))
    # float32 rounds a mean of 60 x 9 values of size 1 at about 1e-7.
    np.testing.assert_allclose(data.train_images.mean(axis=(0, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(data.train_images.std(axis=(0, 2, 3)), 1, rtol=1e-6)
    assert data.validation_images.shape == (12, 2, 3, 3)


def test_a_subset_is_the_first_images_standardised_as_in_the_whole(raw):
    whole = standardised_arrays(raw, SplitChoice())
    part = standardised_arrays(raw, SplitChoice(subset=16))
    np.testing.assert_array_equal(part.train_images, whole.train_images[:16])
    np.testing.assert_array_equal(part.validation_images, whole.validation_images)


def test_areas_are_averaged_with_the_shares_that_pixels_have_in_them():
    # Three pieces of 4/3 pixels: a piece's weight is the overlap over 4/3.
    expected = [[0.75, 0.25, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0.25, 0.75]]
    np.testing.assert_allclose(area_weights(4, 3), expected, rtol=1e-12, atol=1e-15)
    images = np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4)
    np.testing.assert_array_equal(down_sampled(images, 2)[0, 0], [[2.5, 4.5], [10.5, 12.5]])
    np.testing.assert_array_equal(down_sampled(images, None), images)


def test_averaging_keeps_the_mean_of_every_image(raw):
    # float32 sums of 16 values up to 255: a relative rounding of 1e-6.
    np.testing.assert_allclose(
        down_sampled(raw.train_images, 3).mean(axis=(2, 3)),
        raw.train_images.mean(axis=(2, 3)),
        rtol=1e-6,
    )


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"holdout": 2}, r"holdout 2 must be in 3\.\.30"),
        ({"holdout": 31}, r"holdout 31 must be in 3\.\.30"),
        ({"holdout": 12, "subset": 49}, r"subset 49 must be in 1\.\.48"),
        ({"resolution": 5}, r"resolution 5 must be in 1\.\.4"),
        ({"evaluate_on": "validation"}, "needs a holdout of at least 1"),
    ],
)
def test_a_choice_that_can_not_be_met_is_refused(raw, choice, message):
    with pytest.raises(InputError, match=message):
        standardised_arrays(raw, SplitChoice(**choice))


def test_a_constant_channel_is_refused(raw):
    raw.train_images[:, 1] = 7
    with pytest.raises(InputError, match="constant"):
        standardised_arrays(raw, SplitChoice())

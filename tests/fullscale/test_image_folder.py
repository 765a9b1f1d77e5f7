import numpy as np
import pytest
from PIL import Image

from fullscale.data.image_folder import ImageFolderSource, crop_box
from models_of_scaling.errors import InputError


@pytest.fixture
def tree(tmp_path):
    """Three training and two validation pictures for each of two classes, of uneven sizes."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 2)):
        for number, name in enumerate(("cat", "dog")):
            folder = tmp_path / "tree" / split / name
            folder.mkdir(parents=True)
            for picture in range(count):
                size = (40 + 7 * picture, 60 - 5 * picture, 3)
                pixels = rng.integers(0, 128, size, dtype=np.uint8) + np.uint8(120 * number)
                Image.fromarray(pixels).save(folder / f"{picture}.png")
    return tmp_path / "tree"


def source(root, **more):
    return ImageFolderSource(root, **{"image_size": 16, "seed": 1} | more)


def test_a_tree_is_listed_with_its_classes_and_sizes(tree):
    found = source(tree)
    assert (found.num_train_examples, found.num_validation_examples) == (6, 4)
    assert (found.num_classes, found.image_shape) == (2, (3, 16, 16))
    images, labels = found.validation_batch(np.arange(4))
    assert images.shape == (4, 3, 16, 16)
    assert labels.tolist() == [0, 0, 1, 1]
    assert float(images[2:].mean()) > float(images[:2].mean())  # dogs are brighter here


def test_an_augmented_picture_depends_on_seed_and_position_only(tree):
    first, _ = source(tree).train_batch(np.array([0, 4]), [10, 11])
    again, _ = source(tree).train_batch(np.array([4]), [11])
    np.testing.assert_array_equal(first[1].numpy(), again[0].numpy())
    elsewhere, _ = source(tree).train_batch(np.array([4]), [12])
    reseeded, _ = source(tree, seed=2).train_batch(np.array([4]), [11])
    assert (elsewhere != again).any()
    assert (reseeded != again).any()


def test_crops_lie_inside_with_area_and_aspect_in_their_ranges():
    rng = np.random.default_rng(0)
    for _ in range(500):
        left, top, right, bottom = crop_box(rng, width=50, height=40)
        assert 0 <= left < right <= 50
        assert 0 <= top < bottom <= 40
        # Rounding to whole pixels moves both by up to a pixel.
        w, h = right - left, bottom - top
        assert (w + 1) * (h + 1) >= 0.08 * 50 * 40
        assert 3 / 4 * (h - 1) <= w + 1
        assert w - 1 <= 4 / 3 * (h + 1)


def test_a_strip_without_any_allowed_crop_gets_its_central_one():
    assert crop_box(np.random.default_rng(0), width=1000, height=3) == (498, 0, 502, 3)


def test_a_missing_split_is_named(tree, tmp_path):
    (tree / "val").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="there is no folder .*val"):
        source(tree)


def test_an_empty_class_folder_is_named(tree):
    (tree / "train" / "bird").mkdir()
    with pytest.raises(InputError, match="bird"):
        source(tree)


def test_classes_that_differ_between_splits_are_named(tree):
    (tree / "val" / "dog").rename(tree / "val" / "fox")
    with pytest.raises(InputError, match="'dog' is in one of them only"):
        source(tree)


def test_a_picture_that_can_not_be_decoded_is_named(tree):
    (tree / "train" / "cat" / "0.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="0.png: not a readable picture"):
        source(tree).train_batch(np.array([0]), [0])


@pytest.mark.slow
def test_resnet50_trains_on_a_tree_by_lars_and_its_trial_says_so(tree, fit):
    code, trial, _ = fit(
        "--data.name=image_folder",
        f"--data.root={tree}",
        "--data.image_size=64",
        "--data.global_batch_size=4",
        "--data.num_workers=1",
        "--model.name=resnet50",
        "--model.optimizer=lars",
        "--model.optimizer_numbers={trust_coefficient: 0.01}",
        "--model.train_duration=2 steps",
        "--model.target=validation_accuracy>=1",
    )
    assert code == 0
    assert trial.steps == 2
    assert trial.num_train_examples == 6
    assert (trial.model, trial.optimizer, trial.dataset) == ("resnet50", "lars", "image_folder")
    assert trial.hyper_parameters["trust_coefficient"] == 0.01
    assert trial.status in {"reached", "not_reached"}

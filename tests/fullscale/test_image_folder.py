from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms import functional

from fullscale.data.augmentation import crop_box
from fullscale.data.image_folder import open_image_folder
from fullscale.data.image_source import open_image_source
from fullscale.data.order import stream_indices
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
    return open_image_source("image_folder", root=root, **{"image_size": 16, "seed": 1} | more)


def test_a_tree_is_listed_with_its_classes_and_sizes(tree):
    found = source(tree)
    assert (found.num_train_examples, found.num_validation_examples) == (6, 4)
    assert (found.num_classes, found.image_shape) == (2, (3, 16, 16))
    images, labels = found.validation_batch(np.arange(4))
    assert images.shape == (4, 3, 16, 16)
    assert images.dtype == torch.uint8
    assert labels.tolist() == [0, 0, 1, 1]
    # Dogs are brighter here.
    assert float(images[2:].float().mean()) > float(images[:2].float().mean())


def test_classes_files_and_their_order_are_torchvisions(tree):
    for name in ("train/cat/inner/deep/9.JPG", "train/cat/Z.webp", "train/cat/notes.txt"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(b"")
    (tree / "train" / "a file beside the classes.png").write_bytes(b"")
    theirs = ImageFolder(str(tree / "train"))
    ours = open_image_folder(tree)
    assert list(ours.classes) == theirs.classes
    paths = [ours.train.where(index) for index in range(len(ours.train.labels))]
    assert list(zip(paths, ours.train.labels.tolist(), strict=True)) == theirs.samples


def test_validation_pictures_are_torchvisions_within_rounding(tree):
    got = source(tree).validation_batch(np.arange(4))[0]
    for image, (path, _) in zip(got, ImageFolder(str(tree / "val")).samples, strict=True):
        with Image.open(path) as picture:
            resized = functional.resize(picture, [18])
            want = np.asarray(functional.center_crop(resized, [16, 16]))
        # Each of the resize's two passes rounds once.
        assert np.abs(image.permute(1, 2, 0).numpy().astype(int) - want).max() <= 2


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
    (tree / "val" / "bird").mkdir()
    with pytest.raises(InputError, match="train has 1 classes without a picture: bird"):
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
    (tree / "train" / "dog" / "1.png").write_bytes(b"no picture")
    (tree / "val" / "cat" / "1.png").write_bytes(b"no picture")
    code, trial, _ = fit(
        "--data.name=image_folder",
        f"--data.root={tree}",
        "--data.image_size=64",
        "--data.global_batch_size=6",
        "--data.num_workers=1",
        "--data.num_classes=2",
        "--data.max_damaged_share=0.25",
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
    # Three validation pictures can be read: thirds are all that an accuracy can be.
    assert trial.curve_validation_accuracy[-1] * 3 == pytest.approx(
        round(trial.curve_validation_accuracy[-1] * 3)
    )


@pytest.mark.slow
def test_wrong_data_are_one_line_and_exit_2_before_anything_runs(tree, fit):
    flags = ("--data.name=image_folder", "--data.global_batch_size=4", "--model.name=resnet50")
    code, trial, err = fit(*flags, f"--data.root={tree}", "--data.num_classes=1000")
    assert (code, trial) == (2, None)
    assert err == f"error: --data.num_classes 1000: {tree} has 2 classes\n"
    (tree / "train" / "cat" / "0.png").write_bytes(b"no picture")
    code, trial, err = fit(
        *flags, f"--data.root={tree}", "--data.image_size=32", "--data.num_workers=1",
        "--model.train_duration=9 steps",
    )  # fmt: skip
    assert code == 2
    assert err.startswith(f"error: {tree}/train/cat/0.png: not a readable picture: ")
    assert err.count("\n") == 1


@pytest.mark.slow
def test_a_damaged_picture_that_only_another_process_meets_ends_the_run_and_is_named(
    tree, tmp_path, command, finish
):
    # Of the first step's six examples, the second process has the last three (data order, seed 0).
    index = int(stream_indices(seed=0, num_examples=6, start=5, stop=6)[0])
    path = open_image_folder(tree).train.where(index)
    Path(path).write_bytes(b"no picture")
    done = finish([
        *command,
        "--trainer.accelerator=cpu",
        "--trainer.devices=2",
        f"--record.folder={tmp_path / 'trials'}",
        "--data.name=image_folder",
        f"--data.root={tree}",
        "--data.image_size=8",
        "--data.global_batch_size=6",
        "--model.name=mlp",
        "--model.train_duration=2 steps",
    ])
    assert done.returncode != 0
    assert done.stderr.count(f"error: {path}: not a readable picture: ") == 1


@pytest.mark.slow
def test_synthetic_images_train_normalised_in_the_runs_precision(fit):
    code, trial, err = fit(
        "--data.name=synthetic",
        "--data.num_examples=64",
        "--data.num_classes=5",
        "--data.image_size=8",
        "--data.global_batch_size=32",
        "--model.name=mlp",
        "--model.train_duration=2 steps",
        "--trainer.precision=64-true",
        "--model.learning_rate=0.01",
    )
    assert (code, err) == (0, "")
    assert (trial.dataset, trial.num_train_examples, trial.steps) == ("synthetic", 64, 2)
    # Normalised noise has a spread of about 1.3: the first loss is near log(5), not hundreds.
    assert 1 < trial.curve_train_loss[0] < 3

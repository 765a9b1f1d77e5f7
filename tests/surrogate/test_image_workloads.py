import os

import numpy as np
import pytest
from PIL import Image
from scipy.stats import norm

from fullscale.data.gaussian_mixture import bayes_error, gaussian_mixture_arrays
from fullscale.data.raw_images import RawImages
from fullscale.models import CONVOLUTION_WIDTHS as WIDTHS_OF_MODELS
from fullscale.models import NETWORKS
from models_of_scaling.errors import InputError
from models_of_scaling.targets import Target
from surrogate import image_data
from surrogate.data_root import VARIABLE
from surrogate.run_sweep import SweepSettings
from surrogate.rung_parameters import CONVOLUTION_WIDTHS, PARAMETERS
from surrogate.sweep import main
from surrogate.workloads import WORKLOADS, get_workload

REAL = os.environ.get(VARIABLE)


@pytest.fixture
def tiny_mnist(tmp_path, monkeypatch):
    """Stand in for the files of MNIST: 200 training and 40 test images of 6x6 pixels."""
    rng = np.random.default_rng(0)
    raw = RawImages(
        name="mnist",
        train_images=rng.integers(0, 256, (200, 1, 6, 6), dtype=np.uint8),
        train_labels=np.arange(200) % 10,
        test_images=rng.integers(0, 256, (40, 1, 6, 6), dtype=np.uint8),
        test_labels=np.arange(40) % 10,
        num_classes=10,
    )
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.setattr(image_data, "_read", lambda dataset, root, making: raw)
    return raw


def refused(words, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    error = capsys.readouterr().err
    assert end.value.code == 2 and len(error.splitlines()) == 1
    return error


def test_parameters_and_workloads_are_the_same_names_with_networks_that_exist():
    assert set(PARAMETERS) == set(WORKLOADS)
    assert CONVOLUTION_WIDTHS == WIDTHS_OF_MODELS
    for name in ("mnist", "mnist_cnn", "cifar10", "cifar10_cnn", "gaussian_mixture"):
        assert WORKLOADS[name].model in NETWORKS
        assert get_workload(f"{name}_width16").model in NETWORKS


def test_every_image_workload_ends_at_its_whole_training_set():
    for name, size in (("mnist", 60_000), ("fashion_mnist_cnn", 60_000), ("cifar100", 50_000)):
        workload = WORKLOADS[name]
        assert workload.batch_sizes[-1] == workload.max_batch_size == size
        assert len(workload.batch_sizes) == 10
        assert set(workload.quick_batch_sizes) <= set(workload.batch_sizes)


def test_a_rung_of_images_has_its_split_subset_and_resolution(tiny_mnist):
    assert get_workload("mnist").load().train_images.shape == (200, 1, 6, 6)
    # Of the named size: the tiny set stands in for one of 60,000.
    rung = get_workload("mnist_holdout50_subset100_resolution4")
    data = rung.load()
    assert data.train_images.shape == (100, 1, 4, 4)
    assert np.bincount(data.validation_labels).tolist() == [5] * 10
    assert rung.evaluated_on == "validation" and rung.max_batch_size == 100
    assert rung.batch_sizes == (16, 64, 100)
    tested = rung.load_test()
    np.testing.assert_array_equal(tested.train_images, data.train_images)
    np.testing.assert_array_equal(tested.validation_labels, tiny_mnist.test_labels)
    assert get_workload("mnist_holdout10000").max_batch_size == 50_000
    assert get_workload("mnist_holdout10000").batch_sizes[-1] == 50_000


def test_without_a_holdout_nothing_may_be_tuned_on_the_test_split(tmp_path):
    whole, target = {"workload": "mnist", "out": tmp_path}, "validation_accuracy>=0.9"
    with pytest.raises(InputError, match=r"test split.*--holdout"):
        SweepSettings(**whole, target=Target.parse(target))
    SweepSettings(**whole, target=Target.parse("train_loss<=0.2"))
    held_out = {**whole, "workload": "mnist_holdout10000"}
    assert SweepSettings(**held_out, target=Target.parse(target)).target.value == 0.9


def test_runs_of_fixed_epochs_want_a_holdout_too(tmp_path, capsys):
    words = ["--workload", "mnist", "--epochs", "1", "--out", str(tmp_path / "x")]
    assert "holdout" in refused(words, capsys)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "mnist lies on a disk: say in which folder by --data-root DIR"),
        (["--data-root", "/no/such"], "/no/such: no such folder"),
        (["--data-root", "."], "MNIST/raw/train-images-idx3-ubyte: no such file"),
        (["--holdout", "31000"], "--holdout 31000 (mnist) must be a whole number in 10..30000"),
        (["--holdout", "10000", "--subset", "50001"], "must be at most 50000, the training images"),
        (["--resolution", "29"], "--resolution 29 (mnist) must be a whole number in 4..28"),
        (["--class-list", "x.txt"], "--class-list x.txt: is for imagenet_subset"),
    ],
)
def test_what_is_missing_or_against_a_rule_ends_the_sweep_with_nothing_written(
    words, message, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, "")
    assert message in refused(["--workload", "mnist", "--out", "out", *words], capsys)
    assert list(tmp_path.iterdir()) == []


def test_the_data_root_is_no_part_of_the_study(tmp_path, monkeypatch):
    names = []
    for root in ("/here", "/there"):
        monkeypatch.setenv(VARIABLE, root)
        names.append(SweepSettings(workload="mnist", out=tmp_path).plan.study)
    assert names[0] == names[1]


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A data root with a tree of pictures: six training and two val pictures of three classes."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 2)):
        for name in ("ant", "bee", "cod"):
            folder = tmp_path / "data" / "imagenet" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{name}_{number}.png")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "data"))
    return tmp_path / "data"


def subset_name(tree, *classes, rest="perclass4_resolution8"):
    from surrogate.image_subset import register_class_list

    path = tree.parent / "classes.txt"
    path.write_text("\n".join(classes) + "\n")
    return f"imagenet_subset_list{register_class_list(path)}_{rest}"


def test_an_imagenet_subset_is_decoded_once_written_as_lists_and_mapped(tree):
    name = subset_name(tree, "cod", "ant")
    workload = get_workload(name)
    assert workload.max_batch_size == 8 and workload.evaluated_on == "test"
    workload.check_data()
    data = workload.load()
    assert data.train_images.shape == (8, 3, 8, 8) and data.num_classes == 2
    assert data.train_labels.tolist() == [0, 1] * 4 and len(data.validation_labels) == 4
    folder = tree / "imagenet_subset" / name.removeprefix("imagenet_subset_")
    assert (folder / "classes.txt").read_text() == "cod\nant\n"
    assert (folder / "images.txt").read_text().splitlines()[:2] == [
        "train/cod/cod_0.png", "train/ant/ant_0.png",
    ]  # fmt: skip
    kept = (folder / "train_images.npy").read_bytes()
    (tree / "imagenet").rename(tree / "gone")  # what was decoded needs the pictures no more
    get_workload(name).check_data()
    assert (folder / "train_images.npy").read_bytes() == kept


def test_the_written_lists_choose_the_same_pictures_in_fullscale(tree):
    from fullscale.data.picture_trees import open_picture_tree

    name = subset_name(tree, "cod", "ant")
    get_workload(name).check_data()
    folder = tree / "imagenet_subset" / name.removeprefix("imagenet_subset_")
    chosen = open_picture_tree(
        "image_folder",
        tree / "imagenet",
        classes=folder / "classes.txt",
        images=folder / "images.txt",
    )
    assert np.bincount(chosen.train.labels).tolist() == [4, 4]
    assert len(chosen.validation.labels) == 4


def test_pixels_of_a_subset_are_the_central_square_resized(tree):
    flat = np.full((20, 30, 3), 9, dtype=np.uint8)
    flat[:, 5:25] = 100  # the central 20x20
    for split in ("train", "val"):
        for path in (tree / "imagenet" / split / "bee").iterdir():
            Image.fromarray(flat).save(path)
    name = subset_name(tree, "bee", "ant")
    get_workload(name).check_data()
    folder = tree / "imagenet_subset" / name.removeprefix("imagenet_subset_")
    assert (np.load(folder / "train_images.npy")[0] == 100).all()


def test_a_subset_that_was_cut_short_is_made_anew(tree):
    name = subset_name(tree, "cod", "ant")
    get_workload(name).check_data()
    folder = tree / "imagenet_subset" / name.removeprefix("imagenet_subset_")
    whole = (folder / "train_images.npy").read_bytes()
    (folder / "manifest.json").unlink()
    (folder / "train_images.npy").write_bytes(whole[:50])
    get_workload(name).check_data()
    assert (folder / "train_images.npy").read_bytes() == whole


def test_what_is_wrong_with_a_subset_is_one_line(tree):
    with pytest.raises(InputError, match="needs --class-list FILE"):
        WORKLOADS["imagenet_subset"].check_data()
    with pytest.raises(InputError, match=r"train/cod: has 6 pictures, 7 are wanted"):
        get_workload(subset_name(tree, "cod", "ant", rest="perclass7_resolution8")).check_data()
    with pytest.raises(InputError, match="has no folder 'elk'"):
        get_workload(subset_name(tree, "cod", "elk")).check_data()
    with pytest.raises(InputError, match="--list 7: there is no"):
        get_workload("imagenet_subset_list7")
    (tree / "imagenet" / "val" / "cod" / "cod_1.png").write_bytes(b"x")
    with pytest.raises(InputError, match=r"cod_1\.png: can't be decoded"):
        get_workload(subset_name(tree, "cod", "ant")).check_data()


def test_a_mixtures_best_classifier_errs_as_the_integral_says():
    # Two classes: the means lie 1 apart, the boundary half way.
    np.testing.assert_allclose(bayes_error(num_classes=2, noise=0.4), norm.sf(0.5 / 0.4), rtol=1e-7)
    data = gaussian_mixture_arrays(noise=0.4)
    images = np.concatenate([data.train_images, data.validation_images])[:, 0, 0]
    labels = np.concatenate([data.train_labels, data.validation_labels])
    error = np.mean(images[:, :10].argmax(axis=1) != labels)
    expected = bayes_error(num_classes=10, noise=0.4)
    # Binomial: the standard error of a share of 12,288 is 0.0043; four of them.
    assert abs(error - expected) < 4 * np.sqrt(expected * (1 - expected) / len(labels))


def test_a_mixture_is_the_same_at_every_call_and_takes_its_numbers():
    data = get_workload("gaussian_mixture_dimension8_classes3_noise0.5_subset64").load()
    assert data.train_images.shape == (64, 1, 1, 8) and data.num_classes == 3
    gaussian_mixture_arrays.cache_clear()
    again = gaussian_mixture_arrays(dimension=8, num_classes=3, noise=0.5)
    np.testing.assert_array_equal(again.train_images[:64], data.train_images)
    with pytest.raises(InputError, match="--classes 10 .* must be at most --dimension 8"):
        get_workload("gaussian_mixture_dimension8")


@pytest.mark.slow
@pytest.mark.skipif(not REAL, reason=f"{VARIABLE} is not set")
def test_a_tiny_sweep_of_the_real_mnist_reaches_its_target(tmp_path, capsys):
    words = ["--workload", "mnist", "--subset", "512", "--resolution", "7", "--batch-sizes", "64"]
    words += ["--trials", "4", "--repeats", "1", "--workers", "1", "--target", "train_loss<=0.5"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    assert "mnist_subset512_resolution7-momentum-" in capsys.readouterr().out

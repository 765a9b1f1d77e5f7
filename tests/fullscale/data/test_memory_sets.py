import numpy as np
import pytest

from fullscale.data import mnist
from fullscale.data.image_source import SourceOptions, open_image_source
from models_of_scaling.errors import InputError


def source(name, root, **options):
    return open_image_source(
        name, root=root, image_size=224, seed=0, options=SourceOptions(**options)
    )


def test_mnist_is_read_by_name_with_the_test_split_for_validation(
    tmp_path, write_idx_set, monkeypatch
):
    monkeypatch.setattr(mnist, "OFFICIAL_MD5", {})
    written = write_idx_set(tmp_path / "MNIST" / "raw")
    opened = source("mnist", tmp_path)
    assert (opened.num_train_examples, opened.num_validation_examples) == (60, 20)
    assert opened.image_shape == (1, 6, 6) and opened.num_classes == 10
    images, labels = opened.train_batch(np.array([59, 0]), [0, 1])
    assert labels.tolist() == written["train-labels-idx1-ubyte"][[59, 0]].tolist()
    pixels = written["train-images-idx3-ubyte"].astype(np.float64)
    expected = (pixels[[59, 0]] - pixels.mean()) / pixels.std()
    # Standardised in float32: values of a few units, rounded at 1e-7 of them in two operations.
    np.testing.assert_allclose(images[:, 0].numpy(), expected, rtol=1e-5, atol=1e-6)


def test_files_that_are_not_the_official_ones_are_refused(tmp_path, write_idx_set):
    write_idx_set(tmp_path / "MNIST" / "raw")
    with pytest.raises(InputError, match="is not the official file"):
        source("mnist", tmp_path)


def test_a_missing_root_and_lists_that_do_not_apply_are_refused(tmp_path):
    with pytest.raises(InputError, match="--data.name cifar10 reads its files there"):
        source("cifar10", None)
    with pytest.raises(InputError, match="--data.classes is not for --data.name mnist"):
        source("mnist", tmp_path, classes=tmp_path / "x")


def test_the_trainer_takes_a_set_by_its_name(tmp_path, write_idx_set, monkeypatch):
    from fullscale.fit import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mnist, "OFFICIAL_MD5", {})
    write_idx_set(tmp_path / "MNIST" / "raw")
    words = "--data.name mnist --data.root . --data.global_batch_size 16 --model.name mlp "
    words += "--model.train_duration 2_epochs --data.seed 0"
    main([word.replace("_epochs", " epochs") for word in words.split()])
    trials = list((tmp_path / "runs" / "trials").glob("*.parquet"))
    assert len(trials) == 1

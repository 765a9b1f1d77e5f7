import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from fullscale.data import fashion_mnist, mnist
from fullscale.data.idx_files import read_idx, read_idx_images
from models_of_scaling.errors import InputError

REAL = os.environ.get("BATCH_LIMIT_DATA")


def read(folder, **md5):
    return read_idx_images(folder, name="tiny", md5=md5, how_to_get="make them")


@pytest.mark.parametrize("zipped", [False, True])
def test_images_and_labels_come_back_as_written_plain_or_gzipped(tmp_path, zipped, write_idx_set):
    written = write_idx_set(tmp_path / "raw", zipped=zipped)
    raw = read(tmp_path / "raw")
    assert raw.train_images.shape == (60, 1, 6, 6) and raw.test_labels.dtype == np.int64
    np.testing.assert_array_equal(raw.train_images[:, 0], written["train-images-idx3-ubyte"])
    np.testing.assert_array_equal(raw.test_labels, written["t10k-labels-idx1-ubyte"])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-1], "wants 2,176: damaged or cut off"),
        (lambda content: content + b"\0", "holds 2,177 bytes"),
        (lambda content: content[:10], "damaged or cut off"),
        (lambda content: b"", "begins with the bytes of nothing, not 00000803"),
        (lambda content: b"\0\0\x0d\x03" + content[4:], "begins with the bytes 00000d03"),
    ],
)
def test_a_damaged_file_is_refused_by_its_name_and_the_rule(
    tmp_path, damage, message, write_idx_set
):
    write_idx_set(tmp_path / "raw")
    path = tmp_path / "raw" / "train-images-idx3-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=message) as refused:
        read(tmp_path / "raw")
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


def test_a_gzip_file_that_ends_early_is_refused(tmp_path, idx_bytes):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.zeros(500, np.uint8)))[:-6])
    with pytest.raises(InputError, match=r"x\.gz: not readable"):
        read_idx(path, dimensions=1)


def test_labels_must_match_the_images_in_number_and_range(tmp_path, write_idx_set, idx_bytes):
    write_idx_set(tmp_path / "raw")
    path = tmp_path / "raw" / "train-labels-idx1-ubyte"
    path.write_bytes(idx_bytes(np.zeros(59, np.uint8)))
    with pytest.raises(InputError, match="has 59 labels for 60 images"):
        read(tmp_path / "raw")
    path.write_bytes(idx_bytes(np.full(60, 10, np.uint8)))
    with pytest.raises(InputError, match=r"label 10 is not in 0\.\.9"):
        read(tmp_path / "raw")


def test_a_file_with_another_md5_is_not_the_official_one(tmp_path, write_idx_set):
    write_idx_set(tmp_path / "MNIST" / "raw")
    with pytest.raises(InputError, match="train-images-idx3-ubyte: is not the official file: md5"):
        mnist.read_mnist(tmp_path)


def test_a_missing_file_is_named_with_the_way_to_get_it(tmp_path):
    with pytest.raises(InputError) as refused:
        fashion_mnist.read_fashion_mnist(tmp_path)
    assert "FashionMNIST/raw/train-images-idx3-ubyte: no such file" in str(refused.value)
    assert "torchvision.datasets.FashionMNIST(" in str(refused.value)


@pytest.mark.skipif(not REAL, reason="BATCH_LIMIT_DATA is not set")
@pytest.mark.parametrize("read_set", [mnist.read_mnist, fashion_mnist.read_fashion_mnist])
def test_the_official_files_are_taken(read_set):
    raw = read_set(Path(REAL))
    assert raw.train_images.shape == (60_000, 1, 28, 28) and raw.test_images.shape[0] == 10_000
    assert set(raw.train_labels.tolist()) == set(range(10))

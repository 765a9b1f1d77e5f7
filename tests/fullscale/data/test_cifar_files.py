import hashlib
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from fullscale.data import cifar10, cifar100
from fullscale.data.cifar_files import CifarFile, read_binary, read_pickle
from models_of_scaling.errors import InputError

REAL = os.environ.get("BATCH_LIMIT_DATA")
FILE = CifarFile(name="x", num_examples=6)


@pytest.fixture
def rows():
    """Pixels as in both layouts, shape (6, 3072), and labels."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (6, 3072), dtype=np.uint8), np.arange(6, dtype=np.uint8)


def binary(labels, pixels, *, coarse=False):
    columns = [labels[:, None]] * (1 + coarse)
    if coarse:
        columns[0] = np.zeros_like(columns[0])
    return np.concatenate([*columns, pixels], axis=1).tobytes()


def pickled(content, protocol=2):
    return pickle.dumps(content, protocol=protocol)


def test_the_binary_and_the_pickled_layout_give_the_same_images_and_labels(tmp_path, rows):
    pixels, labels = rows
    (tmp_path / "x.bin").write_bytes(binary(labels, pixels))
    (tmp_path / "y.bin").write_bytes(binary(labels, pixels, coarse=True))
    content = {b"data": pixels, b"labels": labels.tolist(), b"filenames": [b"a.png"] * 6}
    (tmp_path / "x").write_bytes(pickled(content))
    splits = [
        read_binary(tmp_path / "x.bin", FILE, num_classes=10),
        read_binary(tmp_path / "y.bin", FILE, num_classes=10, label_bytes=2),
        read_pickle(tmp_path / "x", FILE, num_classes=10, label_key=b"labels"),
    ]
    for images, found in splits:
        np.testing.assert_array_equal(images, pixels.reshape(6, 3, 32, 32))
        np.testing.assert_array_equal(found, labels)
        assert found.dtype == np.int64


def test_a_pickle_written_before_numpy_2_with_text_keys_is_read(tmp_path, rows):
    pixels, labels = rows
    content = pickled({"data": pixels, "labels": labels.tolist()})
    old = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert old != content
    (tmp_path / "x").write_bytes(old)
    images, _ = read_pickle(tmp_path / "x", FILE, num_classes=10, label_key=b"labels")
    np.testing.assert_array_equal(images.reshape(6, -1), pixels)


class RunsCode:
    def __reduce__(self):
        return os.system, ("touch pickle_ran_this",)


def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").write_bytes(pickled({b"data": RunsCode(), b"labels": []}))
    with pytest.raises(InputError, match=r"asks for \w+\.system, which is not allowed"):
        read_pickle(tmp_path / "x", FILE, num_classes=10, label_key=b"labels")
    assert not (tmp_path / "pickle_ran_this").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no pickle of CIFAR"),
        (b"garbage", "is no pickle of CIFAR"),
        (pickled({b"data": np.zeros((6, 9), np.uint8), b"labels": [0] * 6}), r"not uint8 of \[6"),
        (pickled({b"data": np.zeros((6, 3072), np.uint8)}), "no pickle of CIFAR: b'labels'"),
        (pickled([1, 2]), "is no pickle of CIFAR"),
        (pickled({b"data": np.zeros((6, 3072), np.uint8), b"labels": [0] * 5}), "6 whole numbers"),
        (pickled({b"data": np.zeros((6, 3072), np.uint8), b"labels": [10] * 6}), "label 10 of"),
    ],
)
def test_a_damaged_pickle_is_refused_by_its_name(tmp_path, content, message):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(InputError, match=message) as refused:
        read_pickle(tmp_path / "x", FILE, num_classes=10, label_key=b"labels")
    assert str(tmp_path / "x") in str(refused.value) and "\n" not in str(refused.value)


def test_a_binary_file_is_held_to_its_length_its_labels_and_its_md5(tmp_path, rows):
    pixels, labels = rows
    path = tmp_path / "x.bin"
    content = binary(labels, pixels)
    path.write_bytes(content[:-1])
    with pytest.raises(InputError, match="damaged or cut off"):
        read_binary(path, FILE, num_classes=10)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"label 5 of image 5 is not in 0\.\.4"):
        read_binary(path, FILE, num_classes=5)
    official = CifarFile(name="x", num_examples=6, md5=hashlib.md5(content).hexdigest())
    read_binary(path, official, num_classes=10)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match="is not the official file"):
        read_binary(path, official, num_classes=10)


def test_cifar10_joins_its_training_files_in_order(tmp_path, rows, monkeypatch):
    pixels, labels = rows
    folder = tmp_path / cifar10.BINARY
    folder.mkdir()
    files = tuple(CifarFile(name=each.name, num_examples=6) for each in cifar10.BINARY_FILES)
    monkeypatch.setattr(cifar10, "BINARY_FILES", files)
    for number, file in enumerate(files):
        (folder / file.name).write_bytes(binary(labels, pixels + np.uint8(number)))
    raw = cifar10.read_cifar10(tmp_path)
    assert raw.train_images.shape == (30, 3, 32, 32)
    np.testing.assert_array_equal(raw.train_images[6:12].reshape(6, -1), pixels + np.uint8(1))
    np.testing.assert_array_equal(raw.test_images.reshape(6, -1), pixels + np.uint8(5))


def test_cifar100_takes_the_fine_labels_and_counts_its_classes(tmp_path, rows, monkeypatch):
    pixels, _ = rows
    folder = tmp_path / cifar100.BINARY
    folder.mkdir()
    files = tuple(CifarFile(name=each.name, num_examples=6) for each in cifar100.BINARY_FILES)
    monkeypatch.setattr(cifar100, "BINARY_FILES", files)
    monkeypatch.setattr(cifar100, "NUM_CLASSES", 3)
    fine = np.array([0, 1, 2, 2, 1, 0], np.uint8)
    for file in files:
        (folder / file.name).write_bytes(binary(fine, pixels, coarse=True))
    np.testing.assert_array_equal(cifar100.read_cifar100(tmp_path).train_labels, fine)
    (folder / files[1].name).write_bytes(binary(fine[[0, 1, 2, 2, 1, 1]], pixels, coarse=True))
    with pytest.raises(InputError, match="class 0 has 1 images, not 2"):
        cifar100.read_cifar100(tmp_path)


@pytest.mark.parametrize("read", [cifar10.read_cifar10, cifar100.read_cifar100])
def test_missing_files_are_named_in_both_layouts(tmp_path, read):
    with pytest.raises(InputError) as refused:
        read(tmp_path)
    text = str(refused.value)
    assert "binary version" in text and "torchvision.datasets" in text and "\n" not in text


@pytest.mark.slow
@pytest.mark.skipif(not REAL, reason="BATCH_LIMIT_DATA is not set")
def test_the_official_cifar10_is_taken():
    raw = cifar10.read_cifar10(Path(REAL))
    assert raw.train_images.shape == (50_000, 3, 32, 32)
    assert np.bincount(raw.train_labels).tolist() == [5_000] * 10

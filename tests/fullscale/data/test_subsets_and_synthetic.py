"""Lists of classes and pictures; the head's size; images of noise."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from fullscale.data.image_source import SourceOptions, open_image_source
from models_of_scaling.errors import InputError


def source(name, root, **options):
    return open_image_source(
        name, root=root, image_size=16, seed=3, options=SourceOptions(**options)
    )


def listed(tmp_path, *lines):
    path = tmp_path / "list.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("name", ["image_folder", "tar_shards"])
def test_a_list_of_classes_gives_their_labels_in_its_order(tree, tmp_path, prepare, name):
    root = tree
    if name == "tar_shards":
        root = tmp_path / "out"
        assert prepare(tree, root, "--format", "tar")[0] == 0
    found = source(name, root, classes=listed(tmp_path, "eel", "cat"))
    assert (found.num_classes, found.num_train_examples) == (2, 14)
    _, labels = found.validation_batch(np.arange(8))
    assert sorted(labels.tolist()) == [0] * 4 + [1] * 4
    whole = source("image_folder", tree)
    eels = whole.validation_batch(np.array([8]))[0]
    mine = found.validation_batch(np.flatnonzero(labels.numpy() == 0)[:1])[0]
    torch.testing.assert_close(mine, eels, rtol=0, atol=0)


def test_a_list_of_images_keeps_labels_and_the_split_that_it_does_not_name(tree, tmp_path):
    images = listed(
        tmp_path, "train/eel/eel_train_5.JPEG", "dog/dog_train_0.png", "cat_train_1.JPEG"
    )
    found = source("image_folder", tree, images=images)
    assert (found.num_train_examples, found.num_validation_examples) == (3, 12)
    assert found.num_classes == 3
    assert found.train_batch(np.arange(3), [0, 1, 2])[1].tolist() == [0, 1, 2]
    only_validation = source(
        "image_folder", tree, images=listed(tmp_path, "val/eel/eel_val_0.JPEG")
    )
    assert only_validation.num_train_examples == 21
    assert only_validation.validation_batch(np.arange(1))[1].tolist() == [2]


@pytest.mark.parametrize(
    ("option", "lines", "message"),
    [
        ("classes", ["cat", "fox"], "has no folder 'fox'"),
        ("classes", ["cat", "dog", "cat"], "line 3: 'cat' is in line 1 already"),
        ("classes", ["", "# none"], "the list has no entry"),
        ("images", ["cat/none.JPEG"], "train has no picture 'cat/none.JPEG'"),
        ("images", ["val/cat/cat_train_1.JPEG"], "val has no picture"),
    ],
)
def test_a_wrong_list_is_named(tree, tmp_path, option, lines, message):
    with pytest.raises(InputError, match=message):
        source("image_folder", tree, **{option: listed(tmp_path, *lines)})


def test_a_bare_name_in_two_classes_is_refused(tree, tmp_path):
    for name in ("cat", "dog"):
        (tree / "train" / name / "same.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"several pictures 'same.png'; name the class too"):
        source("image_folder", tree, images=listed(tmp_path, "same.png"))


def test_a_tree_with_one_class_less_than_the_head_is_refused(tree):
    assert source("image_folder", tree, num_classes=3).num_classes == 3
    with pytest.raises(InputError, match=rf"--data.num_classes 4: {tree} has 3 classes"):
        source("image_folder", tree, num_classes=4)
    with pytest.raises(InputError, match=r"--data.num_classes 1000: digits has 10 classes"):
        source("digits", None, num_classes=1000)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("digits", {"num_classes": 0}, "--data.num_classes 0 must be at least 1"),
        ("digits", {"num_examples": 9}, "--data.num_examples 9 is for --data.name synthetic"),
        ("synthetic", {"num_examples": 0}, "--data.num_examples 0 must be at least 1"),
        ("synthetic", {"classes": "x"}, "--data.classes is not for --data.name synthetic"),
        ("tar_shards", {}, "--data.root is missing"),
    ],
)
def test_an_option_that_does_not_apply_is_named(name, options, message):
    with pytest.raises(InputError, match=message):
        source(name, None, **options)


def rewrite(path, change):
    """Change an index's columns and write it back."""
    columns = pq.read_table(path)
    changed = {name: change.get(name, columns[name].to_pylist()) for name in columns.column_names}
    pq.write_table(pa.table(changed, schema=columns.schema), path)


@pytest.fixture
def tars(tree, tmp_path, prepare):
    assert prepare(tree, tmp_path / "out", "--format", "tar", "--examples-per-shard", 6)[0] == 0
    return tmp_path / "out"


def test_a_label_out_of_range_is_named_with_its_row(tars):
    index = tars / "train" / "index.parquet"
    rewrite(index, {"label": [0] * 13 + [3] + [0] * 7})
    with pytest.raises(
        InputError, match=r"index.parquet, row 13 \(dog/.*\): label 3 is not in 0 ... 2"
    ):
        source("tar_shards", tars)


def test_shards_that_are_not_whole_are_named(tars, tree):
    with pytest.raises(InputError, match="the format is tar, not uint8"):
        source("uint8_shards", tars)
    with pytest.raises(InputError, match=r"no manifest.json; `python -m fullscale.data.prepare`"):
        source("tar_shards", tree)
    shard = tars / "train" / "shard-000002.tar"
    shard.rename(tars / "away")
    with pytest.raises(InputError, match=r"there is no .*shard-000002.tar"):
        source("tar_shards", tars)
    (tars / "away").rename(shard)
    opened, whole = source("tar_shards", tars), shard.read_bytes()
    shard.write_bytes(whole[:2000])
    with pytest.raises(InputError, match="the shard ends after"):
        opened.train_batch(np.arange(21), list(range(21)))
    # Half copied: said before the run, not hours into it.
    with pytest.raises(InputError, match=r"shard-000002.tar: 2000 bytes, the index says \d+"):
        source("tar_shards", tars)
    shard.write_bytes(whole)
    (tars / "val" / "index.parquet").unlink()
    with pytest.raises(InputError, match=r"there is no .*val.index.parquet"):
        source("tar_shards", tars)
    (tars / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="not a readable manifest"):
        source("tar_shards", tars)


def test_a_uint8_shard_that_was_cut_is_named(tree, tmp_path, prepare):
    assert prepare(tree, tmp_path / "out", "--format", "uint8", "--size", 16)[0] == 0
    shard = tmp_path / "out" / "train" / "shard-000000.u8"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"shard-000000.u8: \d+ bytes, the index says"):
        source("uint8_shards", tmp_path / "out")


def test_synthetic_images_are_functions_of_their_index():
    found = source("synthetic", None, num_examples=1000, num_classes=7)
    assert (found.num_train_examples, found.num_validation_examples) == (1000, 1000)
    assert (found.num_classes, found.image_shape) == (7, (3, 16, 16))
    images, labels = found.train_batch(np.array([5, 900, 5]), [0, 1, 2])
    assert images.dtype == torch.uint8
    assert labels.tolist() == [5, 900 % 7, 5]
    assert (images[0] == images[2]).all()
    assert (images[0] != images[1]).any()
    again = source("synthetic", None, num_examples=2000).train_batch(np.array([900]), [77])[0]
    assert (again[0] == images[1]).all()
    assert (found.validation_batch(np.array([5]))[0][0] != images[0]).any()
    imagenet = source("synthetic", None)
    assert imagenet.num_train_examples == 1_281_167
    assert imagenet.num_validation_examples == 50_000
    assert imagenet.num_classes == 1000


def test_a_trials_settings_tell_lists_by_their_content_and_only_what_was_chosen(tmp_path):
    assert SourceOptions().choices() == {}
    one, same, other = (tmp_path / f"{number}.txt" for number in range(3))
    one.write_text("a\nb\n"), same.write_text("a\nb\n"), other.write_text("b\na\n")
    told = [SourceOptions(classes=path).choices()["classes"] for path in (one, same, other)]
    assert told[0] == told[1] != told[2]
    chosen = SourceOptions(max_damaged_share=0.01, scaled_decoding=True, num_examples=7).choices()
    assert chosen == {"max_damaged_share": "0.01", "scaled_decoding": "True", "num_examples": "7"}

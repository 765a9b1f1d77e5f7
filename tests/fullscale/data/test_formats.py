"""One tree in every format: the same examples, and other people's libraries read the shards."""

import hashlib
import io
import json
import shutil
import subprocess

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import webdataset
from PIL import Image
from torch.utils.data import DataLoader

from fullscale.batch_layout import BatchLayout
from fullscale.data.image_source import SourceOptions, open_image_source
from fullscale.data.micro_batches import TrainMicroBatches
from models_of_scaling.errors import InputError

LITDATA = pytest.param("litdata", marks=pytest.mark.slow)  # seconds to import
NAMES = {"tar": "tar_shards", "litdata": "litdata", "uint8": "uint8_shards"}


def source(name, root, **options):
    return open_image_source(
        name, root=root, image_size=32, seed=3, options=SourceOptions(**options)
    )


def batches(found):
    rows = np.arange(found.num_train_examples)
    images, labels = found.train_batch(rows, (1000 + rows).tolist())
    return images, labels, *found.validation_batch(np.arange(found.num_validation_examples))


def pixels_of(path, short_side):
    """A picture as the uint8 shards should hold it, by PIL alone."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
        scale = short_side / min(picture.size)
        size = tuple(int(side * scale + 1e-9) for side in picture.size)
        return np.asarray(picture.resize(size, Image.Resampling.BILINEAR))


@pytest.mark.parametrize("format_", ["tar", LITDATA])
def test_a_converted_tree_gives_the_same_batches_bit_for_bit(tree, tmp_path, prepare, format_):
    code, out, err = prepare(tree, tmp_path / "out", "--format", format_, "--examples-per-shard", 4)
    assert (code, err) == (0, "")
    assert "21 training and 12 validation pictures of 3 classes in 9 shards" in out
    want, got = source("image_folder", tree), source(NAMES[format_], tmp_path / "out")
    for one, other in zip(batches(want), batches(got), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert got.image_shape == (3, 32, 32)
    assert got.num_classes == 3


def test_uint8_shards_hold_what_pil_resizes_to_within_rounding(tree, tmp_path, prepare):
    assert prepare(tree, tmp_path / "out", "--format", "uint8", "--size", 48)[0] == 0
    index = pq.read_table(tmp_path / "out" / "train" / "index.parquet").to_pylist()
    raw = np.fromfile(tmp_path / "out" / "train" / "shard-000000.u8", np.uint8)
    assert sum(row["size"] for row in index) == len(raw)
    for row in index:
        assert min(row["height"], row["width"]) == 48
        got = raw[row["offset"] : row["offset"] + row["size"]]
        got = got.reshape(row["height"], row["width"], 3).astype(int)
        # Each of the two passes rounds once, torch's with weights of 16 bits: a level apart each.
        apart = np.abs(got - pixels_of(tree / "train" / row["name"], 48))
        assert apart.max() <= 2
        assert apart.mean() < 0.1
    # At 42 pixels validation wants a short side of 48: nothing but the central cut is left to do.
    found = open_image_source("uint8_shards", root=tmp_path / "out", image_size=42, seed=0)
    of_tree = open_image_source("image_folder", root=tree, image_size=42, seed=0)
    for one, other in zip(
        found.validation_batch(np.arange(12)), of_tree.validation_batch(np.arange(12)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_smaller_tar_holds_smaller_jpegs_of_the_same_pictures(tree, tmp_path, prepare):
    assert prepare(tree, tmp_path / "out", "--format", "tar", "--size", 48)[0] == 0
    want, got = source("image_folder", tree), source("tar_shards", tmp_path / "out")
    one, other = (found.validation_batch(np.arange(12))[0].float() for found in (want, got))
    # Resized twice and compressed once more: alike, not the same. Other pictures differ by 60.
    assert 0 < float((one - other).abs().mean()) < 5


@pytest.mark.parametrize("format_", ["tar", LITDATA, "uint8"])
def test_checksums_and_manifest_say_what_lies_there(tree, tmp_path, prepare, format_):
    out = tmp_path / "out"
    assert prepare(tree, out, "--format", format_, "--examples-per-shard", 5)[0] == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["classes"] == ["cat", "dog", "eel"]
    assert manifest["num_examples"] == {"train": 21, "val": 12}
    for split in ("train", "val"):
        checked = subprocess.run(
            ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=out / split, check=True,
            capture_output=True, text=True,
        )  # fmt: skip
        named = {line.partition(":")[0] for line in checked.stdout.splitlines()}
        assert named == {path.name for path in (out / split).iterdir()} - {"SHA256SUMS"}
        assert set(manifest["shards"][split]) < named


@pytest.mark.parametrize("format_", ["tar", LITDATA, "uint8"])
def test_every_format_goes_through_loader_workers_in_the_same_order(
    tree, tmp_path, prepare, format_
):
    assert prepare(tree, tmp_path / "out", "--format", format_)[0] == 0
    found = source(NAMES[format_], tmp_path / "out")
    layout = BatchLayout(global_batch_size=5, world_size=1, max_per_device_batch_size=5)
    forwards = TrainMicroBatches(found, layout=layout, rank=0, num_steps=6, seed=1)
    first = list(forwards)  # the workers are forked after the files were opened here
    loader = DataLoader(forwards, batch_size=None, sampler=range(len(forwards)), num_workers=2)
    for one, other in zip(first, loader, strict=True):
        for a, b in zip(one, other, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # left open by it
def test_webdataset_reads_our_tars(tree, tmp_path, prepare):
    assert prepare(tree, tmp_path / "out", "--format", "tar", "--examples-per-shard", 6)[0] == 0
    shards = sorted(str(path) for path in (tmp_path / "out" / "train").glob("*.tar"))
    names = pq.read_table(tmp_path / "out" / "train" / "index.parquet")["name"].to_pylist()
    seen = {}
    for item in webdataset.WebDataset(shards, shardshuffle=False):
        (image,) = (item[ending] for ending in ("jpg", "png") if ending in item)
        seen[int(item["__key__"])] = (image, int(item["cls"]))
    assert sorted(seen) == list(range(21))
    for row, (image, label) in seen.items():
        assert image == (tree / "train" / names[row]).read_bytes()
        assert label == ["cat", "dog", "eel"].index(names[row].partition("/")[0])
    # Not one class after the other.
    assert [label for _, label in seen.values()] != sorted(label for _, label in seen.values())


def jpeg(level):
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40), (level, level, level)).save(buffer, "JPEG")
    return buffer.getvalue()


def write_webdataset(root, *, label=lambda number: number % 3):
    for split, count in (("train", 9), ("val", 4)):
        (root / split).mkdir(parents=True)
        pattern = str(root / split / "part-%02d.tar")
        with webdataset.ShardWriter(pattern, maxcount=4, verbose=0) as writer:
            for number in range(count):
                data, kind = jpeg(20 * number), label(number)
                writer.write({"__key__": f"some/key{number}", "jpg": data, "cls": kind})


def test_we_read_webdatasets_tars_once_they_have_an_index(tmp_path, prepare):
    root = tmp_path / "foreign"
    write_webdataset(root)
    with pytest.raises(InputError, match="no manifest.json; .* --format index"):
        source("tar_shards", root)
    before = {path: hashlib.sha256(path.read_bytes()).digest() for path in root.rglob("*.tar")}
    code, out, err = prepare(root, "--format", "index")
    assert (code, err) == (0, "")
    assert "9 training and 4 validation pictures of 3 classes in 4 shards" in out
    found = source("tar_shards", root, num_classes=3)
    images, labels = found.train_batch(np.arange(9), list(range(9)))
    assert labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2]
    assert images[:, 0, 0, 0].tolist() == [20 * number for number in range(9)]
    assert before == {path: hashlib.sha256(path.read_bytes()).digest() for path in before}


def test_a_label_out_of_range_in_foreign_tars_is_named(tmp_path, prepare):
    root = tmp_path / "foreign"
    write_webdataset(root, label=lambda number: 7 if number == 5 else number % 3)
    code, _, err = prepare(root, "--format", "index", "--num-classes", 3)
    assert code == 2
    assert "picture 5 (some/key5): label 7 is not in 0 ... 2" in err
    assert err.count("\n") == 1
    assert not list(root.rglob("*.parquet"))


def _litdata_item(number):
    return {"image": jpeg(20 * number), "label": number % 3}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of litdata's own processes and files
def test_litdata_reads_our_streams_and_we_read_litdatas(tree, tmp_path, prepare):
    from litdata import StreamingDataset, optimize

    assert prepare(tree, tmp_path / "out", "--format", "litdata", "--examples-per-shard", 4)[0] == 0
    stream = StreamingDataset(str(tmp_path / "out" / "train"))
    names = {item["name"]: item for item in (stream[i] for i in range(len(stream)))}
    assert len(stream) == len(names) == 21
    for name, item in names.items():
        assert item["image"] == (tree / "train" / name).read_bytes()
        assert item["label"] == ["cat", "dog", "eel"].index(name.partition("/")[0])
    root = tmp_path / "foreign"
    optimize(
        fn=_litdata_item, inputs=list(range(9)), output_dir=str(root / "train"),
        chunk_size=4, num_workers=1, verbose=False,
    )  # fmt: skip
    shutil.copytree(root / "train", root / "val")  # optimize takes ten seconds
    assert prepare(root, "--format", "index")[0] == 0
    images, labels = source("litdata", root).train_batch(np.arange(9), list(range(9)))
    assert sorted(images[:, 0, 0, 0].tolist()) == [20 * number for number in range(9)]
    assert labels.tolist() == [value // 20 % 3 for value in images[:, 0, 0, 0].tolist()]

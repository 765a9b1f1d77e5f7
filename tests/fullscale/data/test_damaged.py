"""Pictures that can't be decoded: who stands in, who is counted, and when it is too much."""

import re

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from fullscale.batch_layout import BatchLayout
from fullscale.data.damaged import DamagedDataError, DamagedPictures
from fullscale.data.image_source import SourceOptions, open_image_source
from fullscale.data.micro_batches import TrainMicroBatches, ValidationMicroBatches
from fullscale.data.pictures import SKIPPED
from models_of_scaling.errors import InputError


def source(root, share):
    return open_image_source(
        "image_folder", root=root, image_size=16, seed=3,
        options=SourceOptions(max_damaged_share=share),
    )  # fmt: skip


def damage(path):
    path.write_bytes(path.read_bytes()[:200])
    return path


@pytest.fixture
def damaged(tree):
    """One of 21 for training, one of 12 for validation."""
    return (
        damage(tree / "train" / "cat" / "cat_train_2.JPEG"),
        damage(tree / "val" / "dog" / "dog_val_1.JPEG"),
    )


def test_without_a_share_a_damaged_picture_is_an_error_that_names_it(tree, damaged):
    with pytest.raises(InputError, match=f"{re.escape(str(damaged[0]))}: not a readable picture"):
        source(tree, 0.0).train_batch(np.array([2]), [0])
    with pytest.raises(InputError, match=re.escape(str(damaged[1]))):
        source(tree, 0.0).validation_batch(np.arange(12))


@pytest.mark.usefixtures("damaged")
def test_what_stands_in_depends_on_seed_and_position_only(tree):
    positions = list(range(40))
    found = source(tree, 0.1)
    images, labels = found.train_batch(np.full(40, 2), positions)
    # Alone, in reverse, in another process's order: the same at each position.
    for position in reversed(positions):
        image, label = source(tree, 0.1).train_batch(np.array([2]), [position])
        torch.testing.assert_close(image[0], images[position], rtol=0, atol=0)
        assert label[0] == labels[position]
    assert len(set(labels.tolist())) == 3  # any good example, not one and the same


@pytest.mark.usefixtures("damaged")
@pytest.mark.parametrize(("world_size", "limit"), [(1, 7), (2, 3), (3, 1)])
def test_every_world_size_trains_on_the_same_stand_ins(tree, world_size, limit):
    def steps(world_size, limit):
        layout = BatchLayout(
            global_batch_size=7, world_size=world_size, max_per_device_batch_size=limit
        )
        ranks = [
            TrainMicroBatches(source(tree, 0.1), layout=layout, rank=rank, num_steps=6, seed=5)
            for rank in range(world_size)
        ]
        per_step = layout.accumulate_grad_batches
        kept = []
        for step in range(6):
            for rank in ranks:
                for forward in range(step * per_step, (step + 1) * per_step):
                    images, labels, weights = rank[forward]
                    kept.append((images[weights > 0], labels[weights > 0]))
        return [torch.cat(parts) for parts in zip(*kept, strict=True)]

    for one, other in zip(steps(1, 100), steps(world_size, limit), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_damaged_validation_picture_counts_nowhere_and_all_others_once(tree, damaged):
    found = source(tree, 0.1)
    _, labels = found.validation_batch(np.arange(12))
    assert (labels == SKIPPED).nonzero().flatten().tolist() == [5]
    ranks = [
        ValidationMicroBatches(source(tree, 0.1), world_size=5, rank=rank, batch_size=2)
        for rank in range(5)
    ]
    batches = [batch for rank in ranks for batch in rank]
    assert sum(float(weights.sum()) for _, _, weights in batches) == 11
    assert all(int(labels.min()) >= 0 for _, labels, _ in batches)


def test_each_is_named_once_with_its_path_by_all_workers_of_a_process(tree, damaged, capfd):
    layout = BatchLayout(global_batch_size=3, world_size=1, max_per_device_batch_size=3)
    found = source(tree, 0.1)
    forwards = TrainMicroBatches(found, layout=layout, rank=0, num_steps=21, seed=1)  # three epochs
    loader = DataLoader(forwards, batch_size=None, sampler=range(len(forwards)), num_workers=2)
    assert len(list(loader)) == 21
    warnings = [line for line in capfd.readouterr().err.splitlines() if "warning" in line]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"warning: {damaged[0]}: not a readable picture: ")
    assert warnings[0].endswith("; 1 of 21 in train")
    assert found.damaged_train.count == 1


@pytest.mark.usefixtures("damaged")
def test_one_more_than_the_share_is_an_error(tree, capsys):
    damage(tree / "train" / "eel" / "eel_train_0.JPEG")
    source(tree, 0.1).train_batch(np.arange(21), list(range(21)))  # 2 of 21
    damage(tree / "train" / "eel" / "eel_train_6.JPEG")
    with pytest.raises(DamagedDataError, match=r"3 of 21 examples .* 0\.1$"):
        source(tree, 0.1).train_batch(np.arange(21), list(range(21)))
    assert capsys.readouterr().err.count("warning") == 5


@pytest.mark.usefixtures("damaged")
def test_the_error_is_one_line_from_a_loaders_worker_too(tree):
    layout = BatchLayout(global_batch_size=21, world_size=1, max_per_device_batch_size=21)
    forwards = TrainMicroBatches(source(tree, 0.0), layout=layout, rank=0, num_steps=1, seed=1)
    loader = DataLoader(forwards, batch_size=None, sampler=range(len(forwards)), num_workers=1)
    with pytest.raises(DamagedDataError) as caught:
        list(loader)
    assert str(caught.value).startswith(str(tree))
    assert "\n" not in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_a_process_that_sees_little_of_a_large_split_does_not_wait_for_the_whole_share():
    # One of 4,096 workers: 1 % of the whole is 12,811, more than it will ever read.
    found = DamagedPictures(split="train", num_examples=1_281_167, max_share=0.01)
    found.meet(100)
    for index in range(9):  # 1 expected, 4 standard deviations, 4 more
        found.add(index, name="x", reason="y")
    with pytest.raises(DamagedDataError, match="10 of 100 examples"):
        found.add(9, name="x", reason="y")


def test_the_reason_names_no_place_in_memory(tree, capsys):
    (tree / "train" / "cat" / "cat_train_0.JPEG").write_bytes(b"no picture")
    source(tree, 0.1).train_batch(np.array([0]), [0])
    err = capsys.readouterr().err
    assert "cat_train_0.JPEG: not a readable picture: no format of pictures that PIL knows" in err
    assert "0x" not in err


def test_a_file_that_has_gone_is_a_damaged_picture(tree):
    found = source(tree, 0.1)
    (tree / "train" / "cat" / "cat_train_0.JPEG").unlink()
    found.train_batch(np.array([0]), [0])
    assert found.damaged_train.count == 1


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_out_of_range_is_named(tree, share):
    with pytest.raises(InputError, match=r"--data.max_damaged_share .* must be in \[0, 1\)"):
        source(tree, share)

"""Checkpoint files: written whole, found again, and never taken for good where they are not."""

import resource

import pytest
import torch

from fullscale.checkpoints.files import (
    CheckpointError,
    DamagedCheckpointError,
    Header,
    checkpoint_path,
    keep_newest,
    list_checkpoints,
    newest_good,
    read_checkpoint,
    write_checkpoint,
)
from fullscale.checkpoints.identity import first_difference
from fullscale.checkpoints.random_state import (
    collect_random_state,
    draws_random_numbers,
    restore_random_state,
)
from models_of_scaling.errors import InputError

IDENTITY = {"model": "mlp", "seed": 3, "parameters": {"0.weight": [5, 7]}}


def header(steps):
    return Header(steps=steps, evaluation_due=False, status="not_reached", identity=IDENTITY)


def state(steps):
    generator = torch.Generator().manual_seed(steps)
    return {
        "model": {"0.weight": torch.randn(5, 7, generator=generator)},
        "curve": [(1, float("nan"), 0.1), None, "text"],
    }


@pytest.fixture
def folder(tmp_path):
    """Checkpoints after 10, 20 and 30 steps."""
    for steps in (10, 20, 30):
        write_checkpoint(tmp_path / "run", header(steps), state(steps))
    return tmp_path / "run"


def flip_bit(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_what_is_read_is_what_was_written(folder):
    found = read_checkpoint(checkpoint_path(folder, 20))
    assert found.header == header(20)
    assert torch.equal(found.state["model"]["0.weight"], state(20)["model"]["0.weight"])
    assert found.state["curve"][1:] == [None, "text"]


def test_each_flipped_bit_is_noticed(folder):
    """One bit in the mark, the checksum, the header's length, the header, the tensors, the end."""
    path = checkpoint_path(folder, 30)
    whole = path.read_bytes()
    for place in (0, 8, 40, 47, 60, len(whole) // 2, len(whole) - 1):
        flip_bit(path, place)
        with pytest.raises(DamagedCheckpointError):
            read_checkpoint(path)
        path.write_bytes(whole)
    read_checkpoint(path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_file_cut_short_is_noticed(folder, share):
    path = checkpoint_path(folder, 30)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DamagedCheckpointError):
        read_checkpoint(path)


def test_the_newest_sound_one_is_found_with_a_warning_that_names_both(folder):
    assert newest_good(folder)[1] == []
    flip_bit(checkpoint_path(folder, 30), -1)
    found, (line,) = newest_good(folder)
    assert found.header.steps == 20
    assert str(checkpoint_path(folder, 30)) in line
    assert f"{checkpoint_path(folder, 20)} is used instead" in line


def test_a_folder_without_a_sound_one_is_refused_and_without_any_is_a_start(folder, tmp_path):
    assert newest_good(tmp_path / "nothing") == (None, [])
    for path in list_checkpoints(folder):
        path.write_bytes(b"")
    with pytest.raises(InputError, match="no checkpoint is sound"):
        newest_good(folder)


class Planted:
    """Code in a pickle: only an unsafe reader makes one."""


def test_a_checkpoint_that_would_run_code_is_not_loaded(tmp_path):
    path = write_checkpoint(tmp_path, header(1), {"model": Planted()})
    with pytest.raises(DamagedCheckpointError, match="holds more than tensors and plain values"):
        read_checkpoint(path)


def test_the_newest_are_kept_and_what_a_killed_writer_left_goes(folder):
    left = folder / ".step-000000020.ckpt.0badcafe.tmp"
    left.write_bytes(b"half")
    other = folder / "notes.txt"
    other.write_text("mine")
    keep_newest(folder, keep=1, steps=20)
    # 30 is later than the run: not its to delete.
    assert [path.name for path in list_checkpoints(folder)] == [
        "step-000000030.ckpt",
        "step-000000020.ckpt",
    ]
    assert not left.exists()
    assert other.exists()


def test_a_full_disk_is_one_line_and_leaves_the_last_good_one(folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    large = {"model": torch.zeros(100_000)}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(CheckpointError) as raised:
            write_checkpoint(folder, header(40), large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert f"{checkpoint_path(folder, 30)} is the last good one" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, None),
        ({"model": "cnn"}, "model is mlp there and cnn here"),
        ({"seed": 4, "model": "cnn"}, "model is mlp there and cnn here"),
        ({"seed": None}, "seed is 3 there and missing here"),
        ({"parameters": {"0.weight": [5, 8]}}, r"tensor 0.weight has shape [5, 7] there and"),
        ({"parameters": {}}, "tensor 0.weight has shape [5, 7] there and missing here"),
    ],
)
def test_the_first_difference_between_two_runs_is_said(change, words):
    said = first_difference(IDENTITY, IDENTITY | change)
    assert said == words or words in said


def test_draws_go_on_where_the_random_state_was_taken():
    import random

    import numpy as np

    def draw():
        return (
            torch.rand(3).tolist(),
            random.random(),
            np.random.standard_normal(3).tolist(),  # noqa: NPY002 - the global generator is meant
        )

    draw()
    taken = collect_random_state()
    want = draw()
    draw()
    restore_random_state(taken)
    assert draw() == want


def test_dropout_is_known_to_draw_and_a_plain_network_not_to():
    plain = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    assert not draws_random_numbers(plain)
    assert draws_random_numbers(torch.nn.Sequential(plain, torch.nn.Dropout2d()))

"""A reader sees a whole file or none."""

import os
import threading

import pytest

from models_of_scaling.atomic_write import whole_file


def test_nothing_stands_under_the_name_before_the_block_ends(tmp_path):
    path = tmp_path / "new folder" / "record.json"
    with whole_file(path) as stream:
        stream.write(b"half")
        stream.flush()
        assert not path.exists()
    assert path.read_bytes() == b"half"


def test_an_error_leaves_what_was_there_before_and_no_scratch_file(tmp_path):
    path = tmp_path / "record.json"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="No space left"), whole_file(path) as stream:
        stream.write(b"new")
        raise OSError(28, "No space left on device")
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["record.json"]


def test_a_named_pipe_is_written_to_and_stays_one(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    with whole_file(pipe) as stream:
        stream.write(b"bytes")
    reader.join()
    assert read == [b"bytes"] and pipe.is_fifo()


def test_a_link_stays_one_and_what_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    link = tmp_path / "record.json"
    link.symlink_to(tmp_path / "there" / "record.json")
    with whole_file(link) as stream:
        stream.write(b"new")
    assert link.is_symlink() and (tmp_path / "there" / "record.json").read_bytes() == b"new"


def test_an_error_names_the_file_that_was_asked_for(tmp_path):
    with pytest.raises(IsADirectoryError) as refused, whole_file(tmp_path) as stream:
        stream.write(b"new")
    assert refused.value.filename == str(tmp_path)
    assert not list(tmp_path.parent.glob(".*.tmp"))

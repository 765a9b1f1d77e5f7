"""A reader sees a whole file or none."""

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

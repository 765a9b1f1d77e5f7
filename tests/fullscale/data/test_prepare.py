"""The command that converts: kill it, give it wrong input, run it with several workers."""

import hashlib
import os
import signal
import time

import numpy as np
import pytest

from fullscale.data.image_source import SourceOptions, open_image_source


def contents(root):
    """Every file but the lock, by name and hash."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def wait_for(condition, process, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kill_when_stuck(process, out, stuck):
    """Wait until all shards but the stuck one are finished, then kill -9."""
    wait_for(lambda: len(list(out.rglob(".*.finished.json"))) >= stuck, process)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=20)
    process.stdout.close()
    process.stderr.close()


@pytest.mark.slow
@pytest.mark.parametrize(("format_", "workers"), [("uint8", 1), ("tar", 2), ("litdata", 1)])
def test_killed_and_given_again_the_bytes_are_the_same_and_finished_shards_are_kept(
    tree, tmp_path, prepare, start_prepare, format_, workers
):
    flags = ("--format", format_, "--examples-per-shard", 4)
    assert prepare(tree, tmp_path / "undisturbed", *flags)[0] == 0
    # The last validation picture becomes a pipe that nobody writes to: there the command waits.
    last = sorted((tree / "val" / "eel").iterdir())[-1]
    data = last.read_bytes()
    last.unlink()
    os.mkfifo(last)
    out = tmp_path / "killed"
    process = start_prepare(tree, out, *flags, "--workers", workers)
    kill_when_stuck(process, out, stuck=8)
    assert not (out / "manifest.json").exists()
    finished = {note: note.stat().st_mtime_ns for note in out.rglob("*.tar")}
    last.unlink()
    last.write_bytes(data)
    if workers > 1:
        # An orphan notices within half a second; it must not be writing any more.
        time.sleep(1.5)
    code, text, err = prepare(tree, out, *flags)
    assert (code, err) == (0, "")
    assert "(8 were there already)" in text
    assert contents(out) == contents(tmp_path / "undisturbed")
    assert all(path.stat().st_mtime_ns == then for path, then in finished.items())


@pytest.mark.slow
def test_two_workers_write_the_same_bytes_as_one(tree, tmp_path, prepare):
    flags = ("--format", "uint8", "--size", 32, "--examples-per-shard", 4)
    for workers in (1, 2):
        out = tmp_path / str(workers)
        assert prepare(tree, out, *flags, "--workers", workers)[0] == 0
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


def test_a_finished_conversion_is_left_as_it_is_and_another_one_refused(tree, tmp_path, prepare):
    out = tmp_path / "out"
    assert prepare(tree, out, "--format", "tar", "--examples-per-shard", 5)[0] == 0
    before = contents(out)
    code, text, _ = prepare(tree, out, "--format", "tar", "--examples-per-shard", 5)
    assert code == 0
    assert "8 shards (8 were there already)" in text
    code, _, err = prepare(tree, out, "--format", "tar", "--examples-per-shard", 6)
    assert code == 2
    assert err == f"error: DST {out} holds another conversion: examples_per_shard 5, not 6\n"
    (tree / "train" / "cat" / "new.png").write_bytes(b"")
    code, _, err = prepare(tree, out, "--format", "tar", "--examples-per-shard", 5)
    assert (code, err) == (2, f"error: DST {out} holds another conversion: other pictures\n")
    assert contents(out) == before


def damage(tree):
    path = tree / "train" / "dog" / "dog_train_3.JPEG"
    path.write_bytes(path.read_bytes()[:400])
    return path


def test_a_damaged_picture_stops_a_conversion_that_decodes_unless_a_share_is_allowed(
    tree, tmp_path, prepare
):
    damaged = damage(tree)
    out, flags = tmp_path / "out", ("--format", "uint8", "--size", 32)
    code, _, err = prepare(tree, out, *flags)
    assert code == 1
    assert f"error: {damaged}: not a readable picture" in err
    assert "1 of 33 pictures are damaged" in err
    code, text, err = prepare(tree, out, *flags, "--max-damaged-share", 0.05)
    assert code == 0
    assert "21 training" in text  # it keeps its place and stays damaged
    assert err.startswith(f"warning: {damaged}")
    options = SourceOptions(max_damaged_share=0.05)
    found = open_image_source("uint8_shards", root=out, image_size=32, seed=0, options=options)
    found.train_batch(np.arange(21), list(range(21)))
    assert found.damaged_train.count == 1


@pytest.mark.parametrize("format_", ["tar", pytest.param("litdata", marks=pytest.mark.slow)])
def test_a_damaged_file_that_is_copied_stays_what_it_was(tree, tmp_path, prepare, format_):
    damage(tree)
    code, _, err = prepare(tree, tmp_path / "out", "--format", format_)
    assert (code, err) == (0, "")


def test_lists_choose_what_is_converted(tree, tmp_path, prepare):
    classes, images = tmp_path / "classes.txt", tmp_path / "images.txt"
    classes.write_text("eel\ncat\n")
    images.write_text("# two of them\neel/eel_train_1.JPEG\n\ntrain/cat/cat_train_4.JPEG\n")
    flags = ("--format", "tar", "--classes", classes, "--images", images)
    code, text, _ = prepare(tree, tmp_path / "out", *flags)
    assert code == 0
    assert "2 training and 8 validation pictures of 2 classes" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("{tree}", "{out}", "--format", "zip"), "invalid choice: 'zip'"),
        (("{tree}", "{tree}", "--format", "tar"), "DST {tree} must not be SRC"),
        (("{tree}", "--format", "tar"), "DST is missing"),
        (("{tree}", "{out}", "--format", "tar", "--size", "0"), "--size 0 must be at least 1"),
        (("{out}", "{out}/b", "--format", "tar"), "there is no folder {out}/train"),
        (("{tree}", "{out}", "--format", "index"), "--format index takes no destination"),
        (("{tree}", "--format", "index"), "{tree}/train has neither *.tar nor litdata's"),
        (("{tree}", "{tree}/train", "--format", "tar"), "DST {tree}/train holds 'cat' already"),
        (("{tree}", "{out}", "--format", "tar", "--num-classes", "3"), "--num-classes is for"),
        (("{tree}", "{out}", "--format", "tar", "--workers", "-1"), "--workers -1 must be at"),
        (
            ("{tree}", "{out}", "--format", "uint8", "--max-damaged-share", "1"),
            "--max-damaged-share 1.0 must be in [0, 1)",
        ),
        (
            ("{tree}", "{out}", "--format", "tar", "--classes", "{tree}/none"),
            "--data.classes {tree}/none: not a readable list",
        ),
    ],
)
def test_wrong_input_is_one_line_with_exit_code_2(tree, tmp_path, prepare, words, message):
    places = {"tree": tree, "out": tmp_path / "out"}
    if "holds" in message:  # one class is enough to be in the way
        for name in ("dog", "eel"):
            for path in (tree / "train" / name).iterdir():
                path.unlink()
            (tree / "train" / name).rmdir()
            for path in (tree / "val" / name).iterdir():
                path.unlink()
            (tree / "val" / name).rmdir()
    code, out, err = prepare(*(word.format(**places) for word in words))
    assert (code, out) == (2, "")
    assert message.format(**places) in err
    assert err.count("\n") == 1


def test_a_second_conversion_into_the_same_folder_is_refused(tree, tmp_path, prepare):
    import fcntl

    out = tmp_path / "out"
    out.mkdir()
    with (out / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, _, err = prepare(tree, out, "--format", "tar")
    assert (code, err) == (2, f"error: DST {out}: another conversion is writing there\n")


def test_a_full_disk_is_one_line_with_exit_code_1(tree, tmp_path, prepare, monkeypatch):
    from fullscale.data.preparing import convert

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(convert, "write_shard", full)
    code, _, err = prepare(tree, tmp_path / "out", "--format", "tar")
    assert (code, err) == (1, "error: [Errno 28] No space left on device\n")

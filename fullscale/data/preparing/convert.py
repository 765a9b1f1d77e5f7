"""Converting: shards in any number of processes, each finished one kept."""

import fcntl
import json
import multiprocessing
import os
import shutil
import sys
import threading
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fullscale.data.pictures import PictureTree
from fullscale.data.preparing.conversion import Conversion, ShardTask
from fullscale.data.preparing.finished_shards import put_together, read_note, write_note
from fullscale.data.preparing.shard_writers import PrepareError, WrittenShard, write_shard
from fullscale.data.shard_index import MANIFEST, Manifest, read_manifest
from models_of_scaling.atomic_write import whole_file
from models_of_scaling.errors import InputError

_PLAN, _LOCK = ".conversion.json", ".lock"
# How often a worker looks whether the command is still there: it may have been killed.
_WATCH_SECONDS = 0.5


def convert(
    conversion: Conversion, *, workers: int, max_damaged_share: float = 0.0
) -> tuple[Manifest, int]:
    """Convert, or go on where an earlier conversion of the same kind was stopped.

    Args:
        conversion: what to do.
        workers: processes.
        max_damaged_share: of all pictures, that can't be decoded and stay so in the shards.

    Returns:
        The data set; how many of its shards were there already. Too many damaged pictures end in a
        PrepareError.

    Raises:
        InputError: where the source or the destination is wrong.
    """
    if workers < 1:
        raise InputError(f"--workers {workers} must be at least 1")
    if not 0 <= max_damaged_share < 1:
        raise InputError(f"--max-damaged-share {max_damaged_share} must be in [0, 1)")
    tree = conversion.open_source()
    conversion.destination.mkdir(parents=True, exist_ok=True)
    with _only_one(conversion.destination):
        _check_same(conversion, conversion.fingerprint(tree))
        tasks = list(conversion.shards(tree))
        if (conversion.destination / MANIFEST).exists():
            return read_manifest(conversion.destination, of_format=conversion.format), len(tasks)
        _remove_scratch(conversion.destination)
        notes = [read_note(conversion, task) for task in tasks]
        waiting = [task for task, note in zip(tasks, notes, strict=True) if note is None]
        total = sum(len(task.rows) for task in tasks)
        damaged = _Damaged(most=int(max_damaged_share * total), total=total)
        for note in notes:
            if note is not None:
                damaged.add(note.damaged)
        with _progress() as progress:
            bar = progress.add_task("pictures", total=total)
            progress.advance(bar, total - sum(len(task.rows) for task in waiting))
            for written in _each_done(conversion, tree, waiting, workers):
                progress.advance(bar, len(written.columns["row"]))
                damaged.add(written.damaged)
        return put_together(conversion, tree, tasks), len(tasks) - len(waiting)


@dataclass
class _Damaged:
    """Counts and names what can't be decoded, until there are too many.

    Attributes:
        most: that are borne.
        total: pictures of the conversion.
        count: found so far.
    """

    most: int
    total: int
    count: int = 0

    def add(self, lines: list[str]) -> None:
        for line in lines:
            self.count += 1
            print(f"warning: {line}; {self.count} of {self.total:,}", file=sys.stderr)
        if self.count > self.most:
            raise PrepareError(
                f"{lines[-1]}; with it {self.count} of {self.total:,} pictures are damaged, more "
                "than --max-damaged-share allows; finished shards are kept"
            )


@contextmanager
def _only_one(folder: Path) -> Generator[None]:
    """Refuse a second conversion into the same folder at the same time."""
    with (folder / _LOCK).open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"DST {folder}: another conversion is writing there") from error
        yield


def _check_same(conversion: Conversion, fingerprint: str) -> None:
    """Refuse a folder that holds anything else."""
    path = conversion.destination / _PLAN
    if not path.exists():
        others = [each.name for each in conversion.destination.iterdir() if each.name != _LOCK]
        if others:
            raise InputError(f"DST {conversion.destination} holds {others[0]!r} already")
        plan = {"format": conversion.format, **conversion.options(), "fingerprint": fingerprint}
        with whole_file(path) as stream:
            stream.write(json.dumps(plan).encode())
        return
    found = json.loads(path.read_text(encoding="utf-8"))
    wanted = {"format": conversion.format, **conversion.options(), "fingerprint": fingerprint}
    for key, value in wanted.items():
        if found[key] != value:
            what = "other pictures" if key == "fingerprint" else f"{key} {found[key]}, not {value}"
            raise InputError(f"DST {conversion.destination} holds another conversion: {what}")


def _remove_scratch(root: Path) -> None:
    """Remove what a killed conversion left half written."""
    for path in root.glob(".chunk-*"):
        shutil.rmtree(path)
    for path in root.glob("*/.*.tmp"):
        path.unlink()


def _progress() -> Progress:
    """Return a bar on a terminal, nothing elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(
        *columns,
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )


def _each_done(
    conversion: Conversion, tree: PictureTree, waiting: list[ShardTask], workers: int
) -> Iterator[WrittenShard]:
    """Write the shards and yield what is in each."""
    if workers == 1:
        _start_worker(conversion, tree, None)
        for task in waiting:
            yield _write_one(task)
        return
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(conversion, tree, os.getpid()),
    )
    try:
        futures = [pool.submit(_write_one, task) for task in waiting]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise PrepareError("a worker was killed; finished shards are kept") from error
    finally:
        pool.shutdown(cancel_futures=True)


# What a worker works on; set once when it starts.
_work: tuple[Conversion, PictureTree] | None = None


def _start_worker(conversion: Conversion, tree: PictureTree, parent: int | None) -> None:
    global _work  # noqa: PLW0603 - a pool's initializer has no other way
    _work = (conversion, tree)
    if parent is not None:
        torch.set_num_threads(1)
        threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()


def _leave_with(parent: int) -> None:
    """End this process when the command has been killed; its queue would wait for ever."""
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os._exit(1)


def _write_one(task: ShardTask) -> WrittenShard:
    assert _work is not None
    conversion, tree = _work
    written = write_shard(conversion, task, dict(tree.splits)[task.split])
    write_note(conversion, task, written)
    return written

"""Keeps a sweep's trials as one small record of `paper/results/sweeps`: a file a study.

    python paper/collect_sweep.py SWEEP --out paper/results/sweeps/digits_momentum.parquet \
        --command 'python -m surrogate.sweep --workload digits --out SWEEP'

SWEEP is the folder that the sweep wrote, or its `trials`. Every trial is kept with all its columns,
the diverged and the slow ones too, so `models_of_scaling fit` reads the record as it reads the
folder and fits the same rows to the last digit (tested). Only curves are thinned, and repeats keep
theirs whole: of all other trials an octave keeps its last evaluation, beside the first and the last
of the run, the first that met the target and the one before that. A target asked of the record
afterwards is so met between evaluations up to an octave apart, but by repeats.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from models_of_scaling.atomic_write import whole_file
from models_of_scaling.errors import InputError
from models_of_scaling.fitting import Bools
from models_of_scaling.quantities import Floats
from models_of_scaling.steps_to_target import CURVE_COLUMNS
from models_of_scaling.study_source import sha256_of
from models_of_scaling.targets import Target
from models_of_scaling.trials import read_trials

RESULTS: Final = Path(__file__).parent / "results"
FILE_TABLE: Final = "| file | rows | sha256 |"
SWEEP_TABLE: Final = "| sweep | trials, examples, run time | device, commit | command |"
THINNED: Final = "whole for repeats; else one evaluation an octave, first, last, target met, before"
_METRIC_COLUMN: Final = "curve_{metric}"


def kept_evaluations(steps: Floats, met: Bools) -> list[int]:
    """Return which evaluations of a thinned curve stay.

    Args:
        steps: of each evaluation, increasing.
        met: whether the target held there.

    Returns:
        Their numbers, increasing.
    """
    if not len(steps):
        return []
    octave = np.floor(np.log2(np.maximum(steps, 1)))
    keep = np.append(np.diff(octave) > 0, True)
    keep[0] = True
    if met.any():
        first = int(met.argmax())
        keep[[max(first - 1, 0), first]] = True
    return [int(number) for number in np.flatnonzero(keep)]


def thinned(table: pa.Table) -> pa.Table:
    """Return the trials with thinned curves, everything else as it was.

    Args:
        table: of `trials.TRIAL_SCHEMA`.

    Returns:
        As many rows.
    """
    lists = {name: table[name].to_pylist() for name in CURVE_COLUMNS}
    phases, targets = table["phase"].to_pylist(), table["target"].to_pylist()
    for row, (phase, words) in enumerate(zip(phases, targets, strict=True)):
        if phase == "repeat":
            continue
        target = Target.parse(words)
        curve = lists[_METRIC_COLUMN.format(metric=target.metric)][row]
        values = np.array(curve or (), dtype=float)
        met = values >= target.value if target.direction == ">=" else values <= target.value
        keep = kept_evaluations(np.array(lists["curve_steps"][row] or (), dtype=float), met)
        for column in lists.values():
            column[row] = [column[row][number] for number in keep]
    for name, column in lists.items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, pa.array(column, type=table.schema.field(name).type))
    return table


def one_study(table: pa.Table, study: str | None, *, where: Path) -> pa.Table:
    """Return the trials of one study.

    Args:
        table: of `trials.TRIAL_SCHEMA`.
        study: its name or the beginning of it; None where the folder holds only one.
        where: the folder, for messages.

    Returns:
        The chosen rows.

    Raises:
        InputError: where that is no study or several.
    """
    names = sorted(str(name) for name in pc.unique(table["study"]).to_pylist())
    chosen = [name for name in names if study is None or name.startswith(study)]
    chosen = [study] if study in chosen else chosen
    if len(chosen) != 1:
        raise InputError(
            f"{where}: --study {study or 'not given'} must choose one of {', '.join(names)}"
        )
    return table.filter(pc.equal(table["study"], chosen[0]))


def check_whole(table: pa.Table, *, where: Path) -> None:
    """Refuse a sweep that is not done.

    Args:
        table: of one study.
        where: the folder, for messages.

    Raises:
        InputError: naming the batch sizes at which a search found something to repeat and nobody
            did. Where no trial reached the target there is nothing to repeat.
    """
    done = set(table.filter(pc.equal(table["phase"], "repeat"))["batch_size"].to_pylist())
    lengths = [dict(words or ()).get("epochs", "") for words in table["settings"].to_pylist()]
    found = {
        size
        for size, status, epochs in zip(
            table["batch_size"].to_pylist(), table["status"].to_pylist(), lengths, strict=True
        )
        if status == "reached" or epochs
    }
    if missing := sorted(found - done):
        raise InputError(
            f"{where}: the sweep is not done: no repeats at batch size "
            f"{', '.join(f'{size:,}' for size in missing)}"
        )


def write_record(table: pa.Table, path: Path, *, command: str) -> None:
    """Write one record, a file of `trials.TRIAL_SCHEMA` whose metadata say how it was made.

    Args:
        table: of one study, thinned.
        path: of the file.
        command: that ran the sweep.
    """
    metadata = {**(table.schema.metadata or {}), b"curves": THINNED, b"command": command}
    floats = [f"{name}.list.element" for name in CURVE_COLUMNS if name != "curve_steps"]
    with whole_file(path) as stream:
        pq.write_table(
            table.replace_schema_metadata(metadata),
            stream,
            compression="zstd",
            compression_level=19,
            use_dictionary=[name for name in table.column_names if name not in CURVE_COLUMNS],
            # Single precision in double: the bytes side by side take half of the place.
            column_encoding=dict.fromkeys(floats, "BYTE_STREAM_SPLIT"),
        )


def dictionary_rows(table: pa.Table, path: Path, *, name: str, command: str) -> dict[str, str]:
    """Return what the data dictionary says of a record.

    Args:
        table: its trials.
        path: of the record.
        name: of the record in the dictionary.
        command: that ran the sweep.

    Returns:
        A table's head to the row to add to it.
    """
    seconds, examples = (pc.sum(table[column]).as_py() for column in ("wall_time_s", "examples"))
    day = min(table["start_time"].to_pylist()).date()
    made = [", ".join(sorted(set(table[column].to_pylist()))) for column in ("device", "commit")]
    commits = re.sub(r"\b([0-9a-f]{7})[0-9a-f]{33}\b", r"\1", made[1])
    return {
        FILE_TABLE: f"| `{name}` | {len(table)} | `{sha256_of(path)}` |",
        SWEEP_TABLE: f"| `{name}` | {len(table):,}, {examples:.3g}, {seconds / 60:.1f} min "
        f"| {made[0]}, {commits}, {day} | `{command}` |",
    }


def with_rows(text: str, rows: dict[str, str]) -> str:
    """Return the data dictionary with rows added at the ends of its tables.

    Args:
        text: of the dictionary.
        rows: a table's head to its new row.

    Returns:
        The text, unchanged where a row stands there already.

    Raises:
        InputError: where another row of that file stands there: records are never edited.
    """
    lines = text.split("\n")
    for head, row in rows.items():
        if head not in lines:
            raise InputError(f"the dictionary has no table that begins with {head}")
        begin = end = lines.index(head)
        while end < len(lines) and lines[end].startswith("|"):
            end += 1
        first = row.split("|")[1]
        known = [line for line in lines[begin:end] if line.split("|")[1] == first]
        if known and known != [row]:
            raise InputError(f"{first.strip()} stands in the dictionary with other content")
        if not known:
            lines.insert(end, row)
    return "\n".join(lines)


def collect(folder: Path, out: Path, *, study: str | None, command: str, results: Path) -> str:
    """Write a sweep's record and its rows of the data dictionary.

    Args:
        folder: of the sweep.
        out: the record's path, in `results`.
        study: which, where the folder holds several.
        command: that ran the sweep.
        results: the folder that holds `README.md`, the dictionary.

    Returns:
        What was done, in words.

    Raises:
        InputError: one line that names the file or flag.
    """
    trials = folder / "trials" if (folder / "trials").is_dir() else folder
    table = one_study(read_trials(trials), study, where=folder)
    check_whole(table, where=folder)
    table = thinned(table)
    if out.suffix != ".parquet" or not out.resolve().is_relative_to(results.resolve()):
        raise InputError(f"--out {out}: must be a .parquet file below {results}")
    if out.exists():
        raise InputError(f"--out {out}: exists, and records are never edited")
    write_record(table, out, command=command)
    name = out.resolve().relative_to(results.resolve()).as_posix()
    dictionary = results / "README.md"
    rows = dictionary_rows(table, out, name=name, command=command)
    try:
        added = with_rows(dictionary.read_text(encoding="utf-8"), rows)
    except InputError:
        out.unlink()
        raise
    with whole_file(dictionary) as stream:
        stream.write(added.encode())
    return f"{out}: {len(table):,} trials, {out.stat().st_size:,} bytes\n" + "\n".join(
        rows.values()
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Collect one study."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="SWEEP")
    parser.add_argument("--out", type=Path, required=True, metavar="RECORD.parquet")
    parser.add_argument("--study", help="name of the study, or its beginning: digits-momentum")
    parser.add_argument("--command", required=True, help="that ran the sweep, for the dictionary")
    parser.add_argument("--results", type=Path, default=RESULTS, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    try:
        print(
            collect(
                asked.folder,
                asked.out,
                study=asked.study,
                command=asked.command,
                results=asked.results,
            )
        )
    except InputError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()

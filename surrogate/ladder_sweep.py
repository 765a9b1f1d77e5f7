"""One command sweeps a ladder: `--ladder subset=64,128,256 --ladder width=16,32`, crossed.

Every rung is a sweep of its own, with the name, the study and the files that it would have if it
were swept alone, all in one folder; `python -m surrogate.ladder_rows DIR` tables them.
"""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from models_of_scaling.errors import InputError
from surrogate.run_sweep import MakeWorkers, SweepSettings, run_sweep
from surrogate.rungs import rung_name, values_of_name


def parse_ladders(texts: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """Return the values of each ladder.

    >>> parse_ladders(["subset=64,128", "width=16"])
    {'subset': (64.0, 128.0), 'width': (16.0,)}

    Args:
        texts: each `NAME=A,B,C`.

    Returns:
        Values by parameter, in their order.

    Raises:
        InputError: naming the flag, the text and the rule.
    """
    ladders: dict[str, tuple[float, ...]] = {}
    for text in texts:
        name, equals, listed = text.partition("=")
        try:
            values = tuple(float(each) for each in listed.split(","))
        except ValueError:
            values = ()
        if not name or not equals or not values or not all(map(math.isfinite, values)):
            raise InputError(f"--ladder {text!r} is not a list such as subset=64,128,256")
        if len(set(values)) < len(values):
            raise InputError(f"--ladder {text!r}: a value is given twice")
        if name in ladders:
            raise InputError(f"--ladder {text!r}: {name} has a ladder already")
        ladders[name] = values
    return ladders


def rung_names(workload: str, ladders: Mapping[str, Sequence[float]]) -> tuple[str, ...]:
    """Return the name of every rung of crossed ladders.

    >>> rung_names("digits_width16", {"subset": (64, 128)})
    ('digits_subset64_width16', 'digits_subset128_width16')

    Args:
        workload: a workload's name; its parameters hold for all rungs.
        ladders: values by parameter.

    Returns:
        Names, the last ladder's values changing fastest.

    Raises:
        InputError: where a value breaks its rule, or a parameter is set twice.
    """
    base, fixed = values_of_name(workload)
    for name in ladders:
        if name in fixed:
            raise InputError(f"--ladder {name}: --{name} {fixed[name]:g} is given too")
    return tuple(
        rung_name(base, {**fixed, **dict(zip(ladders, values, strict=True))})
        for values in itertools.product(*ladders.values())
    )


def rung_settings(settings: SweepSettings, ladders: Sequence[str]) -> tuple[SweepSettings, ...]:
    """Return the sweep of every rung, all checked before the first one runs.

    Args:
        settings: what holds for all.
        ladders: as the command line has them.

    Returns:
        Settings, one for each rung; a value against its rule ends in an InputError.
    """
    names = rung_names(settings.workload, parse_ladders(ladders))
    return tuple(replace(settings, workload=name) for name in names)


def run_ladder(
    rungs: Sequence[SweepSettings], *, workers: MakeWorkers | None, as_json: bool
) -> int:
    """Sweep the rungs one after the other.

    Args:
        rungs: of `rung_settings`. What was finished before is not run again.
        workers: makes the workers of a rung; None for processes of this machine.
        as_json: print one JSON array at the end, not a line for each rung.

    Returns:
        The exit code, 0; what goes wrong is raised as by `run_sweep`.
    """
    summaries = []
    for rung in rungs:
        summaries.append(run_sweep(rung, progress=True, workers=workers))
        if not as_json:
            print(summaries[-1].in_words(), flush=True)
    if as_json:
        print(json.dumps([asdict(summary) for summary in summaries], default=str))
    return 0

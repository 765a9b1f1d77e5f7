"""Sweep a workload over batch sizes: python -m surrogate.sweep --workload digits --out DIR."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict

from models_of_scaling.command_line import run_command
from surrogate.active.sweep import DesignSummary, run_active_sweep
from surrogate.ladder_sweep import run_ladder
from surrogate.run_sweep import SweepFailedError, SweepSummary, run_sweep
from surrogate.study_record import other_studies_in_words
from surrogate.sweep_arguments import next_command, read_arguments, sweep_parser


def _run(argv: Sequence[str] | None) -> int:
    asked = read_arguments(sweep_parser(__doc__ or "").parse_args(argv))
    if asked.dry_run:
        from surrogate.dry_run import estimate_sweep

        if asked.settings.gpus:  # timed where a process of the sweep would train
            os.environ["CUDA_VISIBLE_DEVICES"] = asked.settings.gpus[0]
        estimate = estimate_sweep(asked.settings)
        print(json.dumps(asdict(estimate)) if asked.as_json else estimate.in_words())
        return 0
    if note := other_studies_in_words(asked.settings):
        print(note, file=sys.stderr)
    try:
        if asked.rungs:
            return run_ladder(asked.rungs, workers=asked.workers, as_json=asked.as_json)
        if asked.design is not None:
            summary: SweepSummary | DesignSummary = run_active_sweep(
                asked.settings, asked.design, progress=True, say=_say, workers=asked.workers
            )
        else:
            summary = run_sweep(asked.settings, progress=True, workers=asked.workers)
    except SweepFailedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if asked.as_json:
        print(json.dumps(asdict(summary), default=str))
    else:
        print(summary.in_words(), next_command(asked.settings), sep="\n")
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `--help`."""
    return run_command(lambda: _run(argv))


if __name__ == "__main__":
    sys.exit(main())

"""Sweep a workload over batch sizes: python -m surrogate.sweep --workload digits --out DIR."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from models_of_scaling.command_line import run_command
from surrogate.active_sweep import DesignSummary, pop_design, run_active_sweep
from surrogate.run_sweep import SweepFailedError, SweepSummary, run_sweep
from surrogate.sweep_flags import pop_settings, sweep_parser


def _run(argv: Sequence[str] | None) -> int:
    arguments = vars(sweep_parser(__doc__).parse_args(argv))
    design, settings = pop_design(arguments), pop_settings(arguments)
    summary: SweepSummary | DesignSummary
    try:
        if design is None:
            summary = run_sweep(settings, progress=True)
        else:
            summary = run_active_sweep(settings, design, progress=True, say=_say)
    except SweepFailedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    as_json = arguments["json"]
    print(json.dumps(asdict(summary), default=str) if as_json else summary.in_words())
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `--help`."""
    return run_command(lambda: _run(argv))


if __name__ == "__main__":
    sys.exit(main())

"""Sweep a workload over batch sizes: python -m surrogate.sweep --workload digits --out DIR."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from models_of_scaling.command_line import run_command
from surrogate.ladder_sweep import run_ladder, rung_settings
from surrogate.run_sweep import SweepFailedError, run_sweep
from surrogate.sweep_flags import pop_settings, sweep_parser


def _run(argv: Sequence[str] | None) -> int:
    arguments = vars(sweep_parser(__doc__).parse_args(argv))
    ladder = arguments.pop("ladder")
    settings = pop_settings(arguments)
    try:
        if ladder:
            return run_ladder(rung_settings(settings, ladder), as_json=arguments["json"])
        summary = run_sweep(settings, progress=True)
    except SweepFailedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    as_json = arguments["json"]
    print(json.dumps(asdict(summary), default=str) if as_json else summary.in_words())
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `--help`."""
    return run_command(lambda: _run(argv))


if __name__ == "__main__":
    sys.exit(main())

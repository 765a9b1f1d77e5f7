"""How a sweep stands: python -m surrogate.status DIR, while it runs or afterwards."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from models_of_scaling.command_line import OneLineParser, run_command
from surrogate.study_status import StudyStatus, read_status, status_in_words


def _run(argv: Sequence[str] | None) -> int:
    parser = OneLineParser(prog="python -m surrogate.status", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR", help="--out of the sweep")
    parser.add_argument("--json", action="store_true", help="print a JSON array of studies")
    arguments = parser.parse_args(argv)
    studies: list[StudyStatus] = read_status(arguments.folder)
    if arguments.json:
        print(json.dumps([asdict(each) for each in studies]))
    else:
        print("\n\n".join(status_in_words(each) for each in studies))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `--help`.

    Args:
        argv: the arguments; those of the process when None.

    Returns:
        The exit code.
    """
    return run_command(lambda: _run(argv))


if __name__ == "__main__":
    sys.exit(main())

"""Several runs of the trainer in the same processes: importing Lightning costs more than they do.

Started by torchrun; argv[1] is a JSON file of run name to flags, beside which `<name>.code.<rank>`
is written.
"""

import json
import os
import resource
import sys
from pathlib import Path

from fullscale.fit import main


def run(flags: list[str]) -> int:
    try:
        return main(flags)
    except SystemExit as left:
        return int(left.code or 0)


runs = Path(sys.argv[1])
for name, flags in json.loads(runs.read_text(encoding="utf-8")).items():
    code = run(flags)
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (runs.parent / f"{name}.peak_kib.{os.environ.get('RANK', '0')}").write_text(str(peak_kib))
    (runs.parent / f"{name}.code.{os.environ.get('RANK', '0')}").write_text(str(code))

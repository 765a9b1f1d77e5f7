"""How the critical batch size grows as the target gets harder: B_crit(L) = B_* / L^p (Kaplan 2020).

Read from the curves of the same runs, so hyper-parameters are those tuned for the hardest target.
"""

from collections.abc import Sequence
from typing import Any

from paper.numbers.quoted import LEVEL, Quoted, direction, quoted
from paper.numbers.sweep_records import Sweep, optimizer_title, workload_title


def exponent_of(sweep: Sweep) -> Quoted | None:
    """Return the power by which B_crit grows as the loss falls; None without a law.

    Args:
        sweep: with its targets.
    """
    if sweep.targets is None or sweep.targets.law is None:
        return None
    used = sum(point.is_used for point in sweep.targets.points)
    return quoted(sweep.targets.law.exponent(level=LEVEL), used, of="targets", nothing=0.0)


def target_numbers(sweeps: Sequence[Sweep]) -> dict[str, Any]:
    """Return the paragraph's numbers.

    Args:
        sweeps: all.
    """
    rows = []
    for sweep in sweeps:
        power = exponent_of(sweep)
        if power is None:
            continue
        law = sweep.targets.law if sweep.targets is not None else None
        assert law is not None
        rows.append({
            "workload": workload_title(sweep.file.workload),
            "optimizer": optimizer_title(sweep.file.optimizer),
            "power": power.as_json(),
            "word": direction(power, 0.0, ("grows", "shrinks", "not told from constant")),
            "easiest": f"{law.losses[0]:.2g}",
            "hardest": f"{law.losses[-1]:.2g}",
        })
    return {
        "rows": rows,
        "of": len(rows),
        "workloads": len({row["workload"] for row in rows}),
        "grows": sum(row["word"] == "grows" for row in rows),
        "shrinks": sum(row["word"] == "shrinks" for row in rows),
        "untold": sum(row["word"] == "not told from constant" for row in rows),
    }

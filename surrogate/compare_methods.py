"""Which method pays at which batch size: python -m surrogate.compare_methods --plot methods.svg.

For each method of the noisy quadratic model (docs/simulator.md): its fewest steps and its fewest
examples, each at any batch size, and its critical batch size, where it needs twice as many steps,
read off a straight line between batch sizes in logarithms.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from models_of_scaling.atomic_write import whole_file
from models_of_scaling.command_line import OneLineParser, run_command
from models_of_scaling.commands.picture_file import add_picture_file, check_picture_file
from models_of_scaling.errors import InputError
from surrogate.simulator.forecast import Forecast, forecast
from surrogate.simulator.spectrum_flags import add_spectrum_flags, pop_spectrum

_BATCH_SIZES = tuple(4**power for power in range(10))
# What is compared, and how it is asked for.
_COMPARED: dict[str, dict[str, Any]] = {
    "SGD": {"method": "sgd"},
    "SGD, gradients 4 steps late": {"method": "sgd", "gradient_delay": 4},
    "SGD, 10 falling rates": {"method": "schedule", "pieces": 10},
    "SGD, averaged": {"method": "averaged"},
    "SGD, preconditioned by h^-1/2": {"method": "sgd", "preconditioning": 0.5},
    "momentum": {"method": "momentum"},
    "Nesterov": {"method": "nesterov"},
    "momentum, preconditioned by h^-1/2": {"method": "preconditioned"},
}


@dataclass(frozen=True, kw_only=True)
class _Summary:
    """A method's ends and its knee; `critical_batch_size` None lies below the smallest."""

    method: str
    min_steps: int
    min_examples: int
    critical_batch_size: float | None

    def in_words(self) -> str:
        """Return a row of a Markdown table, to four and three digits."""
        examples = f"{float(f'{self.min_examples:.4g}'):,.0f}"
        critical = "below the smallest"
        if self.critical_batch_size is not None:
            critical = f"{float(f'{self.critical_batch_size:.3g}'):,.0f}"
        return f"| {self.method} | {self.min_steps:,} | {examples} | {critical} |"


def _summary(name: str, steps: Sequence[int], batch_sizes: Sequence[int]) -> _Summary:
    """Return a method's fewest steps, fewest examples and critical batch size."""
    most = int(np.argmin(steps))
    log_ratio = np.log(np.asarray(steps, dtype=np.float64) / (2 * steps[most]))
    # The last batch size that needs more than twice the fewest steps, and the next.
    above = np.flatnonzero(log_ratio[: most + 1] > 0)
    critical = None
    if len(above):
        at = int(above[-1])
        share = float(log_ratio[at] / (log_ratio[at] - log_ratio[at + 1]))
        critical = batch_sizes[at] * (batch_sizes[at + 1] / batch_sizes[at]) ** share
    return _Summary(
        method=name,
        min_steps=steps[most],
        min_examples=min(b * s for b, s in zip(batch_sizes, steps, strict=True)),
        critical_batch_size=critical,
    )


def _steps(question: Forecast) -> list[int]:
    rows = forecast(question)
    for row in rows:
        if not row["reached"]:
            raise InputError(
                f"--target-risk {question.target_risk:g}: {question.method} needs more than "
                f"{question.max_steps} steps at batch size {row['batch_size']}"
            )
    return [int(str(row["steps"])) for row in rows]


def _run(argv: Sequence[str] | None) -> None:
    parser = OneLineParser(
        prog="python -m surrogate.compare_methods",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_spectrum_flags(parser, default_sizes="1, 4, ... 4^9")
    add_picture_file(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = vars(parser.parse_args(argv))
    picture_format = check_picture_file(arguments["plot"])
    asked = pop_spectrum(arguments, default_sizes=_BATCH_SIZES)
    sizes = sorted(asked["batch_sizes"])
    if len(sizes) < 2:
        raise InputError("--batch-sizes must be two at least: a curve is compared")
    asked["batch_sizes"] = sizes
    curves = {name: _steps(Forecast(**{**asked, **words})) for name, words in _COMPARED.items()}
    rows = [_summary(name, steps, sizes) for name, steps in curves.items()]
    if arguments["plot"] is not None:
        from models_of_scaling.plots.methods import methods_picture

        picture = methods_picture(sizes, curves, picture_format=picture_format)
        with whole_file(arguments["plot"]) as stream:
            stream.write(picture)
    if arguments["json"]:
        print(json.dumps([asdict(row) for row in rows]))
    else:
        print(
            "| method | fewest steps | fewest examples | critical batch size |\n|---|---|---|---|"
        )
        print("\n".join(row.in_words() for row in rows))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `--help`."""
    return run_command(lambda: _run(argv))


if __name__ == "__main__":
    sys.exit(main())

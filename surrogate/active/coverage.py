"""Active designs on curves whose truth is known: python -m surrogate.active.coverage hyperbola.

Each seed is the noise of one study (`noise_model`), measured by the full grid and by an active
design. Told are the widths, what they cost, and how often each interval holds the truth: a 90 %
interval should in nine of ten.
"""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models_of_scaling.command_line import OneLineParser, run_command
from models_of_scaling.errors import InputError
from models_of_scaling.intervals import Interval
from models_of_scaling.law_fit import FitChoice, fit_laws
from surrogate.active.actions import Effort
from surrogate.active.comparison import Comparison, FullGrid, compare, summary_in_words
from surrogate.active.noise_model import ACTIVE_RATES, FULL_RATES, NoisyCurve
from surrogate.active.question import Question
from surrogate.noisy_quadratic import power_law_spectrum
from surrogate.simulator.methods import METHODS
from surrogate.simulator.optimum import optimal_steps

# As on digits: of log steps, what a search of 64 trials leaves, and what one seed adds.
_TUNING_NOISE, _SEED_NOISE = 0.05, 0.13
_FULL, _MOST = Effort(trials=64, repeats=5), Effort(trials=128, repeats=20)
_CRITICAL: Final = Question(name="critical_batch_size")
_NO_BUDGET: Final = 10**9


@dataclass(frozen=True, kw_only=True)
class KnownCurve:
    """Steps to target without noise.

    Attributes:
        steps: by batch size, increasing.
        critical_batch_size: where twice the fewest steps of any batch size are needed.
    """

    steps: Mapping[int, float]
    critical_batch_size: float


def digits_hyperbola() -> KnownCurve:
    """Return a hyperbola like that of the digits, up to 1,024."""
    sizes = (2**power for power in range(11))
    return KnownCurve(
        steps={size: 25.0 * (1 + 120.0 / size) for size in sizes}, critical_batch_size=120.0
    )


def simulated_curve() -> KnownCurve:
    """Return the simulator's fewest steps with momentum: 300 modes, curvature exponent 1.1."""
    sizes = tuple(2**power for power in range(4, 19))
    spectrum = power_law_spectrum(num_modes=300, curvature_exponent=1.1)
    *found, largest = optimal_steps(spectrum, (*sizes, 2**24), 0.01, METHODS["momentum"])
    steps = {each.batch_size: float(each.steps) for each in found}
    # Between two batch sizes a straight line in logs; turned round, as the steps fall.
    log_sizes, log_steps = (np.log([*reversed(x)]) for x in (list(steps), list(steps.values())))
    critical = float(np.exp(np.interp(math.log(2 * largest.steps), log_steps, log_sizes)))
    return KnownCurve(steps=steps, critical_batch_size=critical)


CURVES: Final[Mapping[str, Callable[[], KnownCurve]]] = {
    "hyperbola": digits_hyperbola,
    "simulator": simulated_curve,
}


def compare_on_curve(
    curve: KnownCurve, seed: int, *, share: float, choice: FitChoice
) -> Comparison:
    """Compare the full grid with an active design, both with the same noise.

    Args:
        curve: what is measured.
        seed: of the noise.
        share: of the grid's cost that the design may spend.
        choice: how laws are fitted.

    Returns:
        The comparison, of the critical batch size.
    """

    def noisy(rates: tuple[float, float]) -> NoisyCurve:
        return NoisyCurve(
            steps=curve.steps,
            tuning_noise=_TUNING_NOISE,
            seed_noise=_SEED_NOISE,
            rates=rates,
            seed=seed,
        )

    sizes = tuple(curve.steps)
    rows, cells = noisy(FULL_RATES).measure(_FULL, sizes)
    grid = FullGrid(
        seed=seed,
        interval=_CRITICAL.interval(fit_laws(rows, choice)),
        examples=sum(cell.examples for cell in cells),
        batch_sizes=sizes,
        max_steps=(_NO_BUDGET,) * len(sizes),
    )
    measure = noisy(ACTIVE_RATES).measure
    return compare(grid, measure, (_FULL, _MOST), _CRITICAL, share=share, choice=choice)


def share_that_holds(intervals: Sequence[Interval], truth: float) -> tuple[float, float]:
    """Return which share of intervals holds the truth, and the share's standard error.

    Args:
        intervals: at least one.
        truth: the quantity.
    """
    count = len(intervals)
    share = sum(each.low <= truth <= each.high for each in intervals) / count
    return share, math.sqrt(share * (1 - share) / count)


def _run(argv: Sequence[str] | None) -> int:
    parser = OneLineParser(prog="python -m surrogate.active.coverage", description=__doc__)
    parser.add_argument("curve", help=", ".join(CURVES))
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--share", type=float, default=0.3, help="of the full grid's cost, at most")
    asked = parser.parse_args(argv)
    if asked.curve not in CURVES:
        raise InputError(f"{asked.curve} is not {' or '.join(CURVES)}")
    if asked.seeds < 1:
        raise InputError(f"--seeds {asked.seeds} must be at least 1")
    choice = FitChoice()
    curve, found = CURVES[asked.curve](), list[Comparison]()
    for seed in range(asked.seeds):
        each = compare_on_curve(curve, seed, share=asked.share, choice=choice)
        found.append(each)
        print(
            f"seed {seed}: log width {each.width_ratio:.2f} of the full grid's at "
            f"{100 * each.cost_share:.0f} % of its cost; {each.effort.trials} trials and "
            f"{each.effort.repeats} repeats at {len(each.batch_sizes)} batch sizes",
            file=sys.stderr,
            flush=True,
        )
    print(summary_in_words(found))
    for name in ("full", "active"):
        intervals = [getattr(each, name) for each in found]
        share, error = share_that_holds(intervals, curve.critical_batch_size)
        print(
            f"{name}: {100 * share:.0f} % +- {100 * error:.0f} % of the intervals hold "
            f"{curve.critical_batch_size:.4g}"
        )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `--help`."""
    return run_command(lambda: _run(argv))


if __name__ == "__main__":
    sys.exit(main())

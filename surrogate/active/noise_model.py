"""Full grids and active designs on a known curve with noise, without a single trial.

What a search and its repeats would find at a batch size is the curve's steps times lognormal
noise: of tuning, whose variance falls as 1 / T with the search's trials, and of each repeat's seed.
What they would cost is what digits sweeps paid, in examples of a tuned run. So the truth is known,
and hundreds of designs can be tried where a replay of trials takes minutes each.

Shapes: C = batch sizes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from models_of_scaling.measurements import Measurements, TableSource
from surrogate.active.actions import Effort
from surrogate.active.cells import Cell

# Measured on digits sweeps, in examples of a tuned run: a search trial that is stopped at 3 times
# the fewest steps known, and one of a race; the choice among 4 and among 3.
FULL_RATES = (1.95, 12.5)
ACTIVE_RATES = (0.56, 9.7)


@dataclass(kw_only=True)
class NoisyCurve:
    """A curve to measure; what was measured once stays as it is.

    Attributes:
        steps: true steps to target by batch size.
        tuning_noise: standard deviation of log steps that a search of 64 trials leaves.
        seed_noise: standard deviation of one repeat's log steps.
        rates: cost of a search trial and of the choice among the best.
        seed: of the noise.
        measured: repeats' log steps by batch size.
    """

    steps: Mapping[int, float]
    tuning_noise: float
    seed_noise: float
    rates: tuple[float, float]
    seed: int
    measured: dict[int, list[float]] = field(default_factory=dict)
    efforts: dict[int, Effort] = field(default_factory=dict)

    def measure(
        self, effort: Effort, batch_sizes: Sequence[int]
    ) -> tuple[Measurements, Sequence[Cell]]:
        """Bring batch sizes to an effort; see `active.run.Measure`."""
        for size in batch_sizes:
            self.efforts[size] = effort
            rng = np.random.default_rng([self.seed, size])
            # One tuning deviate and one row of seeds each: more effort shrinks what there was.
            tuning = rng.standard_normal() * self.tuning_noise * math.sqrt(64 / effort.trials)
            seeds = rng.standard_normal(1000)[: effort.repeats] * self.seed_noise
            self.measured[size] = (math.log(self.steps[size]) + tuning + seeds).tolist()
        return self._rows(), [self._cell(size) for size in sorted(self.measured)]

    def _rows(self) -> Measurements:
        sizes = sorted(self.measured)
        batch_size = np.repeat(sizes, [len(self.measured[size]) for size in sizes])
        steps = np.exp(np.concatenate([self.measured[size] for size in sizes]))
        return Measurements(
            batch_size=batch_size,
            steps=steps,
            reached=np.ones(len(steps), dtype=bool),
            steps_low=steps,
            steps_high=steps,
            weight=np.ones(len(steps)),
            group=np.full(len(steps), "", dtype=np.str_),
            workload="",
            source=TableSource(path="", kind="table", sha256="", num_rows=len(steps)),
        )

    def _cell(self, size: int) -> Cell:
        logs, effort = self.measured[size], self.efforts[size]
        tuned = size * math.exp(float(np.mean(logs)))
        return Cell(
            batch_size=size,
            reached=True,
            log_steps=float(np.mean(logs)),
            seed_variance=float(np.var(logs, ddof=1)) if len(logs) > 1 else math.nan,
            search_examples=self.rates[0] * effort.trials * tuned,
            shortlist_examples=self.rates[1] * tuned,
            repeat_examples=effort.repeats * tuned,
        )

"""Active design against the full grid, on trials that are there already or cost nothing.

    python -m surrogate.active.replay noisy_quadratic_modes300 --seeds 24
    python -m surrogate.active.replay digits --records FOLDER --replays 4

A seed of the simulator is a sweep: its own Sobol points and its own spectrum. A seed of the digits
is one of the recorded sweeps with the order of its recorded repeats drawn anew at each batch
size, so that a replay sees others of them first. The full grid is the default sweep, with all its
batch sizes, trials and repeats; the active design may spend a share of what that cost.
"""

import math
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models_of_scaling.command_line import OneLineParser, run_command
from models_of_scaling.errors import InputError
from models_of_scaling.intervals import Interval
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.trials import Trial, read_trials, table_to_trials
from models_of_scaling.wording import interval_in_words
from surrogate.active.actions import Effort, Menu
from surrogate.active.cells import charged_examples
from surrogate.active.plan import ActivePlan, active_plan
from surrogate.active.question import QUESTIONS, Question
from surrogate.active.recorded_trials import (
    Records,
    recorded_effort,
    renamed,
    with_repeats_reordered,
)
from surrogate.active.run import (
    TrialLedger,
    asked_trials,
    first_effort,
    measurements_of,
    run_design,
)
from surrogate.protocol import Plan, Protocol
from surrogate.run_sweep import SweepSettings
from surrogate.search import next_stage

# Trials of the sweep of seed s have seeds from s times this on.
_SEEDS_PER_SWEEP = Protocol(seed=1).search_seed


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One replay.

    Attributes:
        seed: of it.
        full: interval of the full grid.
        active: interval of the active design when it stopped.
        cost_share: what the active design cost over what the full grid cost.
        batch_sizes: that the design measured.
        effort: that it ended with.
    """

    seed: int
    full: Interval
    active: Interval
    cost_share: float
    batch_sizes: tuple[int, ...]
    effort: Effort

    @property
    def width_ratio(self) -> float:
        """Log width of the active design's interval over that of the full grid's."""
        return log_width(self.active) / log_width(self.full)


def log_width(interval: Interval) -> float:
    """Return log(high / low); inf where an end is open."""
    return math.log(interval.high / interval.low) if interval.is_bounded else math.inf


def compare(
    full: tuple[Plan, Records],
    active: tuple[ActivePlan, Records | None],
    question: Question,
    *,
    most: Effort,
    share: float,
    choice: FitChoice,
) -> Comparison:
    """Run an active design until its interval is as narrow as the full grid's.

    Args:
        full: the full sweep and its trials.
        active: the active study, and its trials of every effort up to `most`; None for a
            simulator, whose trials are computed when they are asked for.
        question: whose interval both give.
        most: effort that the design may reach.
        share: of the full grid's examples that the design may spend at most.
        choice: how laws are fitted, the same for both.

    Returns:
        The comparison.
    """
    full_plan, full_trials = full
    paid = {
        size: asked_trials(full_plan, size, each, []) for size, each in sorted(full_trials.items())
    }
    full_cost = sum(sum(charged_examples(full_plan, each).values()) for each in paid.values())
    path = Path(full_plan.study)
    full_interval = question.interval(fit_laws(measurements_of(paid, path=path), choice))
    sizes = tuple(sorted(paid))
    menu = Menu(
        batch_sizes=sizes,
        max_steps=tuple(full_plan.budget.steps(size) for size in sizes),
        most=most,
        budget_examples=share * full_cost,
        precision=math.exp(log_width(full_interval)) if full_interval.is_bounded else 1.0,
    )
    plan, recorded = active
    computed: dict[int, list[Trial]] = {}

    def run_trials(asked: ActivePlan, wanted: Sequence[int]) -> Records:
        if recorded is not None:
            return recorded
        for size in wanted:
            computed[size] = compute_trials(asked, size, computed.get(size, []))
        return computed

    ledger = TrialLedger(plan, run_trials)
    *_, last = run_design(ledger.measure, first_effort(plan), question, menu, choice)
    return Comparison(
        seed=full_plan.protocol.seed,
        full=full_interval,
        active=last.decision.interval,
        cost_share=last.decision.spent / full_cost,
        batch_sizes=last.batch_sizes,
        effort=last.effort,
    )


def compute_trials(plan: Plan, batch_size: int, done: Sequence[Trial]) -> list[Trial]:
    """Return a batch size's trials with those that are missing computed in this process.

    Args:
        plan: of a simulator; nothing would keep the runs of another workload.
        batch_size: examples per step.
        done: trials that are there.
    """
    from surrogate.engines import run_stage

    trials = list(done)
    while stage := next_stage(plan, batch_size, trials):
        for finished in run_stage(plan, batch_size, stage):
            trials += finished
    return trials


def simulated_comparisons(
    workload: str, seeds: Sequence[int], question: Question, *, share: float, choice: FitChoice
) -> Iterator[tuple[str, Comparison]]:
    """Compare on the simulator, each seed with a spectrum of its own.

    Args:
        workload: `noisy_quadratic_modes300`, whose curvature and noise each seed sets.
        seeds: of the sweeps.
        question: whose interval is compared.
        share: of the full grid's cost that the design may spend.
        choice: how laws are fitted.

    Yields:
        The workload's name and the comparison.
    """
    for seed in seeds:
        name = f"{workload}_{spectrum_words(seed)}"
        plan = _full_plan(name, seed)
        sizes = SweepSettings(workload=name, out=Path()).sizes
        full = {size: compute_trials(plan, size, []) for size in sizes}
        most = Effort(trials=plan.protocol.trials, repeats=1)
        active = active_plan(plan)
        yield (
            name,
            compare((plan, full), (active, None), question, most=most, share=share, choice=choice),
        )


def spectrum_words(seed: int) -> str:
    """Return the parameters of a seed's spectrum: curvature in 1 .. 1.3, noise in 0.3 .. 3."""
    rng = np.random.default_rng([seed, 7])
    curvature, noise = 1.0 + 0.3 * rng.uniform(), 10 ** (rng.uniform() - 0.5)
    return f"curvature{curvature:.3g}_noise{noise:.3g}"


def recorded_comparisons(
    workload: str,
    records: Path,
    question: Question,
    *,
    replays: int,
    share: float,
    choice: FitChoice,
) -> Iterator[tuple[str, Comparison]]:
    """Compare on recorded sweeps, each several times with the repeats in another order.

    Args:
        workload: its name.
        records: a folder of trials: default sweeps and, of the same seeds, active studies with
            every effort at every batch size.
        question: whose interval is compared.
        replays: of each recorded sweep.
        share: of the full grid's cost that the design may spend.
        choice: how laws are fitted.

    Yields:
        The sweep and the order drawn, and the comparison.
    """
    by_sweep: dict[tuple[int, bool], dict[int, list[Trial]]] = {}
    for trial in table_to_trials(read_trials(records)):
        key = (trial.seed // _SEEDS_PER_SWEEP, "-active-" in trial.study)
        by_sweep.setdefault(key, {}).setdefault(trial.batch_size, []).append(trial)
    for seed in sorted({seed for seed, is_active in by_sweep if is_active}):
        plan = _full_plan(workload, seed)
        active = active_plan(plan)
        for number in range(replays):
            full, mine = (
                {
                    size: with_repeats_reordered(each, np.random.default_rng([number, size]))
                    for size, each in renamed(by_sweep[seed, named is active], named).items()
                }
                for named in (plan, active)
            )
            yield f"sweep {seed}, order {number}", compare(
                (plan, full), (active, mine), question,
                most=recorded_effort(active, mine), share=share, choice=choice,
            )  # fmt: skip


def _full_plan(workload: str, seed: int) -> Plan:
    return SweepSettings(workload=workload, out=Path(), seed=seed).plan


def summary_in_words(comparisons: Sequence[Comparison]) -> str:
    """Return the medians over replays, and how often the interval was as narrow within the share.

    Args:
        comparisons: at least one.
    """
    ratios = [each.width_ratio for each in comparisons]
    shares = [each.cost_share for each in comparisons]
    return (
        f"{len(comparisons)} replays: median log width {statistics.median(ratios):.2f} of the full "
        f"grid's at a median {100 * statistics.median(shares):.0f} % of its cost; as narrow in "
        f"{sum(ratio <= 1 for ratio in ratios)}"
    )


def _run(argv: Sequence[str] | None) -> int:
    parser = OneLineParser(prog="python -m surrogate.active.replay", description=__doc__)
    parser.add_argument("workload", help="noisy_quadratic_modes300, or the records' workload")
    parser.add_argument("--ask", default="critical_batch_size", help=QUESTIONS)
    parser.add_argument("--seeds", type=int, default=24, help="of the simulator")
    parser.add_argument("--records", type=Path, help="folder of recorded trials")
    parser.add_argument("--replays", type=int, default=8, help="of each recorded sweep")
    parser.add_argument("--share", type=float, default=0.3, help="of the full grid's cost, at most")
    asked = parser.parse_args(argv)
    question, choice = Question.parse(asked.ask), FitChoice(replicates=200)
    pairs = (
        simulated_comparisons(
            asked.workload, range(asked.seeds), question, share=asked.share, choice=choice
        )
        if asked.records is None
        else recorded_comparisons(
            asked.workload, asked.records, question,
            replays=asked.replays, share=asked.share, choice=choice,
        )
    )  # fmt: skip
    found = []
    for name, each in pairs:
        found.append(each)
        sizes = ",".join(map(str, each.batch_sizes))
        print(
            f"{name}: full grid {interval_in_words(each.full)}; active "
            f"{interval_in_words(each.active)}, log width {each.width_ratio:.2f} of the full "
            f"grid's at {100 * each.cost_share:.1f} % of its cost; {each.effort.trials} trials and "
            f"{each.effort.repeats} repeats at {sizes}",
            flush=True,
        )
    if not found:
        raise InputError(f"--records {asked.records}: no sweep with its active study")
    print(summary_in_words(found))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `--help`."""
    return run_command(lambda: _run(argv))


if __name__ == "__main__":
    sys.exit(main())

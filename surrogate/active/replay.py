"""Active design against the full grid, on trials that are there already or cost nothing.

    python -m surrogate.active.replay noisy_quadratic_modes300 --seeds 24
    python -m surrogate.active.replay digits --records FOLDER FILE.parquet --replays 4

A seed of the simulator is a sweep: its own Sobol points and its own spectrum. A replay of the
digits is one of the recorded sweeps (an optimizer and a seed) with the order of its recorded
repeats drawn anew at each batch size, so that it sees others of them first. The full grid is the
default sweep, with all its batch sizes, trials and repeats; the active design may spend a share of
what that cost.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from models_of_scaling.command_line import OneLineParser, run_command
from models_of_scaling.errors import InputError
from models_of_scaling.law_fit import FitChoice
from models_of_scaling.trials import Trial, read_trials, table_to_trials
from models_of_scaling.wording import interval_in_words
from surrogate.active.comparison import Comparison, compare_trials, summary_in_words
from surrogate.active.plan import active_plan, most_effort
from surrogate.active.question import QUESTIONS, Question
from surrogate.active.recorded_trials import (
    compute_trials,
    recorded_effort,
    renamed,
    with_repeats_reordered,
)
from surrogate.protocol import Plan, Protocol
from surrogate.run_sweep import SweepSettings

# Trials of the sweep of seed s have seeds from s times this on.
_SEEDS_PER_SWEEP = Protocol(seed=1).search_seed


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
        active = active_plan(plan)
        yield (
            name,
            compare_trials(
                (plan, full),
                (active, None),
                question,
                most=most_effort(plan),
                share=share,
                choice=choice,
            ),
        )


def spectrum_words(seed: int) -> str:
    """Return the parameters of a seed's spectrum: curvature in 1 .. 1.3, noise in 0.3 .. 3."""
    rng = np.random.default_rng([seed, 7])
    curvature, noise = 1.0 + 0.3 * rng.uniform(), 10 ** (rng.uniform() - 0.5)
    return f"curvature{curvature:.3g}_noise{noise:.3g}"


def recorded_comparisons(
    workload: str,
    records: Sequence[Path],
    question: Question,
    *,
    replays: int,
    share: float,
    choice: FitChoice,
) -> Iterator[tuple[str, Comparison]]:
    """Compare on recorded sweeps, each several times with the repeats in another order.

    Args:
        workload: its name.
        records: files or folders of trials: default sweeps and, of the same optimizers and seeds,
            active studies with every effort; of the batch sizes that both have.
        question: whose interval is compared.
        replays: of each recorded sweep.
        share: of the full grid's cost that the design may spend.
        choice: how laws are fitted.

    Yields:
        The sweep and the order drawn, and the comparison.
    """
    by_sweep: dict[tuple[str, int, bool], dict[int, list[Trial]]] = {}
    for trial in (each for path in records for each in table_to_trials(read_trials(path))):
        key = (trial.optimizer, trial.seed // _SEEDS_PER_SWEEP, "-active-" in trial.study)
        by_sweep.setdefault(key, {}).setdefault(trial.batch_size, []).append(trial)
    both = {key[:2] for key in by_sweep if key[2]} & {key[:2] for key in by_sweep if not key[2]}
    for optimizer, seed in sorted(both):
        plan = _full_plan(workload, seed, optimizer)
        active = active_plan(plan)
        grid, mine = (by_sweep[optimizer, seed, is_active] for is_active in (False, True))
        sizes = sorted(grid.keys() & mine.keys())
        for number in range(replays):
            full, seen = (
                {
                    size: with_repeats_reordered(each, np.random.default_rng([number, size]))
                    for size, each in renamed({size: of[size] for size in sizes}, named).items()
                }
                for of, named in ((grid, plan), (mine, active))
            )
            yield f"{optimizer}, sweep {seed}, order {number}", compare_trials(
                (plan, full), (active, seen), question,
                most=recorded_effort(active, seen, most=most_effort(plan)),
                share=share, choice=choice,
            )  # fmt: skip


def _full_plan(workload: str, seed: int, optimizer: str = "momentum") -> Plan:
    return SweepSettings(workload=workload, optimizer=optimizer, out=Path(), seed=seed).plan


def _run(argv: Sequence[str] | None) -> int:
    parser = OneLineParser(prog="python -m surrogate.active.replay", description=__doc__)
    parser.add_argument("workload", help="noisy_quadratic_modes300, or the records' workload")
    parser.add_argument("--ask", default="critical_batch_size", help=QUESTIONS)
    parser.add_argument("--seeds", type=int, default=24, help="of the simulator")
    parser.add_argument("--records", type=Path, nargs="+", help="recorded trials")
    parser.add_argument("--replays", type=int, default=8, help="of each recorded sweep")
    parser.add_argument("--share", type=float, default=0.3, help="of the full grid's cost, at most")
    asked = parser.parse_args(argv)
    question, choice = Question.parse(asked.ask), FitChoice()
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
        raise InputError(f"--records {asked.records[0]}: no sweep with its active study")
    print(summary_in_words(found))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `--help`."""
    return run_command(lambda: _run(argv))


if __name__ == "__main__":
    sys.exit(main())

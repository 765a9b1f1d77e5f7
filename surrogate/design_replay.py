"""Active design against the full grid, on trials that are there already or cost nothing.

    python -m surrogate.design_replay noisy_quadratic_modes300 --seeds 24
    python -m surrogate.design_replay digits --records FOLDER --replays 4

A seed of the simulator is a sweep: its own Sobol points and its own spectrum. A seed of the digits
is one of the recorded sweeps with the order of its recorded repeats drawn anew at each batch
size, so that a replay sees others of them first. The full grid is the default sweep, with all its
batch sizes, trials and repeats; the active design may spend a share of what that cost.
"""

import argparse
import math
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from models_of_scaling.command_line import OneLineParser, run_command
from models_of_scaling.intervals import Interval
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.trials import Trial, read_trials, table_to_trials
from models_of_scaling.wording import number_in_words
from surrogate.design import Effort, Menu
from surrogate.design_cells import charged_examples
from surrogate.design_plan import ActivePlan, active_plan
from surrogate.design_question import Question
from surrogate.design_run import asked_trials, measurements_of, run_design
from surrogate.protocol import Plan
from surrogate.run_sweep import SweepSettings
from surrogate.search import next_stage
from surrogate.workloads import get_workload

Records = Mapping[int, Sequence[Trial]]  # trials by batch size


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One replay.

    Attributes:
        seed: of it.
        full: interval of the full grid.
        active: interval of the active design when it stopped.
        cost_share: what the active design cost over what the full grid cost.
        share_when_as_narrow: the same when its interval first was as narrow as the full grid's;
            inf where it never was.
        batch_sizes: that the design measured.
        effort: that it ended with.
    """

    seed: int
    full: Interval
    active: Interval
    cost_share: float
    share_when_as_narrow: float
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
    """Run an active design on at most a share of what the full grid cost.

    Args:
        full: the full sweep and its trials.
        active: the active study, and its trials of every effort up to `most`; None for a
            simulator, whose trials are computed when they are asked for.
        question: whose interval both give.
        most: effort that the design may reach.
        share: of the full grid's examples that the design may spend.
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
    workload = get_workload(full_plan.workload)
    sizes = tuple(sorted(paid))
    menu = Menu(
        batch_sizes=sizes,
        max_steps=tuple(workload.max_steps(size) for size in sizes),
        most=most,
        budget_examples=share * full_cost,
    )
    plan, recorded = active
    computed: dict[int, list[Trial]] = {}

    def run_trials(asked: ActivePlan, wanted: Sequence[int]) -> Records:
        if recorded is not None:
            return recorded
        for size in wanted:
            computed[size] = compute_trials(asked, size, computed.get(size, []))
        return computed

    matched = math.inf
    for state in run_design(plan, question, menu, run_trials, choice):
        decision = state.decision
        if matched == math.inf and log_width(decision.interval) <= log_width(full_interval):
            matched = decision.spent / full_cost
    return Comparison(
        seed=full_plan.protocol.seed,
        full=full_interval,
        active=decision.interval,
        cost_share=decision.spent / full_cost,
        share_when_as_narrow=matched,
        batch_sizes=tuple(sorted(state.trials)),
        effort=state.effort,
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
        yield name, compare(
            (plan, full), (active, None), question, most=most, share=share, choice=choice
        )


def spectrum_words(seed: int) -> str:
    """Return the parameters of a seed's spectrum: curvature in 1 .. 1.3, noise in 0.3 .. 3."""
    rng = np.random.default_rng([seed, 7])
    curvature, noise = 1.0 + 0.3 * rng.uniform(), 10 ** (rng.uniform() - 0.5)
    return f"curvature{curvature:.3g}_noise{noise:.3g}"


def recorded_comparisons(
    workload: str, records: Path, question: Question, *, replays: int, share: float,
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
    by_study: dict[str, dict[int, list[Trial]]] = {}
    for trial in table_to_trials(read_trials(records)):
        by_study.setdefault(trial.study, {}).setdefault(trial.batch_size, []).append(trial)
    for seed in range(1000):
        plan = _full_plan(workload, seed)
        active = active_plan(plan)
        if plan.study not in by_study or active.study not in by_study:
            continue
        for number in range(replays):
            full, mine = (
                {
                    size: with_repeats_reordered(each, np.random.default_rng([number, size]))
                    for size, each in by_study[study].items()
                }
                for study in (plan.study, active.study)
            )
            yield f"sweep {seed}, order {number}", compare(
                (plan, full), (active, mine), question,
                most=recorded_effort(active, mine), share=share, choice=choice,
            )  # fmt: skip


def recorded_effort(plan: ActivePlan, records: Records) -> Effort:
    """Return the most effort, by doublings, that was recorded at every batch size."""
    most = Effort(trials=plan.protocol.trials, repeats=plan.protocol.repeats)

    def is_there(effort: Effort) -> bool:
        wanted = plan.with_effort(trials=effort.trials, repeats=effort.repeats)
        try:
            for size, trials in records.items():
                asked_trials(wanted, size, trials, [])
        except LookupError:
            return False
        return True

    while is_there(replace(most, repeats=2 * most.repeats)):
        most = replace(most, repeats=2 * most.repeats)
    while is_there(replace(most, trials=2 * most.trials)):
        most = replace(most, trials=2 * most.trials)
    return most


def with_repeats_reordered(trials: Sequence[Trial], rng: np.random.Generator) -> list[Trial]:
    """Return trials whose repeats stand under each other's seeds, within each configuration.

    Args:
        trials: of one batch size.
        rng: source of randomness.
    """
    reordered = [trial for trial in trials if trial.phase != "repeat"]
    groups: dict[tuple[tuple[str, float], ...], list[Trial]] = {}
    for trial in trials:
        if trial.phase == "repeat":
            groups.setdefault(tuple(sorted(trial.hyper_parameters.items())), []).append(trial)
    for group in groups.values():
        order = rng.permutation(len(group))
        reordered += [
            replace(group[other], seed=trial.seed)
            for trial, other in zip(group, order, strict=True)
        ]
    return reordered


def _full_plan(workload: str, seed: int) -> Plan:
    return SweepSettings(workload=workload, out=Path(), seed=seed).plan

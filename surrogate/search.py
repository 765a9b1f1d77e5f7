"""The search protocol: which runs a batch size needs next, as a function of those it has.

The page for reviewers is docs/search_protocol.md. In short, at every batch size, independently:

1. `wide`: half of the trials, scrambled Sobol over the whole space.
2. `zoom-1` ...: the other half, in a box around the best so far, a share of each log range long.
3. `widen-1` ...: only while the best lies at a border of the space, at most a few times: more
   trials in the space that is added there.
4. `shortlist`: the few best configurations with a few fresh seeds each; the least median wins.
   The fewest steps of a search are a lucky seed's as often as a good configuration's.
5. `repeat`: the winner again, with other fresh seeds; only these are the steps to target.

The plan is a pure function of the finished trials: a sweep that was stopped anywhere goes on where
it was, and two machines plan alike.
"""

import math
import statistics
from collections.abc import Sequence

from models_of_scaling.targets import Target
from models_of_scaling.trials import Trial
from surrogate.protocol import Candidate, Plan, Stage
from surrogate.search_space import SearchSpace, Side

# Seeds of the stages' Sobol sequences: the word's number plus the stage's.
_STAGE_NUMBERS = {"wide": 0, "zoom": 100, "widen": 200}


def next_stage(plan: Plan, batch_size: int, done: Sequence[Trial]) -> Stage | None:
    """Return what a batch size needs next.

    Args:
        plan: the study.
        batch_size: examples per step.
        done: finished trials of this study and batch size, in any order; trials that were
            interrupted count as missing.

    Returns:
        The stage, or None where the batch size is complete.
    """
    by_id = {trial.trial_id: trial for trial in done if trial.status != "interrupted"}
    space, found = plan.space, list[Trial]()

    def missing(wanted: list[Candidate], name: str) -> Stage | None:
        names = [candidate.trial_id(plan, batch_size) for candidate in wanted]
        found.extend(by_id[each] for each in names if each in by_id)
        lacking = [c for c, each in zip(wanted, names, strict=True) if each not in by_id]
        return (
            Stage(name=name, candidates=tuple(lacking), fewest_steps=_fewest_steps(found))
            if lacking
            else None
        )

    protocol = plan.protocol
    half = protocol.trials - protocol.trials // 2
    if stage := missing(_points(plan, batch_size, "wide", space, half), "wide"):
        return stage
    for zoom, width in enumerate(protocol.zoom_widths, 1):
        best = best_trial(found, plan.target)
        box = space.around(best.hyper_parameters, width=width) if best else space
        count = _share(protocol.trials // 2, zoom, len(protocol.zoom_widths))
        if stage := missing(_points(plan, batch_size, f"zoom-{zoom}", box, count), f"zoom-{zoom}"):
            return stage
    for widening in range(1, protocol.max_widenings + 1):
        best = best_trial(found, plan.target)
        if best is None:
            break
        side = space.border(best.hyper_parameters, margin=protocol.border_margin)
        if side is None:
            break
        space, box = _widened(plan, space, best, side)
        name = f"widen-{widening}"
        if stage := missing(_points(plan, batch_size, name, box, protocol.widening_trials), name):
            return stage
    shortlist = ranked_trials(found, plan.target)[: protocol.shortlist]
    if not shortlist:
        return None
    if len(shortlist) == 1:
        return missing(_again(plan, shortlist, "repeat"), "repeat")
    if stage := missing(_again(plan, shortlist, "shortlist"), "shortlist"):
        return stage
    return missing(_again(plan, [_winner(shortlist, found)], "repeat"), "repeat")


def _share(total: int, part: int, parts: int) -> int:
    """Return the size of a part, from 1, of a total dealt out evenly."""
    return total * part // parts - total * (part - 1) // parts


def _points(
    plan: Plan, batch_size: int, stage: str, box: SearchSpace, count: int
) -> list[Candidate]:
    """Return a search stage's candidates; its Sobol sequence is its own."""
    word, _, number = stage.partition("-")
    seed = (plan.protocol.seed, batch_size, _STAGE_NUMBERS[word] + int(number or 0))
    settings = {"stage": stage} | {f"space_{k}": v for k, v in box.in_words().items()}
    return [
        Candidate(
            phase="search",
            hyper_parameters=point,
            settings=settings,
            seed=plan.protocol.search_seed,
        )
        for point in box.points(count, seed=seed)
    ]


def _widened(
    plan: Plan, space: SearchSpace, best: Trial, side: tuple[str, Side]
) -> tuple[SearchSpace, SearchSpace]:
    """Return the space moved out at a side, and the box there that is to be searched."""
    protocol = plan.protocol
    wider, added = space.widened(*side, width=protocol.widening_width)
    box = space.around(best.hyper_parameters, width=protocol.zoom_widths[0]).with_dimension(added)
    return wider, box


def _again(plan: Plan, configurations: Sequence[Trial], phase: str) -> list[Candidate]:
    """Return configurations with fresh seeds: neither the search's nor the other phase's."""
    protocol = plan.protocol
    first = protocol.search_seed + 1
    seeds = range(first, first + protocol.shortlist_seeds)
    if phase == "repeat":
        seeds = range(seeds.stop, seeds.stop + protocol.repeats)
    return [
        Candidate(
            phase=phase,
            hyper_parameters=trial.hyper_parameters,
            settings=trial.settings,
            seed=seed,
        )
        for trial in configurations
        for seed in seeds
    ]


def _winner(shortlist: Sequence[Trial], found: Sequence[Trial]) -> Trial:
    """Return the configuration whose fresh seeds have the least median steps to target.

    A seed that did not reach the target counts as infinitely slow; ties go to the better of the
    search.
    """

    def median(configuration: Trial) -> float:
        return statistics.median(
            trial.steps if trial.status == "reached" else math.inf
            for trial in found
            if trial.phase == "shortlist"
            and trial.hyper_parameters == configuration.hyper_parameters
            and trial.settings == configuration.settings
        )

    return min(shortlist, key=median)


def ranked_trials(trials: Sequence[Trial], target: Target) -> list[Trial]:
    """Return the search trials that reached the target, the one with the fewest steps first.

    Ties go to the better value of the target's metric when it was reached, then to the smaller
    learning rate, then to the smaller momentum.

    Args:
        trials: of one batch size, of any phase.
        target: what they were stopped at.

    Returns:
        The trials; none where none reached it.
    """

    def rank(trial: Trial) -> tuple[float, ...]:
        value = float(getattr(trial, f"curve_{target.metric}")[-1])
        return (
            trial.steps,
            value if target.direction == "<=" else -value,
            trial.hyper_parameters["learning_rate"],
            trial.hyper_parameters.get("momentum", 0.0),
        )

    reached = (each for each in trials if each.status == "reached" and each.phase == "search")
    return sorted(reached, key=rank)


def best_trial(trials: Sequence[Trial], target: Target) -> Trial | None:
    """Return the first of `ranked_trials`, or None."""
    return next(iter(ranked_trials(trials, target)), None)


def _fewest_steps(trials: Sequence[Trial]) -> int | None:
    # Shortlisted ones too: where the rest is cut must not depend on which of them ran before a kill.
    steps = [t.steps for t in trials if t.status == "reached" and t.phase != "repeat"]
    return min(steps, default=None)

"""The search protocol: which runs a batch size needs next, as a function of those it has.

The page for reviewers is docs/search_protocol.md. In short, at every batch size, independently:

1. `wide`: half of the trials, scrambled Sobol over the whole space.
2. `zoom-1` ...: the other half, in a box around the best so far, a share of each log range long.
3. `widen-1` ...: only while the best lies at a border of the space, at most a few times: more
   trials in the space that is added there.
4. `shortlist`: the few best configurations with a few fresh seeds each; the least median wins.
   The fewest steps of a search are a lucky seed's as often as a good configuration's. Which are
   best says each one's own run, or a smooth surface through all runs (`surrogate.shortlist`).
5. `repeat`: the winner again, with other fresh seeds; only these are the steps to target.

Where every run has a fixed number of epochs, accuracy at their end leads the search, and both
questions have a shortlist, a winner and repeats of their own.

The plan is a pure function of the finished trials: a sweep that was stopped anywhere goes on where
it was, and two machines plan alike.
"""

from collections.abc import Sequence

from models_of_scaling.trials import Trial
from surrogate.protocol import Candidate, Plan, Stage
from surrogate.ranking import ranked_trials, steps_to_target
from surrogate.search_space import SearchSpace, Side
from surrogate.shortlist import shortlist_of, winner_of

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
    space, found = plan.space_at(batch_size), list[Trial]()

    def missing(wanted: list[Candidate], name: str) -> Stage | None:
        names = [candidate.trial_id(plan, batch_size) for candidate in wanted]
        found.extend(by_id[each] for each in names if each in by_id)
        lacking = [c for c, each in zip(wanted, names, strict=True) if each not in by_id]
        return (
            Stage(name=name, candidates=tuple(lacking), fewest_steps=_fewest_steps(plan, found))
            if lacking
            else None
        )

    protocol = plan.protocol
    half = protocol.trials - protocol.trials // 2
    if stage := missing(_points(plan, batch_size, "wide", space, half), "wide"):
        return stage
    for zoom, width in enumerate(protocol.zoom_widths, 1):
        best = _best(plan, found)
        box = space.around(best.hyper_parameters, width=width) if best else space
        count = _share(protocol.trials // 2, zoom, len(protocol.zoom_widths))
        if stage := missing(_points(plan, batch_size, f"zoom-{zoom}", box, count), f"zoom-{zoom}"):
            return stage
    for widening in range(1, protocol.max_widenings + 1):
        best = _best(plan, found)
        if best is None:
            break
        side = space.border(best.hyper_parameters, margin=protocol.border_margin)
        if side is None:
            break
        space, box = _widened(plan, space, best, side)
        name = f"widen-{widening}"
        if stage := missing(_points(plan, batch_size, name, box, protocol.widening_trials), name):
            return stage
    shortlists = [shortlist_of(plan, batch_size, found, question) for question in plan.questions]
    if max(len(shortlist) for shortlist in shortlists) <= 1:
        winners = [trial for shortlist in shortlists for trial in shortlist]
        return missing(_again(plan, winners, "repeat"), "repeat")
    everyone = [trial for shortlist in shortlists for trial in shortlist]
    if stage := missing(_again(plan, everyone, "shortlist"), "shortlist"):
        return stage
    chosen = (winner_of(plan, batch_size, found, question) for question in plan.questions)
    return missing(_again(plan, [each for each in chosen if each], "repeat"), "repeat")


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
    settings |= plan.settings
    return [
        Candidate(
            phase="search",
            hyper_parameters=plan.hyper_parameters(point, batch_size),
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
    """Return configurations, each once, with fresh seeds: neither the search's nor the other's."""
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
        for trial in {trial.trial_id: trial for trial in configurations}.values()
        for seed in seeds
    ]


def _best(plan: Plan, trials: Sequence[Trial]) -> Trial | None:
    return next(iter(ranked_trials(trials, plan.target, plan.questions[0])), None)


def _fewest_steps(plan: Plan, trials: Sequence[Trial]) -> int | None:
    """Return the fewest steps known, by which slow runs are stopped; None: none is.

    Shortlisted ones too: where the rest is cut must not depend on which of them ran before a kill.
    """
    if plan.budget.epochs is not None:
        return None
    reached = [trial for trial in trials if trial.status == "reached" and trial.phase != "repeat"]
    return min((int(steps_to_target(trial, plan.target)) for trial in reached), default=None)

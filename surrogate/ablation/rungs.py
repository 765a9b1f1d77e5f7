"""The rungs of a comparison: each ingredient added in turn, and each left out of the whole.

Every rung is a set of sweeps of one batch size with the same numbers of trials and repeats and the
same seeds, so that rungs differ in their ingredients alone. Several searches of a rung are sweeps
of several seeds. All lie in one folder; what is there is not run again.
"""

import math
import os
import sys
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import dataclass, replace

from models_of_scaling.ablation import RungRuns, Scale
from models_of_scaling.trials import Trial
from surrogate.ablation.ingredient_list import IngredientList
from surrogate.ranking import final_accuracy, steps_to_target
from surrogate.run_sweep import SweepSettings, run_sweep
from surrogate.search import next_stage
from surrogate.shortlist import winner_of
from surrogate.trial_parts import finished_trials
from surrogate.workers.local_processes import local_processes


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One configuration of the comparison.

    Attributes:
        names: of its ingredients.
        label: for the table.
        sweeps: one for each search.
    """

    names: frozenset[str]
    label: str
    sweeps: tuple[SweepSettings, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All rungs.

    Attributes:
        ladder: the baseline, then with one ingredient more at each rung; the last is the whole.
        without: by ingredient, the whole without it.
    """

    ladder: tuple[Rung, ...]
    without: dict[str, Rung]

    @property
    def sweeps(self) -> tuple[SweepSettings, ...]:
        """Every sweep that is to be run, the ladder first."""
        first = [sweep for rung in self.ladder for sweep in rung.sweeps]
        rest = [sweep for rung in self.without.values() for sweep in rung.sweeps]
        return tuple({sweep.plan.study: sweep for sweep in (*first, *rest)}.values())


def plan_comparison(
    settings: SweepSettings, ingredients: IngredientList, *, searches: int
) -> Comparison:
    """Return the rungs, all of them checked before the first run.

    Args:
        settings: what holds for all rungs: workload, one batch size, trials, repeats, first seed.
        ingredients: of the recipe.
        searches: sweeps of each rung.

    Returns:
        The comparison. An optimizer without a search space, or one that has no weight decay where
        the recipe has some, ends in an InputError.
    """
    names = [each.name for each in ingredients.ingredients]

    def rung(chosen: frozenset[str], label: str) -> Rung:
        setting = ingredients.settings_of(chosen)
        sweeps = tuple(
            replace(
                settings,
                optimizer=setting.optimizer,
                run=setting.run,
                seed=settings.seed + number,
            )
            for number in range(searches)
        )
        return Rung(names=chosen, label=label, sweeps=sweeps)

    ladder = [rung(frozenset(), f"{ingredients.baseline.optimizer}, constant rate")]
    for count, each in enumerate(ingredients.ingredients, 1):
        ladder.append(rung(frozenset(names[:count]), f"+ {each.words}"))
    whole = frozenset(names)
    without = {
        each.name: rung(whole - {each.name}, f"without {each.words}")
        for each in ingredients.ingredients
    }
    return Comparison(ladder=tuple(ladder), without=without)


def run_rungs(
    comparison: Comparison, *, workers: Executor | None = None, progress: bool = True
) -> None:
    """Run what is missing, all rungs in the same workers.

    Args:
        comparison: whose sweeps are run; what goes wrong is raised as by `run_sweep`.
        workers: where, as for `run_sweep`; None for processes of this machine.
        progress: whether to tell how it goes, on standard error.
    """
    unfinished = [sweep for sweep in comparison.sweeps if _is_unfinished(sweep)]
    if not unfinished:
        return
    count = unfinished[0].workers or os.cpu_count() or 1
    with nullcontext(workers) if workers is not None else local_processes(count) as made:
        for number, sweep in enumerate(unfinished, 1):
            if progress:
                print(f"sweep {number} of {len(unfinished)}", file=sys.stderr)
            run_sweep(sweep, progress=progress, workers=made)


def _is_unfinished(sweep: SweepSettings) -> bool:
    plan, [batch_size] = sweep.plan, sweep.sizes
    return next_stage(plan, batch_size, finished_trials(plan, batch_size, sweep.out)) is not None


def runs_of(rung: Rung, scale: Scale) -> RungRuns:
    """Return the fresh-seed runs of a rung's winners.

    Args:
        rung: whose sweeps are complete.
        scale: accuracy at the end of runs of a fixed length, or steps to the target.
    """
    return RungRuns(
        label=rung.label, values=tuple(tuple(_values(sweep, scale)) for sweep in rung.sweeps)
    )


def _values(sweep: SweepSettings, scale: Scale) -> Iterator[float]:
    plan, [batch_size] = sweep.plan, sweep.sizes
    trials = finished_trials(plan, batch_size, sweep.out)
    winner = winner_of(plan, batch_size, trials, scale)
    if winner is None:
        return
    for trial in trials:
        if trial.phase == "repeat" and _same(trial, winner):
            value = (
                final_accuracy(trial)
                if scale == "accuracy"
                else steps_to_target(trial, plan.target)
            )
            yield value if trial.status != "diverged" or scale == "accuracy" else math.inf


def _same(trial: Trial, winner: Trial) -> bool:
    return trial.hyper_parameters == winner.hyper_parameters and trial.settings == winner.settings

"""Trains a population: evaluations, who leaves and how, and what its members' curves are."""

import time
from collections.abc import Iterator, Sequence

import numpy as np

from models_of_scaling.targets import Target
from models_of_scaling.trials import Status
from surrogate.evaluation_grid import EvaluationGrid, first_full_evaluation, next_evaluation
from surrogate.population import Population
from surrogate.race import Race
from surrogate.training.members import Member, Progress, Result, StopRule
from surrogate.training.screen import Screen
from surrogate.training.task import Task


def train_population(
    task: Task,
    members: Sequence[Member],
    stop_rule: StopRule,
    *,
    grid: EvaluationGrid = next_evaluation,
) -> Iterator[list[Result]]:
    """Train members until each has left.

    A member is evaluated at the steps of the grid and where its schedule or the budget ends, at no
    others: whose schedule ends when changes nothing for the rest. A screened one that has met its
    target, or can't have met it by now, waits for the next full evaluation.

    Args:
        task: what they share.
        members: the runs; none gives nothing.
        stop_rule: when a member leaves.
        grid: step -> the next step with an evaluation; members are screened on this one only.

    Yields:
        After each evaluation, the members that left there, maybe none. A caller that stops asking
        stops the training.
    """
    if not members:
        return
    population = Population(task, members)
    curves = [Progress() for _ in members]
    limits = [0.0] * len(members)
    for place, member in population.active():
        limits[member] = stop_rule.divergence_factor * population.evaluate(place)[0]
    lengths = [_planned_length(member, stop_rule.max_steps) for member in members]
    fewest_steps, next_on_grid = stop_rule.fewest_steps, grid(0)
    race = _race(stop_rule, len(members))
    screen = Screen(task, stop_rule.target) if stop_rule.screened and stop_rule.target else None
    met: set[int] = set()
    while any(member is not None for member in population.places):
        started = time.perf_counter()
        staying = [member for _, member in population.active()]
        budget = stop_rule.budget(fewest_steps)
        population.advance(min(next_on_grid, budget, *(lengths[member] for member in staying)))
        now = population.steps
        on_grid = now == next_on_grid
        for_all = on_grid and (screen is None or now == first_full_evaluation(now))
        due = {
            member
            for place, member in population.active()
            if for_all
            or now in {budget, lengths[member]}
            or (
                on_grid
                and member not in met
                and _may_meet(population, place, screen, limits[member])
            )
        }
        for place, member in list(population.active()):
            if member in due:
                whole = not stop_rule.stop_at_target and now >= min(budget, lengths[member])
                curves[member].append(now, population.evaluate(place, whole=whole))
        behind: set[int] = set()
        if on_grid:
            next_on_grid = grid(now)
            if race is not None and for_all:
                race.reached |= met
                standing = {m: float(getattr(curves[m], race.target.metric)[-1]) for m in staying}
                behind = race.fallen_behind(standing)
        statuses = {member: _status(curves[member], stop_rule, limits[member]) for member in due}
        met |= {member for member, status in statuses.items() if status == "reached"}
        if fewest_steps is None or now < fewest_steps:
            fewest_steps = now if "reached" in statuses.values() else fewest_steps
        over = stop_rule.budget(fewest_steps)
        left = [
            _result(member, status, curves[member], stop_rule.target)
            for member, status in sorted(statuses.items())
            if now >= min(over, lengths[member])
            or member in behind
            or status == "diverged"
            or (status == "reached" and stop_rule.stop_at_target)
        ]
        share = (time.perf_counter() - started) / len(staying)
        for member in staying:
            curves[member].wall_time_s += share
        population.release({result.member for result in left})
        yield left


def _race(stop_rule: StopRule, num_members: int) -> Race | None:
    if stop_rule.target is None or not stop_rule.race_least:
        return None
    return Race(target=stop_rule.target, num_runs=num_members, least=stop_rule.race_least)


def _may_meet(population: Population, place: int, screen: Screen | None, limit: float) -> bool:
    return screen is not None and population.could_meet(place, screen, most_loss=limit)


def _planned_length(member: Member, max_steps: int) -> int:
    if member.schedule is None:
        return max_steps
    return min(max_steps, member.schedule.num_train_steps)


def _result(member: int, status: Status | None, curve: Progress, target: Target | None) -> Result:
    steps_to_target = None
    if target is not None:
        values = getattr(curve, target.metric)
        met = (step for step, v in zip(curve.steps, values, strict=True) if target.is_met(v))
        steps_to_target = next(met, None)
    if status is None:
        status = "not_reached" if steps_to_target is None else "reached"
    return Result(member=member, status=status, steps_to_target=steps_to_target, curve=curve)


def _status(curve: Progress, stop_rule: StopRule, limit: float) -> Status | None:
    """Return what a member's last evaluation says, or None where it says to go on."""
    target = stop_rule.target
    if target is not None and target.is_met(float(getattr(curve, target.metric)[-1])):
        return "reached"
    # A loss that is not finite compares false: it has diverged.
    if not curve.train_loss[-1] <= limit or not np.isfinite(curve.validation_loss[-1]):
        return "diverged"
    return None

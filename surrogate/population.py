"""Train K small networks of one batch size at once, each with its own numbers, data and start.

The members' parameters are stacked and `torch.func.vmap` maps the whole member step over them: the
gradient of a functional call, then the update rule of `fullscale.optimizers`, the same definition
that the full-scale trainer applies. The mapped step is traced once per population size into a
flat list of tensor operations (`make_fx`), which halves the time per step against vmap itself.

Members that reached the target, diverged or ran out of budget leave, and the population is
compacted to the next size of `population_size`. Each member's result depends on the member alone,
bit for bit in float32, not on who trains beside it: so a sweep that was killed and resumed gives
the table of an undisturbed one. On this CPU that holds for any stacked size from 2 on; of size 1,
convolutions take another path, so 2 is the smallest size.

Shapes: K members, B examples per step, N examples of an evaluation.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch.nn import functional

from fullscale.data.order import stream_indices
from models_of_scaling.targets import Target
from models_of_scaling.trials import Status
from surrogate.evaluation_grid import last_evaluation, next_evaluation
from surrogate.member_step import Stacked, Task

# Data indices are drawn for several steps at once: 4,096 examples a member, or one step.
_INDEX_CHUNK_EXAMPLES = 4_096


@dataclass(frozen=True, kw_only=True)
class Member:
    """One run.

    Attributes:
        seed: of the initialisation and the data order.
        numbers: the rule's hyper-parameters; its defaults where missing.
    """

    seed: int
    numbers: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class StopRule:
    """When a member leaves.

    Attributes:
        target: reached at the first evaluation that meets it.
        max_steps: the budget; a member that did not reach by then leaves as `not_reached`.
        slowest_factor: the budget of all shrinks to this multiple of the fewest steps to target
            among the members, so far; infinity switches it off.
        fewest_steps: the fewest steps to target known before the population began, if any.
        divergence_factor: a training loss above this multiple of its value at the start is
            divergence, as is one that is not finite.
    """

    target: Target
    max_steps: int
    slowest_factor: float = float("inf")
    fewest_steps: int | None = None
    divergence_factor: float = float("inf")

    def budget(self, fewest_steps: int | None) -> int:
        """Return the steps a member may take, given the fewest steps to target so far.

        Cut at an evaluation, so that members who train apart can be cut alike afterwards.
        """
        if fewest_steps is None or self.slowest_factor == float("inf"):
            return self.max_steps
        return min(self.max_steps, last_evaluation(int(self.slowest_factor * fewest_steps)))


@dataclass(kw_only=True)
class Progress:
    """A member's evaluations while it trains; mutable, the finished form is `Result`."""

    steps: list[int] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    wall_time_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Result:
    """How one member ended.

    Attributes:
        member: its place in the list that the population was made of.
        status: `reached`, `not_reached` or `diverged`.
        curve: its evaluations; the last is at the step it left.
    """

    member: int
    status: Status
    curve: Progress


def population_size(members: int) -> int:
    """Return the stacked size for so many members: 2, 3, 4, 6, 8, 12, 16, 24, ...

    Few sizes, because each is traced anew; at most a third of the places is idle.

    >>> [population_size(members) for members in (1, 5, 13, 64)]
    [2, 6, 16, 64]
    """
    size = 2
    while size < members:
        size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    return size


class Population:
    """The stacked members that still train, and places that idle."""

    def __init__(self, task: Task, members: Sequence[Member]) -> None:
        """Initialise and stack the members.

        Args:
            task: what they share.
            members: at least one.
        """
        self._task = task
        self.steps = 0
        # The member at each place; None where the place is idle: it trains, and nobody looks.
        self.places: list[int | None] = list(range(len(members)))
        padding = population_size(len(members)) - len(members)
        everyone = [*members, *[members[0]] * padding]
        self.places += [None] * padding
        networks: dict[int, nn.Module] = {}
        for member in everyone:
            if member.seed not in networks:
                networks[member.seed] = task.network(member.seed)
        stacked, _ = stack_module_state([networks[member.seed] for member in everyone])
        self._parameters: Stacked = {name: value.detach() for name, value in stacked.items()}
        self._states = {name: task.rule.init_state(p) for name, p in self._parameters.items()}
        complete = [task.rule.numbers(**member.numbers) for member in everyone]
        self._numbers = {
            name: torch.tensor([float(numbers[name]) for numbers in complete], dtype=task.dtype)
            for name in complete[0]
        }
        self._seeds = [member.seed for member in everyone]
        self._indices_TKB = torch.empty(0)
        self._indices_start = self._indices_stop = 0

    def advance(self, stop: int) -> None:
        """Train every place until `stop` optimizer steps are done."""
        task = self._task
        size = (len(self._seeds), task.batch_size)
        with torch.no_grad():
            while self.steps < stop:
                chosen = self._next_indices()
                images = task.images.index_select(0, chosen).view(*size, *task.images.shape[1:])
                one_hot = task.one_hot.index_select(0, chosen).view(*size, -1)
                self._parameters, self._states = task.population_step(
                    self._parameters, self._states, self._numbers, images, one_hot
                )
                self.steps += 1

    def _next_indices(self) -> Tensor:
        """Return the examples of the next step, shape (K B,), member by member."""
        if self.steps >= self._indices_stop:
            batch_size = self._task.batch_size
            length = max(1, _INDEX_CHUNK_EXAMPLES // batch_size)
            streams = {
                seed: stream_indices(
                    seed=seed,
                    num_examples=self._task.data.num_train_examples,
                    start=self.steps * batch_size,
                    stop=(self.steps + length) * batch_size,
                ).reshape(length, batch_size)
                for seed in dict.fromkeys(self._seeds)
            }
            stacked = np.stack([streams[seed] for seed in self._seeds], axis=1)
            self._indices_TKB = torch.from_numpy(stacked).flatten(1)
            self._indices_start, self._indices_stop = self.steps, self.steps + length
        return self._indices_TKB[self.steps - self._indices_start]

    def parameters_at(self, place: int) -> Stacked:
        """Return the parameters of the member at a place, unstacked."""
        return {name: stacked[place] for name, stacked in self._parameters.items()}

    def evaluate(self, place: int) -> tuple[float, float, float]:
        """Return training loss, validation loss and validation accuracy at a place.

        One member at a time: its activations stay in cache, which is twice as fast as stacked.
        """
        images, labels, part = self._task.evaluation
        with torch.no_grad():
            logits = functional_call(self._task.template, self.parameters_at(place), (images,))
            # Classes first, as in the step: ten times faster than cross_entropy on (N, classes).
            log_probability = functional.log_softmax(logits.T, dim=0)
            losses = -log_probability.gather(0, labels[None])[0]
            right = (logits[part:].argmax(dim=-1) == labels[part:]).to(logits.dtype)
            summary = torch.stack([losses[:part].mean(), losses[part:].mean(), right.mean()])
        train_loss, validation_loss, validation_accuracy = summary.tolist()
        return train_loss, validation_loss, validation_accuracy

    def release(self, members: set[int]) -> None:
        """Let members go, and compact the population if a smaller size holds the rest."""
        self.places = [None if member in members else member for member in self.places]
        active = [place for place, member in enumerate(self.places) if member is not None]
        size = population_size(len(active))
        if not active or size >= len(self.places):
            return
        idle = [place for place, member in enumerate(self.places) if member is None]
        kept = active + idle[: size - len(active)]
        choice = torch.tensor(kept)
        self._parameters = {name: value[choice] for name, value in self._parameters.items()}
        self._states = {
            name: {key: value[choice] for key, value in state.items()}
            for name, state in self._states.items()
        }
        self._numbers = {name: value[choice] for name, value in self._numbers.items()}
        self._seeds = [self._seeds[place] for place in kept]
        self.places = [self.places[place] for place in kept]
        self._indices_stop = self.steps  # drawn anew for those who stay


def train_population(
    task: Task, members: Sequence[Member], stop_rule: StopRule
) -> Iterator[list[Result]]:
    """Train members until each has left.

    Args:
        task: what they share.
        members: the runs; none gives nothing.
        stop_rule: when a member leaves.

    Yields:
        After each evaluation, the members that left there, maybe none. A caller that stops asking
        stops the training.
    """
    if not members:
        return
    population = Population(task, members)
    curves = [Progress() for _ in members]
    limits = [0.0] * len(members)
    for place, member in enumerate(population.places):
        if member is not None:
            limits[member] = stop_rule.divergence_factor * population.evaluate(place)[0]
    fewest_steps = stop_rule.fewest_steps
    while any(member is not None for member in population.places):
        started = time.perf_counter()
        budget = stop_rule.budget(fewest_steps)
        population.advance(min(next_evaluation(population.steps), budget))
        _evaluate(population, curves)
        statuses = {
            member: _status(curves[member], stop_rule.target, limits[member])
            for member in population.places
            if member is not None
        }
        if fewest_steps is None or population.steps < fewest_steps:
            fewest_steps = population.steps if "reached" in statuses.values() else fewest_steps
        over = population.steps >= stop_rule.budget(fewest_steps)
        left = [
            Result(member=member, status=status or "not_reached", curve=curves[member])
            for member, status in statuses.items()
            if status or over
        ]
        share = (time.perf_counter() - started) / len(statuses)
        for member in statuses:
            curves[member].wall_time_s += share
        population.release({result.member for result in left})
        yield left


def _evaluate(population: Population, curves: list[Progress]) -> None:
    for place, member in enumerate(population.places):
        if member is not None:
            train_loss, validation_loss, validation_accuracy = population.evaluate(place)
            curve = curves[member]
            curve.steps.append(population.steps)
            curve.train_loss.append(train_loss)
            curve.validation_loss.append(validation_loss)
            curve.validation_accuracy.append(validation_accuracy)


def _status(curve: Progress, target: Target, limit: float) -> Status | None:
    """Return how the member ended at its last evaluation, or None where it goes on."""
    if target.is_met(float(getattr(curve, target.metric)[-1])):
        return "reached"
    # A loss that is not finite compares false: it has diverged.
    if not curve.train_loss[-1] <= limit or not np.isfinite(curve.validation_loss[-1]):
        return "diverged"
    return None

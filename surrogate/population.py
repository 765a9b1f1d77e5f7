"""K small networks of one batch size, trained at once, each with its own numbers, data and start.

The members' parameters, buffers and optimizer states are stacked and `torch.func.vmap` maps the
whole member step over them: the gradient of a functional call, then the update rule of
`fullscale.optimizers`, the same definition that the full-scale trainer applies.

Members leave, and the population is compacted to the next of `training/sizes.py`. Each member's
result depends on the member alone, bit for bit in float32, not on who trains beside it: so a sweep
that was killed and resumed gives the table of an undisturbed one. docs/population.md says how far.

More members than fit into memory at once are cut into parts. The parts take turns, from one
evaluation to the next, so that they stay at the same step: a part that ran to its end before the
next began would not know the fewest steps to target of the others, at a multiple of which slow
members are stopped. Where even the members' own tensors don't fit, they wait in the CPU's memory.

Shapes: K members, T steps, B examples per step, N examples of an evaluation.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fullscale.data.order import stream_indices
from surrogate.training.evaluation import mean_loss_and_accuracy
from surrogate.training.mapped_step import take_step
from surrogate.training.members import Member
from surrogate.training.memory_limit import members_at_once, waiting_device
from surrogate.training.screen import Screen
from surrogate.training.sizes import part_sizes
from surrogate.training.stacked_network import Stacked
from surrogate.training.task import Changing, Task
from surrogate.training.tensor_trees import tree_leaves, tree_map

# Data indices are drawn for several steps at once: 4,096 examples a member, or one step.
_INDEX_CHUNK_EXAMPLES = 4_096


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
        self._at_once = members_at_once(task)
        self._parts = self._part_sizes(len(members))
        padding = sum(self._parts) - len(members)
        # The member at each place; None where the place is idle: it trains, and nobody looks.
        self.places: list[int | None] = [*range(len(members)), *[None] * padding]
        self._members = [*members, *[members[0]] * padding]
        with torch.no_grad():
            self._changing = _start(task, self._members, waiting_device(task, len(self._members)))
        complete = [task.rule.numbers(**member.numbers) for member in self._members]
        self._numbers = {
            name: torch.tensor(
                [float(numbers[name]) for numbers in complete],
                dtype=task.dtype,
                device=task.device,
            )
            for name in complete[0]
        }
        # What a rule's phases depend on, without repetition.
        periods = [{k: float(v) for k, v in n.items() if k.endswith("_every")} for n in complete]
        self._periods = [each for k, each in enumerate(periods) if each not in periods[:k]]

    def _part_sizes(self, members: int) -> list[int]:
        return part_sizes(members, self._at_once, exact=self._task.stacked_network.one_by_one)

    def advance(self, stop: int) -> None:
        """Train every place until `stop` optimizer steps are done."""
        with torch.no_grad():
            if len(self._parts) == 1:
                self._changing = self._advanced(self._changing, slice(None), stop)
            else:
                for first, size in zip(
                    itertools.accumulate(self._parts, initial=0), self._parts, strict=False
                ):
                    self._advance_part(slice(first, first + size), stop)
        self.steps = max(self.steps, stop)

    def _advance_part(self, part: slice, stop: int) -> None:
        """Train the places of a part and write them back to where all wait."""
        device = self._task.device
        before = tree_map(lambda tensor: tensor[part].to(device), self._changing)
        after = self._advanced(before, part, stop)
        for whole, new in zip(tree_leaves(self._changing), tree_leaves(after), strict=True):
            whole[part].copy_(new)

    def _advanced(self, changing: Changing, part: slice, stop: int) -> Changing:
        """Return the state of the places of a part at step `stop`."""
        length = max(1, _INDEX_CHUNK_EXAMPLES // self._task.batch_size)
        numbers = {name: value[part] for name, value in self._numbers.items()}
        for start in range(self.steps, stop, length):
            until = min(start + length, stop)
            chosen = self._indices(part, start, until)
            rates = self._learning_rates(part, start, until)
            for t in range(until - start):
                if rates is not None:
                    numbers["learning_rate"] = rates[t]
                phase = self._phase(start + t)
                changing = take_step(self._task, changing, numbers, chosen[t], phase=phase)
        return changing

    def _phase(self, steps: int) -> str | None:
        """Return what a rule with phases does at a step, where all members agree in it."""
        if self._task.rule.phase is None:
            return None
        phases = {self._task.rule.phase(steps, periods) for periods in self._periods}
        return phases.pop() if len(phases) == 1 else None

    def _indices(self, part: slice, start: int, stop: int) -> Tensor:
        """Return the examples of the steps start ... stop - 1, shape (T, K, B)."""
        batch_size = self._task.batch_size
        seeds = [member.seed for member in self._members[part]]
        streams = {
            seed: stream_indices(
                seed=seed,
                num_examples=self._task.data.num_train_examples,
                start=start * batch_size,
                stop=stop * batch_size,
            ).reshape(stop - start, batch_size)
            for seed in dict.fromkeys(seeds)
        }
        stacked = np.stack([streams[seed] for seed in seeds], axis=1)
        return torch.from_numpy(stacked).to(self._task.device)

    def _learning_rates(self, part: slice, start: int, stop: int) -> Tensor | None:
        """Return the rates of the steps start ... stop - 1, shape (T, K); None if all constant."""
        members = self._members[part]
        if all(member.schedule is None for member in members):
            return None
        # Products in float64, as a trainer's Python floats; then the precision of the task.
        rates = np.empty((stop - start, len(members)))
        columns: dict[int, Any] = {}
        for k, member in enumerate(members):
            schedule, peak = member.schedule, float(member.numbers["learning_rate"])
            if schedule is None:
                rates[:, k] = peak
                continue
            if id(schedule) not in columns:
                columns[id(schedule)] = [schedule.factor(step) for step in range(start, stop)]
            rates[:, k] = peak * np.array(columns[id(schedule)])
        return torch.from_numpy(rates).to(device=self._task.device, dtype=self._task.dtype)

    def at(self, place: int) -> Changing:
        """Return the parameters, buffers and states of the member at a place, unstacked."""
        member: Changing = tree_map(lambda tensor: tensor[place], self._changing)
        return member

    def evaluate(self, place: int, *, whole: bool = False) -> tuple[float, float, float]:
        """Return training loss, validation loss and validation accuracy at a place.

        Args:
            place: of the member.
            whole: on all validation examples, though the task says fewer.

        Returns:
            Means over the examples; the training loss over the first `MAX_TRAIN_LOSS_EXAMPLES`.
        """
        task = self._task
        images, labels = task.validation_set
        count = len(labels) if whole else task.max_validation_examples
        with torch.no_grad():
            found = mean_loss_and_accuracy(
                task,
                *self._evaluated_at(place),
                task.train_loss_set,
                (images[:count], labels[:count]),
            )
            train_loss, _, loss, accuracy = found.flatten().tolist()
        return train_loss, loss, accuracy

    def could_meet(self, place: int, screen: Screen, *, most_loss: float) -> bool:
        """Return whether few images leave it open that the member at a place meets its target.

        Args:
            place: of the member.
            screen: of the task and the target.
            most_loss: a loss above it, or one that is no number, wants a full evaluation too.
        """
        with torch.no_grad():
            return not screen.is_far(*self._evaluated_at(place), most_loss=most_loss)

    def _evaluated_at(self, place: int) -> tuple[Stacked, Stacked]:
        """Return the weights and buffers that the member at a place is evaluated with."""
        task = self._task
        parameters, buffers, states = self._changing
        if task.rule.evaluation_parameter is not None:
            parameters, buffers, states = self.at(place)
            parameters = task.evaluation_parameters(parameters, states)
        else:
            # Without the states, and without torch's walk over trees.
            parameters = {name: value[place] for name, value in parameters.items()}
            buffers = {name: value[place] for name, value in buffers.items()}
        # A copy of its own: whatever a library makes of a tensor's address is the same for all.
        return (
            {name: value.clone().to(task.device) for name, value in parameters.items()},
            {name: value.clone().to(task.device) for name, value in buffers.items()},
        )

    def release(self, members: set[int]) -> None:
        """Let members go, and compact the population if a smaller size holds the rest."""
        self.places = [None if member in members else member for member in self.places]
        active = [place for place, member in enumerate(self.places) if member is not None]
        if not active:
            return
        parts = self._part_sizes(len(active))
        if sum(parts) >= len(self.places):
            return
        idle = [place for place, member in enumerate(self.places) if member is None]
        kept = active + idle[: sum(parts) - len(active)]
        choice = torch.tensor(kept)
        self._changing, self._numbers = tree_map(
            lambda t: t[choice.to(t.device)], (self._changing, self._numbers)
        )
        self._members = [self._members[place] for place in kept]
        self.places = [self.places[place] for place in kept]
        self._parts = parts

    def active(self) -> Iterator[tuple[int, int]]:
        """Yield each place with a member, and the member."""
        for place, member in enumerate(self.places):
            if member is not None:
                yield place, member


def _start(task: Task, members: Sequence[Member], device: torch.device) -> Changing:
    """Return the members' stacked start on a device; members of one seed start alike."""
    networks: dict[int, nn.Module] = {}
    for member in members:
        if member.seed not in networks:
            networks[member.seed] = task.network(member.seed).to(device)
    parameters, buffers = task.stacked_network.stack([networks[m.seed] for m in members])
    return parameters, buffers, task.init_states(parameters)

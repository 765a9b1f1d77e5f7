"""The step of one member, and the one that is mapped over the members of a population.

Shapes: K members, B examples per step.
"""

import functools
from collections.abc import Callable
from dataclasses import replace

from torch import Tensor
from torch.func import vmap

from fullscale.optimizers.gradient_rule import Step
from fullscale.optimizers.update_rule import TensorTraits
from surrogate.training.member_batch import MemberBatch
from surrogate.training.stacked_network import Stacked
from surrogate.training.task import Changing, StackedStates, Task


def member_step(
    task: Task,
    changing: Changing,
    numbers: Stacked,
    images: Tensor,
    one_hot: Tensor,
    phase: str | None = None,
) -> Changing:
    """Take one optimizer step of one member; to be mapped over members.

    Args:
        task: what members share.
        changing: parameters and buffers by name, the rule's states by parameter name.
        numbers: 0-d tensors.
        images: shape (B, channels, height, width).
        one_hot: shape (B, num_classes).
        phase: what is due in this step (`UpdateRule.phase`), where it is so for all members.

    Returns:
        The new parameters, buffers and states.
    """
    parameters, buffers, states = changing
    rule, traits = task.rule, _traits_in(task, phase)
    counts = _counts(states) if _watches(task, phase) else None
    batch = MemberBatch(task, parameters, buffers, examples=(images, one_hot), steps=counts)
    gradients = batch.gradients
    if rule.gradient_rule is not None:
        step = Step(
            parameters=parameters,
            gradients=gradients,
            states=states,
            numbers=numbers,
            traits=traits,
            batch=batch,
        )
        made = rule.gradient_rule.make(step)
        gradients = made.gradients
        numbers = numbers | {"learning_rate": numbers["learning_rate"] * made.rate_factor}
        states = {name: state | made.states.get(name, {}) for name, state in states.items()}
    updated = {
        name: rule.update(parameter, gradients[name], states[name], numbers, traits[name])
        for name, parameter in parameters.items()
    }
    return (
        {name: pair[0] for name, pair in updated.items()},
        batch.buffers,
        # In the order that they came in: a traced program knows its tensors by their place.
        {
            name: {key: pair[1].get(key, states[name][key]) for key in states[name]}
            for name, pair in updated.items()
        },
    )


def population_step(
    task: Task,
    changing: Changing,
    numbers: Stacked,
    chosen: Tensor,
    data: tuple[Tensor, Tensor],
    phase: str | None = None,
) -> Changing:
    """Take one step of K members, operation by operation; `mapped_step.py` makes it fast.

    Args:
        task: what members share.
        changing: as in `member_step`, stacked.
        numbers: shape (K,) each.
        chosen: the members' examples, shape (K, B).
        data: images and one-hot labels of the whole training split.
        phase: as in `member_step`.

    Returns:
        The new parameters, buffers and states.
    """
    batch, wanted = _gathered(task, chosen, *data)
    step = functools.partial(member_step, task, phase=phase)
    mapped: Callable[..., Changing] = vmap(step)
    return mapped(changing, numbers, batch, wanted)


def single_step(
    task: Task,
    changing: Changing,
    numbers: Stacked,
    chosen: Tensor,
    data: tuple[Tensor, Tensor],
    phase: str | None = None,
) -> Changing:
    """Take one step of one member: `population_step` without the first dimension.

    Args:
        task: what members share.
        changing: as in `member_step`.
        numbers: 0-d tensors.
        chosen: the member's examples, shape (B,).
        data: images and one-hot labels of the whole training split.
        phase: as in `member_step`.

    Returns:
        The new parameters, buffers and states.
    """
    batch, wanted = _gathered(task, chosen, *data)
    return member_step(task, changing, numbers, batch, wanted, phase=phase)


def _gathered(task: Task, chosen: Tensor, images: Tensor, one_hot: Tensor) -> tuple[Tensor, Tensor]:
    """Return the images, as numbers, and the labels of examples of any shape."""
    if task.takes_whole_set:
        members = chosen.shape[:-1]
        batch = task.to_numbers(images).expand(*members, *images.shape)
        return batch, one_hot.expand(*members, *one_hot.shape)
    flat = chosen.flatten()
    batch = task.to_numbers(images.index_select(0, flat)).view(*chosen.shape, *images.shape[1:])
    return batch, one_hot.index_select(0, flat).view(*chosen.shape, -1)


def _traits_in(task: Task, phase: str | None) -> dict[str, TensorTraits]:
    if phase is None:
        return task.traits
    return {name: replace(traits, phase=phase) for name, traits in task.traits.items()}


def _watches(task: Task, phase: str | None) -> bool:
    """Return whether Kronecker factors are gathered in a step."""
    rule = task.rule.gradient_rule
    return rule is not None and "factors" in rule.needs and rule.is_due(phase)


def _counts(states: StackedStates) -> Tensor:
    """Return the count of steps that a rule with phases keeps."""
    return next(iter(states.values()))["steps"]

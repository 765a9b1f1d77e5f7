"""The step of K members as one flat program: traced, or compiled by torch's inductor.

Traced: `make_fx` lists the tensor operations of the mapped step once per K (0.1 to 0.5 s), which
takes half the time of `vmap` itself. Compiled: the same list with K left open goes to inductor
once, whatever sizes the population shrinks to; it fuses the small operations. It takes seconds and
a C++ compiler; inductor keeps the result on disk.

K is a size of the program's outermost loops only and all other sizes are constants, so a member's
numbers do not depend on K, bit for bit; tests/surrogate/test_population_compiled.py holds it.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from surrogate.member_step import Changing, Task
from surrogate.stacked_network import Stacked

_LOGGER = logging.getLogger(__name__)
_OPEN = 0  # the key of the program whose K is left open
_EXAMPLE_SIZE = 6  # K while that is traced


def take_step(task: Task, changing: Changing, numbers: Stacked, chosen: Tensor) -> Changing:
    """Take one step of all members of a population; the task keeps the programs.

    Args:
        task: what the members share.
        changing: the members' parameters, buffers and states, stacked.
        numbers: the rule's numbers, shape (K,) each.
        chosen: the members' examples, shape (K, B).

    Returns:
        The new parameters, buffers and states.
    """
    everything = (changing, numbers, chosen, task.images, task.one_hot)
    if task.compiled and _OPEN not in task.programs:
        task.programs[_OPEN] = _compiled(task, everything)
    step: Callable[..., Changing] | None = task.programs.get(_OPEN)
    if step is None:
        size = len(chosen)
        if size not in task.programs:
            task.programs[size] = make_fx(task.population_step)(*everything)
        step = task.programs[size]
    return step(*everything)


def _compiled(task: Task, everything: Sequence[Any]) -> Callable[..., Changing] | None:
    """Return the compiled step, or None, with a warning, where it can't be compiled."""
    try:
        return compile_open_size(task.population_step, everything, num_stacked=3)
    except (RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        _LOGGER.warning("the step is traced, not compiled: %s", reason[0])
        return None


def compile_open_size(
    function: Callable[..., Any], arguments: Sequence[Any], *, num_stacked: int
) -> Callable[..., Any]:
    """Compile a function of tensors in nested dictionaries and tuples.

    Args:
        function: tensor arithmetic only.
        arguments: an example; all sizes but the open one are those of every later call.
        num_stacked: the first so many arguments' tensors have the open size K as their first.

    Returns:
        A function of like arguments.

    Raises:
        RuntimeError: where torch can't compile it: no C++ compiler, or an operation it has not.
    """
    stacked, _ = pytree.tree_flatten(tuple(arguments[:num_stacked]))
    leaves, spec = pytree.tree_flatten(tuple(arguments))
    result_spec: list[Any] = []

    def flat(*values: Tensor) -> list[Tensor]:
        result = function(*pytree.tree_unflatten(list(values), spec))
        tensors, form = pytree.tree_flatten(result)
        result_spec[:] = [form]
        return tensors

    fakes = _fakes(leaves, len(stacked))
    with torch.no_grad():
        with fakes[0].fake_mode:
            graph = make_fx(flat)(*fakes)
        # One process: a pool of compiling processes would outlive the step it was made for.
        with torch._inductor.config.patch(compile_threads=1):  # noqa: SLF001
            program = torch._inductor.compile(graph, fakes)  # noqa: SLF001

    def call(*given: Any) -> Any:
        return pytree.tree_unflatten(program(*pytree.tree_leaves(given)), result_spec[0])

    return call


def _fakes(leaves: Sequence[Tensor], num_stacked: int) -> list[Any]:
    """Return tensors without data whose first size, for the stacked ones, is left open."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import (
        DimDynamic,
        ShapeEnv,
        StatelessSymbolicContext,
    )

    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    fakes = []
    for place, leaf in enumerate(leaves):
        sizes = [DimDynamic.STATIC] * leaf.ndim
        if place < num_stacked:
            leaf = leaf[:1].expand(_EXAMPLE_SIZE, *leaf.shape[1:]).contiguous()
            sizes[0] = DimDynamic.DUCK
        fakes.append(
            mode.from_tensor(leaf, symbolic_context=StatelessSymbolicContext(dynamic_sizes=sizes))
        )
    return fakes

"""The step of K members as one flat program: traced, or compiled by torch's inductor.

Traced: `make_fx` lists the tensor operations of the mapped step once per K (0.1 to 0.5 s), which
takes half the time of `vmap` itself. Compiled: the same list with K left open goes to inductor
once, whatever sizes the population shrinks to; it fuses the small operations. It takes seconds and
a C++ compiler; inductor keeps the result on disk.

A network whose members step one by one (`StackedNetwork.one_by_one`) has the traced program of one.

K is a size of the program's outermost loops only and all other sizes are constants, so a member's
numbers do not depend on K, bit for bit; tests/surrogate/test_population_compiled.py holds it.
"""

import functools
import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: PLC2701 - it has no public name
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import (
    DimDynamic,
    ShapeEnv,
    StatelessSymbolicContext,
)

from surrogate.training.member_step import population_step, single_step
from surrogate.training.stacked_network import Stacked
from surrogate.training.task import Changing, Task
from surrogate.training.tensor_trees import tree_flatten, tree_leaves, tree_unflatten

_LOGGER = logging.getLogger(__name__)
_OPEN = 0  # the key of the program whose K is left open
_EXAMPLE_SIZE = 6  # K while that is traced


def take_step(
    task: Task,
    changing: Changing,
    numbers: Stacked,
    chosen: Tensor,
    *,
    phase: str | None = None,
) -> Changing:
    """Take one step of all members of a population; the task keeps the programs.

    Args:
        task: what the members share.
        changing: the members' parameters, buffers and states, stacked.
        numbers: the rule's numbers, shape (K,) each.
        chosen: the members' examples, shape (K, B).
        phase: what is due in this step for all members alike; each phase has its own program.

    Returns:
        The new parameters, buffers and states.
    """
    if task.stacked_network.one_by_one:
        return _one_by_one(task, changing, numbers, chosen, phase)
    everything = (changing, numbers, chosen, (task.images, task.one_hot))
    whole_step = functools.partial(population_step, task, phase=phase)
    if task.compiled and (_OPEN, phase) not in task.programs:
        task.programs[_OPEN, phase] = _compiled(whole_step, everything, num_stacked=3)
    step: Callable[..., Changing] | None = task.programs.get((_OPEN, phase))
    if step is None:
        size = len(chosen)
        if (size, phase) not in task.programs:
            task.programs[size, phase] = _traced(whole_step, everything)
        step = task.programs[size, phase]
    return step(*everything)


def _one_by_one(
    task: Task, changing: Changing, numbers: Stacked, chosen: Tensor, phase: str | None
) -> Changing:
    """Take each member's step by the traced program of one, on flat lists of tensors."""
    stacked, data = tree_leaves((changing, numbers)), (task.images, task.one_hot)
    results = []
    for place in range(len(chosen)):
        # Copies of its own: whatever a library makes of a tensor's address is the same for all.
        own = [leaf[place].clone() for leaf in stacked]
        if ("member", phase) not in task.programs:
            _, form = tree_flatten((changing, numbers))
            flat, leaves, _ = _flat(
                functools.partial(single_step, task, phase=phase),
                (*tree_unflatten(own, form), chosen[place], data),
            )
            task.programs["member", phase] = make_fx(flat)(*leaves)
        results.append(task.programs["member", phase](*own, chosen[place], *data))
    _, form = tree_flatten(changing)
    new: Changing = tree_unflatten(
        [torch.stack(members) for members in zip(*results, strict=True)], form
    )
    return new


def program_of(
    task: Task, function: Callable[..., Any], arguments: Sequence[Any]
) -> Callable[..., Any]:
    """Return a function of tensors as a program for these sizes: compiled where the step is.

    Args:
        task: whether to compile.
        function: tensor arithmetic only.
        arguments: tensors in nested dictionaries and tuples.

    Returns:
        A function of like arguments.
    """
    program = None
    if task.compiled and None not in task.programs.values():
        program = _compiled(function, arguments, num_stacked=0)
    return program or _traced(function, arguments)


def _compiled(
    function: Callable[..., Any], arguments: Sequence[Any], *, num_stacked: int
) -> Callable[..., Any] | None:
    """Return the compiled function, or None, with a warning, where it can't be compiled."""
    try:
        return compiled_for_any_size(function, arguments, num_stacked=num_stacked)
    except (RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        _LOGGER.warning("the step is traced, not compiled: %s", reason[0])
        return None


def _flat(
    function: Callable[..., Any], arguments: Sequence[Any]
) -> tuple[Callable[..., list[Tensor]], list[Tensor], list[Any]]:
    """Return a function as one of a flat list of tensors, that list, and its result's form."""
    leaves, spec = tree_flatten(tuple(arguments))
    form: list[Any] = []

    def flat(*values: Tensor) -> list[Tensor]:
        tensors, result_form = tree_flatten(function(*tree_unflatten(list(values), spec)))
        form[:] = [result_form]
        return tensors

    return flat, leaves, form


def _unflat(program: Callable[..., list[Tensor]], form: list[Any]) -> Callable[..., Any]:
    return lambda *given: tree_unflatten(program(*tree_leaves(given)), form[0])


def _traced(function: Callable[..., Any], arguments: Sequence[Any]) -> Callable[..., Any]:
    """Trace a function of tensors for arguments of these sizes."""
    flat, leaves, form = _flat(function, arguments)
    return _unflat(make_fx(flat)(*leaves), form)


def compiled_for_any_size(
    function: Callable[..., Any], arguments: Sequence[Any], *, num_stacked: int
) -> Callable[..., Any]:
    """Compile a function of tensors in nested dictionaries and tuples.

    Where torch can't (no C++ compiler, an operation it has not) the error is a `RuntimeError`.

    Args:
        function: tensor arithmetic only.
        arguments: an example; all sizes but the open one are those of every later call.
        num_stacked: the first so many arguments' tensors have the open size K as their first.

    Returns:
        A function of like arguments, for any K from 2 on.

    Raises:
        RuntimeError: where the program would not serve every K.
    """
    flat, leaves, form = _flat(function, arguments)
    fakes, sizes = _fakes(leaves, len(tree_leaves(tuple(arguments[:num_stacked]))))
    with torch.no_grad():
        with fakes[0].fake_mode:
            graph = make_fx(flat)(*fakes)
        program = _compile(graph, fakes)
    for guard in sizes.guards:
        (symbol,) = guard.expr.free_symbols
        if not all(guard.expr.subs({symbol: size}) for size in (2, 3, 2**10)):
            raise RuntimeError(f"a step that holds only for populations with {guard.expr}")
    return _unflat(program, form)


def _compile(graph: torch.fx.GraphModule, arguments: Sequence[Any]) -> Callable[..., list[Tensor]]:
    with warnings.catch_warnings():
        # torch's own files still use what torch has deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        # Seconds to import, so only where something is compiled.
        from torch import _inductor as inductor  # noqa: PLC2701 - it takes graphs without dynamo
        from torch._inductor import config  # noqa: PLC2701

        # One process: a pool of compiling processes would outlive the step it was made for.
        with config.patch(compile_threads=1):
            program: Callable[..., list[Tensor]] = inductor.compile(graph, list(arguments))
    return program


def _fakes(leaves: Sequence[Tensor], num_stacked: int) -> tuple[list[Any], ShapeEnv]:
    """Return tensors without data whose first size, for the stacked ones, is left open."""
    sizes = ShapeEnv()
    mode = FakeTensorMode(shape_env=sizes, allow_non_fake_inputs=True)
    fakes = []
    for place, leaf in enumerate(leaves):
        kinds, example = [DimDynamic.STATIC] * leaf.ndim, leaf
        if place < num_stacked:
            kinds[0] = DimDynamic.DUCK  # one symbol for all that have this size
            example = leaf[:1].expand(_EXAMPLE_SIZE, *leaf.shape[1:]).contiguous()
        context = StatelessSymbolicContext(dynamic_sizes=kinds)  # type: ignore[var-annotated]
        fakes.append(mode.from_tensor(example, symbolic_context=context))
    return fakes, sizes

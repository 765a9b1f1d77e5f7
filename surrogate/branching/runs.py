"""Trains a base run of several seeds and, from its checkpoints, branches at larger batch sizes.

All seeds of a run are the members of one mapped step, a branch's seeds and rules likewise; a
branch's examples are those that the base run would have taken next. Constant learning rates.

Shapes: K members, R seeds, N evaluations, M batch sizes.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import grad, vmap

from fullscale.data.order import stream_indices
from models_of_scaling.branching import Branches
from models_of_scaling.noise_scale import NoiseScale, noise_scale_of_blocks, unbiased_moments
from surrogate.branching.plan import BASE_FACTORS, RULES, BranchPlan, Checkpoint, evaluated_at
from surrogate.training.evaluation import mean_loss_and_accuracy
from surrogate.training.mapped_step import take_step
from surrogate.training.stacked_network import Stacked
from surrogate.training.task import Changing, Task
from surrogate.training.tensor_trees import tree_map

# Evaluations of the base run over a branch's length; its loss is interpolated between them.
_EVALUATIONS = 24
# Of the noise scale: groups of the jackknife, and microbatches in each.
_GROUPS, _MICROBATCHES, _MICROBATCH = 16, 16, 16


def run_branches(task: Task, plan: BranchPlan, *, say: Any = None) -> list[Checkpoint]:
    """Train the base run, and every branch of every checkpoint.

    Args:
        task: of the base run.
        plan: what to train.
        say: called with a line at each checkpoint.

    Returns:
        One entry a checkpoint.
    """
    networks = [task.network(seed) for seed in plan.seeds]
    with torch.no_grad():
        parameters, buffers = task.stacked_network.stack(networks)
        changing: Changing = (parameters, buffers, task.init_states(parameters))
    tasks = {size: replace(task, batch_size=size) for size in plan.batch_sizes}
    numbers = _numbers(task, plan, [1.0] * len(plan.seeds))
    done, found = 0, []
    for at in plan.checkpoints:
        changing = _advance(task, changing, numbers, plan.seeds, done, at)
        done = at
        if say is not None:
            say(f"checkpoint at {at:,} examples: branches at {', '.join(map(str, tasks))}")
        branches = _branches(task, tasks, plan, changing, at)
        seeds = range(len(plan.seeds))
        noise = tuple(_noise_at(task, _member(changing, k), seed=plan.seeds[k]) for k in seeds)
        found.append(Checkpoint(branches=branches, noise=noise))
    return found


def _branches(
    task: Task, tasks: Mapping[int, Task], plan: BranchPlan, start: Changing, at: int
) -> Branches:
    """Train the branches of one checkpoint, and the base run along and ahead of them."""
    seeds, count = plan.seeds, len(plan.seeds)
    everyone = seeds * len(BASE_FACTORS)
    numbers = _numbers(task, plan, [factor for factor in BASE_FACTORS for _ in seeds])
    examples_N = evaluated_at(task.batch_size, plan.branch_examples, evaluations=_EVALUATIONS)
    base = tree_map(lambda t: torch.cat([t] * len(BASE_FACTORS)), start)
    losses = [_losses(task, base, len(everyone))]
    for before, after in itertools.pairwise(examples_N):
        base = _advance(task, base, numbers, everyone, at + before, at + after)
        losses.append(_losses(task, base, len(everyone)))
    by_factor = np.split(np.stack(losses, axis=1), len(BASE_FACTORS))
    many = tree_map(lambda t: torch.cat([t] * len(plan.rules)), start)
    by_rule: dict[str, list[NDArray[np.float64]]] = {rule: [] for rule in plan.rules}
    for size, larger in tasks.items():
        ratio = size / task.batch_size
        factors = [ratio ** RULES[rule] for rule in plan.rules for _ in seeds]
        scaled = _numbers(larger, plan, factors)
        everyone = seeds * len(plan.rules)
        end = _advance(larger, many, scaled, everyone, at, at + plan.branch_examples)
        loss = _losses(larger, end, len(everyone)).reshape(len(plan.rules), count)
        for rule, row in zip(plan.rules, loss, strict=True):
            by_rule[rule].append(row)
    return Branches(
        examples=at,
        base_batch_size=task.batch_size,
        branch_examples=plan.branch_examples,
        base_examples_N=np.array(examples_N, float),
        base_loss_RN=dict(zip(BASE_FACTORS, by_factor, strict=True)),
        batch_sizes=tuple(tasks),
        loss_RM={rule: np.stack(rows, axis=1) for rule, rows in by_rule.items()},
    )


def _numbers(task: Task, plan: BranchPlan, factors: Sequence[float]) -> Stacked:
    """Return the rule's numbers of members whose rates are so many times the base run's."""
    complete = task.rule.numbers(**plan.numbers)
    rate = float(complete["learning_rate"])
    return {
        name: torch.tensor(
            [rate * f if name == "learning_rate" else float(value) for f in factors],
            dtype=task.dtype,
            device=task.device,
        )
        for name, value in complete.items()
    }


def _advance(
    task: Task, changing: Changing, numbers: Stacked, seeds: Sequence[int], start: int, stop: int
) -> Changing:
    """Train members from one place of their streams of examples to another."""
    size = task.batch_size
    with torch.no_grad():
        for first in range(start, stop, size):
            streams = {
                seed: stream_indices(
                    seed=seed,
                    num_examples=task.data.num_train_examples,
                    start=first,
                    stop=first + size,
                )
                for seed in dict.fromkeys(seeds)
            }
            chosen = torch.from_numpy(np.stack([streams[seed] for seed in seeds]))
            changing = take_step(task, changing, numbers, chosen.to(task.device))
    return changing


def _member(changing: Changing, place: int) -> Changing:
    member: Changing = tree_map(lambda tensor: tensor[place].clone(), changing)
    return member


def _losses(task: Task, changing: Changing, count: int) -> NDArray[np.float64]:
    """Return each member's training loss, shape (K,)."""
    found = []
    with torch.no_grad():
        for place in range(count):
            parameters, buffers, states = _member(changing, place)
            weights = task.evaluation_parameters(parameters, states)
            found.append(mean_loss_and_accuracy(task, weights, buffers, task.train_loss_set)[0, 0])
        return torch.stack(found).double().cpu().numpy()


def _noise_at(task: Task, member: Changing, *, seed: int) -> NoiseScale:
    """Return the noise scale at one member's weights, from microbatches drawn with replacement."""
    parameters, buffers, _ = member
    generator = np.random.default_rng([seed, 1])
    size = min(_MICROBATCH, task.data.num_train_examples)

    def loss(weights: Stacked, images: Tensor, one_hot: Tensor) -> Tensor:
        logits, _ = task.stacked_network.train_forward(weights, buffers, images)
        return task.loss.per_example(logits, one_hot).sum() / size

    per_microbatch = vmap(grad(loss), in_dims=(None, 0, 0))
    moments = []
    for _ in range(_GROUPS):
        drawn = generator.integers(task.data.num_train_examples, size=(_MICROBATCHES, size))
        flat = torch.from_numpy(drawn.ravel()).to(task.device)
        images = task.to_numbers(task.images[flat])
        shape = (_MICROBATCHES, size)
        with torch.no_grad():
            gradients = per_microbatch(
                parameters,
                images.view(*shape, *images.shape[1:]),
                task.one_hot[flat].view(*shape, -1),
            )
        rows = torch.cat([g.flatten(1) for g in gradients.values()], dim=1).double()
        small = float(rows.square().sum(dim=1).mean())
        big = float(rows.mean(dim=0).square().sum())
        moments.append(
            unbiased_moments(
                small, big, inverse_small=1 / size, inverse_big=1 / (size * _MICROBATCHES)
            )
        )
    trace_J, sq_norm_J = np.array(moments, float).T
    return noise_scale_of_blocks(trace_J, sq_norm_J, weights_J=np.ones(_GROUPS), steps=_GROUPS)

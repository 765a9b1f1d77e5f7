"""Every update rule on a tiny network: alone, by DDP and by FSDP2, in the same two processes.

Started by torchrun; rank 0 writes argv[1]: rule to the largest differences;
argv[2:] are the rules, all where none is given. FSDP2's run is saved
whole half way and goes on in a new network.
"""

import copy
import functools
import json
import sys
from pathlib import Path

import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from fullscale.checkpoints.whole_state import gather_state, restore_state
from fullscale.launch.worker_threads import let_workers_finish
from fullscale.optimizers.layers import layers_of
from fullscale.optimizers.network_batch import NetworkBatch
from fullscale.optimizers.registry import BATCH_RULES, UPDATE_RULES, get_update_rule
from fullscale.optimizers.rule_optimizer import RuleOptimizer
from fullscale.sharding import whole
from models_of_scaling.errors import InputError

LAYER_WISE = ["lars", "lars_mlperf", "lars_scaled_momentum", "lamb", "novograd"]
WRAPPED = ["lookahead:adam", "ema:lars", *BATCH_RULES, "sam:momentum", "sam:muon"]
# AdaScale's parts of each process's share of four examples.
LOCAL_CUT = [(0, 1), (2, 3)]
# In a direction without gradient Adam divides rounding by epsilon.
EPSILONS = {"soap": 1e-3}
# Per step about a hundredth of the weights' size for all.
RATES = {"lars": 0.05, "lars_mlperf": 0.05, "lars_scaled_momentum": 0.05, "ema:lars": 0.05}
MOST_STEPS = 20  # of layer-wise rules, by their contract; 6 of the others


class Scale(nn.Module):
    """A parameter of one element: one of two processes holds nothing of it."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.ones(1))

    def forward(self, images):
        return images * self.factor


def build(dtype):
    torch.manual_seed(5)
    # Odd sizes: no axis divides by two.
    layers = [nn.Conv2d(2, 3, 3), nn.Tanh(), Scale(), nn.Flatten(), nn.Linear(27, 3)]
    return nn.Sequential(*layers).to(dtype)


def batches(dtype):
    generator = torch.Generator().manual_seed(6)
    images = torch.randn(MOST_STEPS, 8, 2, 5, 5, generator=generator, dtype=torch.float64).to(dtype)
    return images, torch.randint(3, (MOST_STEPS, 8), generator=generator)


class Trainee:
    """A network with its optimizer, and the batch that a rule may ask."""

    def __init__(self, name, network, wrapped=None, cut=None):
        self.network, self.wrapped, self.kept = network, wrapped or network, []
        rule, self.batch = get_update_rule(name), None
        if rule.gradient_rule is not None:
            self.batch = NetworkBatch(
                network,
                rule.gradient_rule,
                layers=layers_of(build(torch.float64)),
                losses=lambda: [self.loss(network, *self.kept)],
                parts=lambda: [functools.partial(self.run_part, part) for part in cut or LOCAL_CUT],
                is_shared=cut is None,
            )
        self.optimizer = optimizer_of(name, network, self.batch)

    def run_part(self, part):
        images, labels = (each[list(part)] for each in self.kept)
        nn.functional.cross_entropy(self.network(images), labels, reduction="sum").backward()
        return torch.tensor(float(len(images)))

    @staticmethod
    def loss(network, images, labels):
        # Means over equal parts, averaged over processes: the mean over the batch.
        return nn.functional.cross_entropy(network(images), labels)

    def train(self, dtype, steps, part):
        images, labels = batches(dtype)
        for step in steps:
            self.optimizer.zero_grad()
            self.kept = images[step, part], labels[step, part]
            if self.batch is None:
                loss = self.loss(self.wrapped, *self.kept)
            else:
                with self.batch.forward():
                    scores = self.wrapped(self.kept[0])
                ones = torch.ones(len(scores), dtype=dtype)
                self.batch.note(scores, self.kept[1], ones, first_place=part.start or 0)
                loss = nn.functional.cross_entropy(scores, self.kept[1])
            loss.backward()
            self.optimizer.step()


def optimizer_of(name, network, batch=None):
    rule = get_update_rule(name)
    numbers = {"weight_decay": 0.01}
    if name in EPSILONS:
        numbers["epsilon"] = EPSILONS[name]
    if "inverse_every" in rule.defaults:
        numbers |= {"inverse_every": 2.0, "kl_clip": 0.01}
    if "trust_coefficient" in rule.defaults:
        numbers["trust_coefficient"] = 0.2
    return RuleOptimizer(
        network.named_parameters(),
        rule=rule,
        learning_rate=RATES.get(name, 0.005),
        batch=batch,
        **numbers,
    )


def steps_of(name):
    return MOST_STEPS if name in LAYER_WISE else 6


def alone(name, dtype, cut):
    trainee = Trainee(name, build(dtype), cut=cut)
    trainee.train(dtype, range(steps_of(name)), slice(None))
    return trainee.network, trainee.optimizer


def by_ddp(name, dtype, part):
    network = build(dtype)
    trainee = Trainee(name, network, DistributedDataParallel(network))
    trainee.train(dtype, range(steps_of(name)), part)
    return network, trainee.optimizer


def by_fsdp2(name, dtype, part, mesh):
    first = Trainee(name, fully_shard(build(dtype), mesh=mesh))
    half = steps_of(name) // 2
    first.train(dtype, range(half), part)
    model_state, optimizer_state = copy.deepcopy(gather_state(first.network, first.optimizer))
    second = Trainee(name, fully_shard(build(dtype), mesh=mesh))
    restore_state(
        second.network,
        second.optimizer,
        model_state=model_state,
        optimizer_state=optimizer_state,
    )
    second.train(dtype, range(half, steps_of(name)), part)
    return second.network, second.optimizer


def shown(network, optimizer):
    """The trained weights, then those to evaluate with."""
    trained = [whole(p.detach()).clone() for p in network.parameters()]
    optimizer.show_evaluation_parameters()
    evaluated = [whole(p.detach()).clone() for p in network.parameters()]
    optimizer.show_trained_parameters()
    again = [whole(p.detach()) for p in network.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(trained, again, strict=True))
    return trained + evaluated


def fsdp2_difference(want, name, dtype, part, mesh):
    try:
        return difference(want, shown(*by_fsdp2(name, dtype, part, mesh)))
    except InputError as error:
        return str(error)


def difference(one, other):
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(one, other, strict=True))


def main(path, *only):
    distributed.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (2,))
    rank = distributed.get_rank()
    part = slice(4 * rank, 4 * rank + 4)
    cases = [(name, torch.float64) for name in [*UPDATE_RULES, *WRAPPED]]
    cases += [(name, torch.float32) for name in LAYER_WISE]
    found = {}
    for name, dtype in cases:
        if only and name not in only:
            continue
        untrained = Trainee(name, build(dtype))
        start = shown(untrained.network, untrained.optimizer)
        # Parts as DDP's processes have them, and spread over both as FSDP2's backward does.
        want = shown(*alone(name, dtype, [(0, 1), (2, 3), (4, 5), (6, 7)]))
        spread = shown(*alone(name, dtype, [(0, 1, 4, 5), (2, 3, 6, 7)]))
        moved = max(float((a - b).abs().max()) for a, b in zip(start, want, strict=True))
        found[f"{name} {str(dtype).removeprefix('torch.')}"] = {
            "moved": moved,
            "ddp": difference(want, shown(*by_ddp(name, dtype, part))),
            "fsdp2": fsdp2_difference(spread, name, dtype, part, mesh),
        }
    if rank == 0:
        Path(path).write_text(json.dumps(found), encoding="utf-8")
    let_workers_finish()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])

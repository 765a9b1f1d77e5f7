"""Every update rule on a tiny network: alone, by DDP and by FSDP2, in the same two processes.

Started by torchrun; rank 0 writes argv[1]: rule to the largest differences. FSDP2's run is saved
whole half way and goes on in a new network.
"""

import copy
import json
import sys
from pathlib import Path

import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from fullscale.checkpoints.whole_state import gather_state, restore_state
from fullscale.optimizers.registry import UPDATE_RULES, get_update_rule
from fullscale.optimizers.rule_optimizer import RuleOptimizer
from fullscale.sharding import whole

LAYER_WISE = ["lars", "lars_mlperf", "lars_scaled_momentum", "lamb", "novograd"]
WRAPPED = ["lookahead:adam", "ema:lars"]
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


def optimizer_of(name, network):
    rule = get_update_rule(name)
    numbers = {"weight_decay": 0.01}
    if "trust_coefficient" in rule.defaults:
        numbers["trust_coefficient"] = 0.2
    return RuleOptimizer(
        network.parameters(), rule=rule, learning_rate=RATES.get(name, 0.005), **numbers
    )


def steps_of(name):
    return MOST_STEPS if name in LAYER_WISE else 6


def train(network, optimizer, dtype, steps, part):
    images, labels = batches(dtype)
    for step in steps:
        optimizer.zero_grad()
        scores = network(images[step, part])
        # Means over equal parts, averaged over processes: the mean over the batch.
        nn.functional.cross_entropy(scores, labels[step, part]).backward()
        optimizer.step()


def alone(name, dtype):
    network = build(dtype)
    optimizer = optimizer_of(name, network)
    train(network, optimizer, dtype, range(steps_of(name)), slice(None))
    return network, optimizer


def by_ddp(name, dtype, part):
    network = build(dtype)
    optimizer = optimizer_of(name, network)
    train(DistributedDataParallel(network), optimizer, dtype, range(steps_of(name)), part)
    return network, optimizer


def by_fsdp2(name, dtype, part, mesh):
    network = fully_shard(build(dtype), mesh=mesh)
    optimizer = optimizer_of(name, network)
    half = steps_of(name) // 2
    train(network, optimizer, dtype, range(half), part)
    model_state, optimizer_state = copy.deepcopy(gather_state(network, optimizer))
    network = fully_shard(build(dtype), mesh=mesh)
    optimizer = optimizer_of(name, network)
    restore_state(network, optimizer, model_state=model_state, optimizer_state=optimizer_state)
    train(network, optimizer, dtype, range(half, steps_of(name)), part)
    return network, optimizer


def shown(network, optimizer):
    """The trained weights, then those to evaluate with."""
    trained = [whole(p.detach()).clone() for p in network.parameters()]
    optimizer.show_evaluation_parameters()
    evaluated = [whole(p.detach()).clone() for p in network.parameters()]
    optimizer.show_trained_parameters()
    again = [whole(p.detach()) for p in network.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(trained, again, strict=True))
    return trained + evaluated


def difference(one, other):
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(one, other, strict=True))


def main(path):
    distributed.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (2,))
    rank = distributed.get_rank()
    part = slice(4 * rank, 4 * rank + 4)
    cases = [(name, torch.float64) for name in [*UPDATE_RULES, *WRAPPED]]
    cases += [(name, torch.float32) for name in LAYER_WISE]
    found = {}
    for name, dtype in cases:
        start = shown(build(dtype), optimizer_of(name, build(dtype)))
        want = shown(*alone(name, dtype))
        moved = max(float((a - b).abs().max()) for a, b in zip(start, want, strict=True))
        found[f"{name} {str(dtype).removeprefix('torch.')}"] = {
            "moved": moved,
            "ddp": difference(want, shown(*by_ddp(name, dtype, part))),
            "fsdp2": difference(want, shown(*by_fsdp2(name, dtype, part, mesh))),
        }
    if rank == 0:
        Path(path).write_text(json.dumps(found), encoding="utf-8")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])

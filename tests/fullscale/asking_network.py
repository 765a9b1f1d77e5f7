"""A small network trained by hand with a rule that asks its batch, cut into forwards at will."""

import torch
from torch import nn
from torch.nn import functional

from fullscale.optimizers.layers import layers_of
from fullscale.optimizers.network_batch import NetworkBatch
from fullscale.optimizers.parameter_groups import ParameterGroups
from fullscale.optimizers.registry import get_update_rule
from fullscale.optimizers.rule_optimizer import RuleOptimizer

BATCH = 12
GROUPS = ParameterGroups()


def network_of(dtype=torch.float64, *, seed=1):
    torch.manual_seed(seed)
    layers = [
        nn.Conv2d(2, 3, 2, stride=2, padding=1),
        nn.GroupNorm(1, 3),
        nn.Tanh(),
        nn.Conv2d(3, 2, 2, bias=False),
        nn.Flatten(),
        nn.Linear(8, 4),
    ]
    return nn.Sequential(*layers).to(dtype)


def batches(steps, dtype=torch.float64):
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(steps, BATCH, 2, 4, 4, generator=generator, dtype=torch.float64)
    return images.to(dtype), torch.randint(4, (steps, BATCH), generator=generator)


class Trainee:
    """A network, its rule's optimizer, and the step's batch."""

    def __init__(self, name, network, *, parts=1, learning_rate=0.1, groups=GROUPS, **numbers):
        self.network, self.parts, self.kept = network, parts, []
        rule = get_update_rule(name)
        self.batch = None
        if rule.gradient_rule is not None:
            self.batch = NetworkBatch(
                network,
                rule.gradient_rule,
                layers=layers_of(network),
                losses=lambda: (self.loss(*kept) for kept in self.kept),
                parts=self.pieces,
            )
        self.optimizer = RuleOptimizer(
            network.named_parameters(),
            rule=rule,
            learning_rate=learning_rate,
            traits=list(groups.traits(network).values()),
            batch=self.batch,
            **numbers,
        )

    def pieces(self):
        """Four in all, whatever the forwards."""
        for images, labels in self.kept:
            for piece in zip(
                *(each.chunk(4 // self.parts) for each in (images, labels)), strict=True
            ):

                def run(images=piece[0], labels=piece[1]):
                    (BATCH * self.loss(images, labels)).backward()
                    return torch.tensor(float(len(images)))

                yield run

    def loss(self, images, labels):
        scores = self.network(images)
        return functional.cross_entropy(scores, labels, reduction="sum") / BATCH

    def evaluate(self, images, labels):
        """Leave the step's gradient in the network, its batch told of each forward."""
        self.optimizer.zero_grad()
        self.kept = list(zip(images.chunk(self.parts), labels.chunk(self.parts), strict=True))
        first = 0
        for part, wanted in self.kept:
            ones = torch.ones(len(part), dtype=images.dtype)
            if self.batch is None:
                scores = self.network(part)
            else:
                with self.batch.forward():
                    scores = self.network(part)
                self.batch.note(scores, wanted, ones, first_place=first)
            losses = functional.cross_entropy(scores, wanted, reduction="sum")
            (losses / BATCH).backward()
            first += len(part)

    def train(self, images, labels):
        for each in zip(images, labels, strict=True):
            self.evaluate(*each)
            self.optimizer.step()
        return torch.cat([p.detach().flatten() for p in self.network.parameters()])

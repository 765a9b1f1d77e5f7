"""The trainer's step as a batch that optimizers can ask for more than its gradient.

SAM wants the gradient of the same examples at other weights: the step's micro-batches are kept and
their forwards and backwards run again. K-FAC wants what goes through the layers: watched in the
step's own forwards. `fullscale.optimizers.network_batch` does the asking; here is what is the
trainer's own: precision, batch norm's statistics, accumulation, what is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fullscale.data.micro_batches import MicroBatch
from fullscale.optimizers.gradient_rule import GradientRule
from fullscale.optimizers.layers import layers_of
from fullscale.optimizers.network_batch import NetworkBatch
from fullscale.optimizers.update_rule import UpdateRule
from models_of_scaling.errors import InputError

if TYPE_CHECKING:
    from fullscale.module import Classifier

_ELSEWHERE = "gradients elsewhere"


def checked_rule(rule: UpdateRule, *, compiled: bool) -> UpdateRule:
    """Return a rule, if hooks on layers can see what it asks.

    Args:
        rule: of the optimizer.
        compiled: the network will be.

    Raises:
        InputError: where the rule needs to see the layers of a compiled network.
    """
    asks = rule.gradient_rule
    if compiled and asks is not None and "factors" in asks.needs:
        raise InputError(
            f"--model.compile true: {rule.name} watches the network's layers, which a compiled "
            "network does not have; leave it out"
        )
    return rule


class AskedBatch:
    """What a classifier tells of each step to a rule that asks."""

    def __init__(self, module: Classifier, rule: GradientRule, network: nn.Module) -> None:
        """Note the network's layers.

        Args:
            module: of the run.
            rule: what is asked.
            network: not yet cut over devices.
        """
        self._module, self._rule = module, rule
        self._layers = layers_of(network)
        self._kept: list[MicroBatch] = []
        self._is_again = False

    def open(self) -> NetworkBatch:
        """Return the batch for the optimizer; the strategy has set the network up.

        Raises:
            InputError: naming the flag that does not go with the rule.
        """
        module = self._module
        if module.trainer.precision in {"16-mixed", "16"}:
            raise InputError(
                f"--trainer.precision {module.trainer.precision}: {module.rule.name} needs "
                "gradients without a scale; take bf16-mixed or 32-true"
            )
        if "factors" in self._rule.needs and module.data.copies > 1:
            raise InputError(
                f"--trainer.strategy: {module.rule.name} needs each layer's outputs on one device; "
                "take fsdp2 without a shared head"
            )
        self.batch = NetworkBatch(
            module.network, self._rule, layers=self._layers, run_again=self._run_again
        )
        return self.batch

    def scores(self, batch: MicroBatch, *, forward: int) -> Tensor:
        """Return the network's scores, noting what the rule will ask.

        Args:
            batch: images, labels, weights.
            forward: which of the step's forwards.
        """
        images, labels, weights = batch
        if self._is_again:
            return self._module.scores(images)
        if forward == 0:
            self._kept = []
        if _ELSEWHERE in self._rule.needs:
            self._kept.append(batch)
        with self.batch.forward():
            scores = self._module.scores(images)
        data = self._module.data
        places = data.plan.layout.micro_batch(rank=data.rank, forward=forward)
        self.batch.note(scores, labels, weights, first_place=places.start)
        return scores

    def _run_again(self) -> None:
        """Run the step's forwards and backwards again; the module's sums stay as they were."""
        module = self._module
        norms = module.batch_norm.layers if module.batch_norm is not None else []
        pending = [layer.pending.clone() for layer in norms]
        self._is_again = True
        with module.without_counting():
            for batch in self._kept:
                with module.trainer.precision_plugin.forward_context():
                    loss = module.training_step(batch)
                (loss / module.trainer.accumulate_grad_batches).backward()
        self._is_again = False
        with torch.no_grad():
            for layer, value in zip(norms, pending, strict=True):
                layer.pending.copy_(value)

"""The trainer's step as a batch that optimizers can ask for more than its gradient.

SAM wants the gradient of the same examples at other weights: the step's micro-batches are kept and
their forwards and backwards run again. K-FAC wants what goes through the layers: watched in the
step's own forwards. `fullscale.optimizers.network_batch` does the asking; here is what is the
trainer's own: precision, batch norm's statistics, accumulation, what is refused.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fullscale.batch_layout import even_slice
from fullscale.data.micro_batches import MicroBatch
from fullscale.optimizers.gradient_rule import GradientRule
from fullscale.optimizers.layers import layers_of
from fullscale.optimizers.network_batch import NetworkBatch
from fullscale.optimizers.update_rule import UpdateRule
from models_of_scaling.errors import InputError

if TYPE_CHECKING:
    from fullscale.module import Classifier

# Parts of the batch of which a variance is estimated, where the processes' forwards are fewer.
_FEWEST_PARTS = 8


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
        layout = module.layout
        if "hessian products" in self._rule.needs and layout.ranks_per_group > 1:
            raise InputError(
                f"--model.batch_norm_span {module.batch_norm_span}: {module.rule.name} can't take "
                "second derivatives through statistics that processes share; take a smaller span"
            )
        if "parts" in self._rule.needs and module.batch_norm_span is not None:
            raise InputError(
                f"--model.batch_norm_span {module.batch_norm_span}: {module.rule.name} cuts each "
                "forward into parts with statistics of their own; leave it out"
            )
        if "factors" in self._rule.needs and module.data.copies > 1:
            raise InputError(
                f"--trainer.strategy: {module.rule.name} needs each layer's outputs on one device; "
                "take fsdp2 without a shared head"
            )
        self.batch = NetworkBatch(
            module.network,
            self._rule,
            layers=self._layers,
            losses=self._losses,
            parts=self._parts,
        )
        self.batch.clip = self._clip()
        return self.batch

    def _clip(self) -> float | None:
        """Return the threshold of gradients elsewhere: the trainer clips the first gradient only.

        Raises:
            InputError: where a clipped gradient would be compared with parts that are not, or
                clipping is not by the norm.
        """
        trainer, name = self._module.trainer, self._module.rule.name
        clip = trainer.gradient_clip_val
        if clip is None:
            return None
        if "parts" in self._rule.needs:
            raise InputError(
                f"--trainer.gradient_clip_val {clip:g}: {name} compares the gradient with those of "
                "parts of its batch, which clipping would falsify; leave it out"
            )
        if trainer.gradient_clip_algorithm == "value" and "gradients elsewhere" in self._rule.needs:
            raise InputError(
                f"--trainer.gradient_clip_algorithm value: {name} clips its second gradient by its "
                "norm alone; take norm"
            )
        return float(clip)

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
        if set(self._rule.needs) - {"factors"}:
            self._kept.append(batch)
        with self.batch.forward():
            scores = self._module.scores(images)
        data = self._module.data
        places = self._module.layout.micro_batch(rank=data.rank, forward=forward)
        self.batch.note(scores, labels, weights, first_place=places.start)
        return scores

    @contextmanager
    def _again(self) -> Generator[None]:
        """Run forwards of the step again; the module's sums stay as they were."""
        module = self._module
        norms = module.batch_norm.layers if module.batch_norm is not None else []
        pending = [layer.pending.clone() for layer in norms]
        self._is_again = True
        with module.without_counting():
            yield
        self._is_again = False
        with torch.no_grad():
            for layer, value in zip(norms, pending, strict=True):
                layer.pending.copy_(value)

    def _run(self, batch: MicroBatch) -> Tensor:
        """Return a forward's loss, as the step's sum over processes and forwards has it."""
        trainer = self._module.trainer
        with trainer.precision_plugin.forward_context():
            loss = self._module.training_step(batch)
        return loss / trainer.accumulate_grad_batches

    def _losses(self) -> Iterator[Tensor]:
        with self._again():
            for batch in self._kept:
                yield self._run(batch)

    def _parts(self) -> Iterator[Callable[[], Tensor]]:
        """Yield runs of parts of this process's forwards: as many pieces of each on all ranks."""
        processes = self._module.trainer.world_size
        pieces = -(-_FEWEST_PARTS // (processes * len(self._kept)))
        scale = self._module.layout.loss_scale
        divisor = self._module.trainer.accumulate_grad_batches

        def run(batch: MicroBatch) -> Tensor:
            with self._again():
                # The loss is the examples' sum times a constant: without it, the sum.
                (self._run(batch) * (divisor / scale)).backward()  # type: ignore[no-untyped-call]
            return batch[2].sum()

        for batch in self._kept:
            for piece in range(pieces):
                part = even_slice(len(batch[0]), parts=pieces, part=piece)
                images, labels, weights = (each[part.start : part.stop] for each in batch)
                if not len(part):  # a filler: all ranks do as many forwards
                    images, labels, weights = (each[:1] for each in batch)
                    weights = torch.zeros_like(weights)
                yield functools.partial(run, (images, labels, weights))

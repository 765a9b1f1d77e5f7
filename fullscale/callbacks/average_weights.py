"""Evaluates with averaged weights: stochastic weight averaging, and fresh batch-norm statistics.

The averages are the update rule's (`swa:` before its name), so they are saved, resumed and cut over
devices as every other state is. The weights that are trained, and their statistics, come back after
each evaluation.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from fullscale.batch_norm_refresh import (
    Statistics,
    keep_statistics,
    put_back_statistics,
    refresh_statistics,
)
from fullscale.data.micro_batches import MicroBatch
from fullscale.durations import Duration
from fullscale.module import Classifier
from fullscale.optimizers.stochastic_weight_average import stochastic_weight_average
from models_of_scaling.errors import InputError


class AverageWeights(Callback):
    """Puts the mean of the weights of a run's end into its evaluations."""

    def __init__(
        self,
        *,
        start: str | None = None,
        every: str = "1 epochs",
        batch_norm_over: str = "1 epochs",
    ) -> None:
        """Choose; without a start there is no averaging.

        Args:
            start: where the first weights join the mean, for example "75 epochs" (Izmailov et al.
                2018).
            every: time between two weights that join.
            batch_norm_over: training examples over which averaged weights get new batch-norm
                statistics before each evaluation; "0 epochs" keeps those of the trained weights.
        """
        self._start = None if start is None else Duration.parse(start, flag="--average.start")
        self._every = Duration.parse(every, flag="--average.every")
        self._over = Duration.parse(batch_norm_over, flag="--average.batch_norm_over")
        self._start_steps = 0
        self._refreshes = False
        self._kept: Statistics | None = None

    def prepare_run(self, module: Classifier) -> None:
        """Wrap the update rule, where there is averaging.

        Args:
            module: prepared, and its processes' averaging too.

        Raises:
            InputError: naming the flag, the value and the rule.
        """
        plan = module.data.plan
        averages_workers = module.gradient_hook.get("comm_hook") == "swap"
        if self._start is not None:
            if averages_workers:
                raise InputError("--average.start does not go together with --comm.hook swap")
            size = {
                "batch_size": plan.layout.global_batch_size,
                "num_train_examples": plan.num_train_examples,
            }
            # Where the batch grows, the place is that of the constant batch's step.
            place = self._start.to_steps(**size) * plan.layout.global_batch_size
            self._start_steps = plan.phases.steps_to(place)
            period = self._every.to_steps(
                batch_size=plan.phases.at(self._start_steps).batch_size,
                num_train_examples=plan.num_train_examples,
            )
            if not 1 <= self._start_steps < plan.num_train_steps or period < 1:
                raise InputError(
                    f"--average.start '{self._start}' and --average.every '{self._every}' must be "
                    f"at least one step, and start before the run's {plan.num_train_steps} are over"
                )
            module.rule = stochastic_weight_average(module.rule)
            module.numbers |= {
                "average_start_steps": float(self._start_steps),
                "average_period_steps": float(period),
            }
        if averages_workers or self._start is not None:
            self._refreshes = self._over.amount > 0
            module.averaging = {"batch_norm_over": str(self._over)}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Be asked for statistics when the weights to evaluate with are in place."""
        assert isinstance(pl_module, Classifier)
        if self._refreshes:
            pl_module.refresh_batch_norm = self._refresh

    def _refresh(self, module: Classifier) -> None:
        span = module.batch_norm
        steps = module.global_step
        averaged = steps >= (self._start_steps or module.workers_apart_after)
        if span is None or not averaged or module.trainer.sanity_checking:
            return
        self._kept = keep_statistics(span)
        plan = module.data.plan
        span.enter_layout(plan.layout)
        refresh_statistics(
            span,
            module.scores,
            _images_of_steps(
                module,
                num_steps=self._over.to_steps(
                    batch_size=plan.layout.global_batch_size,
                    num_train_examples=plan.num_train_examples,
                ),
            ),
        )
        span.enter_layout(module.layout)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the statistics of the trained weights back, where those go on."""
        assert isinstance(pl_module, Classifier)
        if self._kept is not None and not (
            pl_module.averages_workers and (trainer.should_stop or pl_module.status == "reached")
        ):
            assert pl_module.batch_norm is not None
            put_back_statistics(pl_module.batch_norm, self._kept)
        self._kept = None


def _images_of_steps(module: Classifier, *, num_steps: int) -> Iterator[Iterable[Tensor]]:
    """Yield the images of the first steps of the run's stream, a step at a time."""
    trainer = module.trainer
    loader: Any = module.data.first_steps_dataloader(num_steps)
    forwards: Iterator[MicroBatch] = iter(loader)
    for _ in range(num_steps):
        part = itertools.islice(forwards, module.data.plan.layout.accumulate_grad_batches)
        yield (module.on_device(trainer.precision_plugin.convert_input(batch))[0] for batch in part)

"""Squared gradient norms of a training run, step by step, into streams of noise estimates.

Whoever trains says when a microbatch's backward pass begins and ends and when the step's gradient
is whole; nothing here knows Lightning. docs/noise_scale.md has the formulas.
"""

from collections import deque
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fullscale.gradient_noise.norms import GradientNorms
from fullscale.gradient_noise.preconditioners import AdamDirections, LarsNumbers, lars_numbers
from fullscale.gradient_noise.step_norms import (
    Microbatch,
    StepNorms,
    World,
    reduce_records,
    squared_norms,
)
from models_of_scaling.noise_scale import Problem
from models_of_scaling.noise_stream import NoiseStream, Window


class NoiseMeter:
    """Streams of a run's noise estimates.

    Attributes:
        norms: of the last microbatch.
        stream: of the gradient, by tensor, then the sum.
        preconditioned: of the preconditioned gradient.
        microbatch_size: examples of a microbatch, on average over the last steps.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: Optimizer,
        *,
        window: Window,
        preconditioner: str,
        world_size: int = 1,
        copies: int = 1,
    ) -> None:
        """Hook the parameters.

        Args:
            module: on its device, wrapped or cut as it will train.
            optimizer: of its parameters.
            window: which steps count.
            preconditioner: none, adam or lars; InputError where the optimizer has none such.
            world_size: processes.
            copies: of them that see the same examples.
        """
        self.norms = GradientNorms(module)
        self.norms.attach()
        tensors = len(self.norms.parameters)
        self.stream = NoiseStream(window, layers=tensors + 1)
        self.preconditioned = NoiseStream(window, layers=tensors + 1)
        # What became of the last measured steps: kept, not_finite or lone.
        self._outcomes: deque[str] = deque(maxlen=window.steps)
        self.microbatch_size = float("nan")
        self._world = World.of(self.norms.parameters, size=world_size, copies=copies)
        self._step: StepNorms | None = None
        self._pending: list[Tensor] = []
        self._ratios: Tensor | None = None
        self._preconditioner = preconditioner
        self._lars: LarsNumbers | None = None
        self._adam: AdamDirections | None = None
        if preconditioner == "adam":
            self._adam = AdamDirections(optimizer, self.norms.parameters)
            self.norms.precondition = self._adam.of_microbatch
        if preconditioner == "lars":
            self._lars = lars_numbers(optimizer, self.norms.parameters)

    @property
    def pending(self) -> int:
        """Steps that are not in the streams yet."""
        return len(self._pending)

    def begin(self) -> None:
        """A microbatch's backward pass is about to come, on all processes."""
        if self._adam is not None:
            self._adam.gather()
        self.norms.begin()

    def add(self, microbatch: Microbatch) -> None:
        """A microbatch's backward pass is done.

        Args:
            microbatch: what it was.
        """
        self.norms.end()
        if self._step is None:
            self._step = StepNorms(self.norms.norms)
        self._step.add(self.norms.norms, self._changed(), microbatch)

    def sample(self, microbatch: Microbatch) -> None:
        """A gradient of fewer examples is done, beside the step's only microbatch.

        Args:
            microbatch: the fewer examples.
        """
        self.norms.end()
        self._step = StepNorms(self.norms.norms)
        self._step.sample(self.norms.norms, self._changed(), microbatch)

    def _changed(self) -> Tensor | None:
        """Return the norms of the preconditioned gradient, where there are any."""
        if self.norms.precondition is not None:
            return self.norms.preconditioned
        return None if self._ratios is None else self.norms.norms * self._ratios

    def finish_step(self, microbatch: Microbatch, *, scaled: bool = False) -> None:
        """Complete a step; its whole gradient stands in `.grad`.

        Args:
            microbatch: the step's last one.
            scaled: whether `.grad` still has a scaler's factor.
        """
        step, self._step = self._step, None
        if step is None:
            return
        step.finish_sample(microbatch)
        gradients = [parameter.grad for parameter in self.norms.parameters]
        plain = squared_norms(gradients, self.norms.norms)
        if scaled:
            plain = plain / torch.as_tensor(microbatch.scale) ** 2
        changed = torch.zeros_like(plain)
        if self._adam is not None:
            self._adam.forget()
            found = [
                None if g is None else self._adam.of_step(i, g) for i, g in enumerate(gradients)
            ]
            changed = squared_norms(found, self.norms.norms)
            if scaled:
                changed = changed / torch.as_tensor(microbatch.scale) ** 2
        elif self._ratios is not None:
            changed = plain * self._ratios.square()
        big = torch.stack([plain, changed])
        self._pending.append(step.record(big, self.norms.shards, self._world))
        if self._lars is not None:
            self._ratios = self._trust_ratios(plain)

    def _trust_ratios(self, sq_norm_P: Tensor) -> Tensor:
        """Return LARS's ratios of this step, for the next one; over cut tensors a collective."""
        assert self._lars is not None
        weights = squared_norms(list(self.norms.parameters), self.norms.norms)
        both = torch.stack([weights, sq_norm_P])
        if any(cut > 1 for cut in self._world.shards):
            both *= both.new_tensor(self._world.shards) / self._world.size
            torch.distributed.all_reduce(both)
        return self._lars.trust_ratios(*both.sqrt())

    def reduce(self) -> None:
        """Bring what is pending into the streams: all ranks together."""
        if not self._pending:
            return
        done = reduce_records(self._pending, self._world)
        self._pending = []
        for trace, sq_norm in zip(done.plain.trace, done.plain.sq_norm, strict=True):
            self.stream.add(trace, sq_norm)
        changed = done.preconditioned
        for trace, sq_norm in zip(changed.trace, changed.sq_norm, strict=True):
            # Both zero: the optimizer had no state yet.
            if trace[-1] or sq_norm[-1]:
                self.preconditioned.add(trace, sq_norm)
        self._outcomes.extend(done.outcomes)
        if "kept" in done.outcomes:
            self.microbatch_size = float(done.plain.microbatch_size.mean())

    def problems(self, *, batch_norm: bool) -> list[Problem]:
        """Return what speaks against the estimates so far.

        Args:
            batch_norm: whether some layer of it trains.
        """
        found = []
        measured = len(self._outcomes)
        skipped, lone = (self._outcomes.count(each) for each in ("not_finite", "lone"))
        if skipped:
            words = (
                f"{skipped} of the last {measured} measured steps had a gradient that was not "
                "finite; left out"
            )
            found.append(Problem(code="skipped_steps", words=words))
        # A step that is short because an epoch ends says nothing against the others.
        if 2 * lone > measured:
            words = f"{lone} of the last {measured} measured steps had one microbatch; left out"
            found.append(Problem(code="one_microbatch", words=words))
        if self.norms.in_parts:
            words = "a tensor's gradient came in parts within one backward pass: its norm is wrong"
            found.append(Problem(code="gradient_in_parts", words=words))
        if batch_norm:
            words = (
                "batch norm in training mode couples the examples of a forward: this is the noise "
                f"of gradients of {self.microbatch_size:.0f} examples with statistics of their "
                "own, and may differ at another microbatch size"
            )
            found.append(Problem(code="batch_norm", words=words))
        return found

    def close(self) -> None:
        """Take the hooks away; the streams stay."""
        self.norms.detach()

    def state_dict(self) -> dict[str, Any]:
        """Return the streams; what is pending is left out."""
        return {
            "stream": self.stream.state_dict(),
            "preconditioned": self.preconditioned.state_dict(),
            "preconditioner": self._preconditioner,
            "outcomes": list(self._outcomes),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state.

        Args:
            state: of a meter of the same parameters and window.
        """
        self.stream.load_state_dict(state["stream"])
        # Another preconditioner's numbers are none of this one's: they begin anew.
        if state.get("preconditioner", self._preconditioner) == self._preconditioner:
            self.preconditioned.load_state_dict(state["preconditioned"])
        self._outcomes.extend(state.get("outcomes", ()))  # older checkpoints have none

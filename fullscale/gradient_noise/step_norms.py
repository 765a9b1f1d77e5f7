"""One optimizer step's sums of squared gradient norms, and what they say after all processes met.

Lightning divides each loss by the accumulation n, a scaler multiplies it by a, DDP and FSDP2
average over W processes. So a microbatch whose loss is f times the mean loss of its b examples
brings the gradient h = a (f / n) g, g the mean gradient of its examples, and has the weight
w = f / (n W) in the step's gradient. Plain modules return the mean: f = 1. All sums below are
linear over microbatches, so processes add theirs by one collective for many steps together.

Shapes: P parameter tensors, K steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from fullscale.gradient_noise.norms import local_part, num_shards
from models_of_scaling.noise_scale import unbiased_moments
from models_of_scaling.quotient_of_means import Floats

_SUMS = 5  # share, inverse_small, inverse_big, microbatches, examples


@dataclass(frozen=True, kw_only=True)
class Microbatch:
    """What is known of a microbatch before its gradient comes.

    Attributes:
        examples: b; 0 for a filler.
        factor: f: its loss as a multiple of the mean loss of its examples.
        accumulation: n.
        scale: a; 1 without a scaler.
    """

    examples: float
    factor: float
    accumulation: int
    scale: Tensor | float = 1.0


def _wide(norms: Tensor) -> torch.dtype:
    """Return the type of squares: double, so that small ones don't vanish; MPS has none."""
    return torch.float32 if norms.device.type == "mps" else torch.float64


class StepNorms:
    """The sums of one step on this process."""

    def __init__(self, norms: Tensor) -> None:
        """Begin empty.

        Args:
            norms: as they will come, for their number and device.
        """
        self._norms = norms.new_zeros(2, len(norms), dtype=_wide(norms))
        self._sums = np.zeros(_SUMS)
        self._sample: Microbatch | None = None

    def add(self, norms: Tensor, preconditioned: Tensor | None, microbatch: Microbatch) -> None:
        """Add a microbatch.

        Args:
            norms: of its gradient, shape (P,).
            preconditioned: of its preconditioned gradient.
            microbatch: whose they are; a filler adds nothing.
        """
        if not microbatch.examples:
            return
        share = microbatch.factor / microbatch.accumulation
        for row, values in zip(self._norms, (norms, preconditioned), strict=True):
            if values is not None:
                row.add_((values / microbatch.scale).to(row.dtype).square() / share)
        b = microbatch.examples
        self._sums += [share, share / b, share**2 / b, 1, b]

    def sample(self, norms: Tensor, preconditioned: Tensor | None, microbatch: Microbatch) -> None:
        """Take one gradient of fewer examples, drawn beside the step's only microbatch.

        Args:
            norms: of that gradient.
            preconditioned: likewise.
            microbatch: the smaller one.
        """
        for row, values in zip(self._norms, (norms, preconditioned), strict=True):
            if values is not None:
                mean = values / microbatch.scale / microbatch.factor
                row.copy_(mean.to(row.dtype).square())
        self._sample = microbatch

    def finish_sample(self, whole: Microbatch) -> None:
        """Complete such a step by its microbatch; other steps are complete.

        Args:
            whole: the step's last one.
        """
        if self._sample is None:
            return
        f, b, small = whole.factor, whole.examples, self._sample.examples
        self._norms *= f
        self._sums = np.array([f, f / small, f**2 / b, 2, 2 * small])

    def record(self, big: Tensor, shards: Sequence[int], world: "World") -> Tensor:
        """Return the step as one vector that processes add up.

        Args:
            big: squared norms of what this process holds of the step's gradient, plain and
                preconditioned; shape (2, P).
            shards: over how many processes each microbatch gradient was cut.
            world: of the run.
        """
        of_small = self._norms.new_tensor(shards) / world.copies
        of_big = self._norms.new_tensor(world.shards) / world.size
        sums = self._norms.new_tensor(self._sums / world.copies)
        ours, whole = self._norms * of_small, big * of_big
        return torch.cat([ours.flatten(), whole.flatten(), sums])


@dataclass(frozen=True, kw_only=True)
class World:
    """Who trains.

    Attributes:
        size: processes.
        copies: processes that see the same examples (tensor parallelism).
        shards: over how many processes each parameter's gradient is cut at the step.
    """

    size: int
    copies: int
    shards: tuple[int, ...]

    @classmethod
    def of(cls, parameters: Sequence[Tensor], *, size: int, copies: int) -> "World":
        """Look at the parameters' cut."""
        shards = tuple(num_shards(p) if isinstance(p, DTensor) else 1 for p in parameters)
        return cls(size=size, copies=copies, shards=shards)


def squared_norms(gradients: Sequence[Tensor | None], like: Tensor) -> Tensor:
    """Return what this process holds of each gradient's squared norm; 0 where there is none.

    Args:
        gradients: one a parameter.
        like: for number and device.
    """
    out = torch.zeros_like(like)
    for slot, gradient in zip(out.unbind(), gradients, strict=True):
        if gradient is not None:
            torch.linalg.vector_norm(local_part(gradient), dtype=out.dtype, out=slot)
    return out.to(_wide(out)).square()


@dataclass(frozen=True, kw_only=True)
class StepMoments:
    """Steps' unbiased estimates; the last of the P + 1 numbers is the sum over all tensors.

    Attributes:
        trace: of tr(Sigma), shape (K, P + 1).
        sq_norm: of |G|^2.
        microbatch_size: mean examples of a microbatch, shape (K,); of the smaller ones, where a
            step's only one was measured beside some of its examples.
    """

    trace: Floats
    sq_norm: Floats
    microbatch_size: Floats


@dataclass(frozen=True, kw_only=True)
class Reduced:
    """Steps after all processes added theirs.

    Attributes:
        plain: of the gradient.
        preconditioned: of the preconditioned gradient; meaningless where none was asked for.
        outcomes: of each step in order: "kept" with finite numbers and two microbatches;
            "not_finite" where its gradient overflowed, which a scaler skips; "lone" with a single
            microbatch, of which nothing can be said.
    """

    plain: StepMoments
    preconditioned: StepMoments
    outcomes: list[str]


def reduce_records(records: Sequence[Tensor], world: World) -> Reduced:
    """Return the estimates of some steps; with several processes a collective.

    Args:
        records: as `StepNorms.record` made them, as many on every process.
        world: of the run.
    """
    table = torch.stack(list(records))
    if world.size > 1:
        torch.distributed.all_reduce(table)
    rows = table.cpu().double().numpy()
    count = (rows.shape[1] - _SUMS) // 4
    finite = np.isfinite(rows).all(axis=1)
    several = rows[:, -2] > 1.5
    rows = rows[finite & several]
    share, inverse_small, inverse_big, microbatches, examples = rows[:, 4 * count :].T
    processes = world.size / world.copies
    weight = share / processes
    inverses = {
        "inverse_small": (inverse_small / processes / weight)[:, None],
        "inverse_big": (inverse_big / (processes * weight) ** 2)[:, None],
    }

    def moments(small: Floats, big: Floats) -> StepMoments:
        small, big = small / processes / weight[:, None], big / weight[:, None] ** 2
        small, big = (np.hstack([v, v.sum(axis=1, keepdims=True)]) for v in (small, big))
        trace, sq_norm = unbiased_moments(small, big, **inverses)
        return StepMoments(
            trace=trace,
            sq_norm=sq_norm,
            microbatch_size=examples / microbatches,
        )

    parts = [rows[:, i * count : (i + 1) * count] for i in range(4)]
    return Reduced(
        plain=moments(parts[0], parts[2]),
        preconditioned=moments(parts[1], parts[3]),
        outcomes=np.where(~finite, "not_finite", np.where(several, "kept", "lone")).tolist(),
    )

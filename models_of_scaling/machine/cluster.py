"""Time of one optimizer step on a cluster: compute, all-reduce, and what overlap hides.

For a batch of B examples on N = M k devices (M nodes of k), of which none holds more than b_max at
a time:

    share      s = ceil(B / N)                the device with most examples; all wait for it
    forwards   a = ceil(s / b_max)            accumulate_grad_batches
    compute    C = a t_0 + s t_1              t_0 fixed per forward and backward, t_1 per example
    backward   W = 2/3 (t_0 + ceil(s / a) t_1)    of the last forward, the only one that overlaps
    step       T = C + max(0, A(M, k) - o W)      A: all-reduce (`all_reduce`), o: overlap in [0, 1]

The backward pass costs twice the forward pass (Hestness et al. 2017, arXiv:1712.00409, count it
so), and gradients leave while it runs. t_0 is what a step costs with no example in it: launches,
the update, reading the weights; it is why small shares are slow. Not in it: input pipelines,
stragglers, congestion by others, evaluation.

A `Roofline` gives t_1 of a device's data sheet (Williams, Waterman & Patterson 2009, CACM 52:65):

    t_1 = max(FLOPs per example / (peak x attainable), bytes per example / memory bandwidth)
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from models_of_scaling.machine.all_reduce import (
    ALGORITHMS,
    Algorithm,
    AllReduceCount,
    Network,
    Numbers,
    count_all_reduce,
)
from models_of_scaling.quantities import Floats

BACKWARD_SHARE: Final = 2 / 3


@dataclass(frozen=True, kw_only=True)
class Placement:
    """How one step's examples lie on a cluster; the same cut as the trainer's.

    Attributes:
        batch_size: B, examples per optimizer step, over all devices.
        nodes: M.
        devices_per_node: k.
        max_per_device_batch_size: b_max, examples that a device can hold in one forward; None
            where memory sets no limit.
    """

    batch_size: int
    nodes: int
    devices_per_node: int
    max_per_device_batch_size: int | None = None

    def __post_init__(self) -> None:
        """Check that every device has an example."""
        for name in ("nodes", "devices_per_node"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must be at least 1")
        if self.batch_size < self.num_devices:
            raise ValueError(
                f"batch_size {self.batch_size} must be at least the {self.num_devices} devices"
            )
        if self.max_per_device_batch_size is not None and self.max_per_device_batch_size < 1:
            raise ValueError(
                f"max_per_device_batch_size {self.max_per_device_batch_size} must be at least 1"
            )

    @property
    def num_devices(self) -> int:
        """N."""
        return self.nodes * self.devices_per_node

    @property
    def share(self) -> int:
        """Examples per step of the device that has most."""
        return -(-self.batch_size // self.num_devices)

    @property
    def accumulate_grad_batches(self) -> int:
        """Forwards per optimizer step."""
        return -(-self.share // (self.max_per_device_batch_size or self.share))

    @property
    def per_device_batch_size(self) -> int:
        """Examples in the largest forward."""
        return -(-self.share // self.accumulate_grad_batches)


@dataclass(frozen=True, kw_only=True)
class StepParts:
    """One step's time and what it is made of, seconds; arrays where the model holds draws.

    Attributes:
        examples_s: s t_1, compute that grows with the share.
        forwards_s: a t_0, the fixed part of the forwards.
        all_reduce_s: by term, as `AllReduceCount.parts_s` names them.
        hidden_s: o W, the most that overlap can hide.
        last_examples_s: of `hidden_s`, the part that grows with the share.
    """

    examples_s: Floats
    forwards_s: Floats
    all_reduce_s: dict[str, Floats]
    hidden_s: Floats
    last_examples_s: Floats

    @property
    def exposed_s(self) -> Floats:
        """The all-reduce's time that compute does not hide."""
        return np.maximum(0.0, sum(self.all_reduce_s.values()) - self.hidden_s)

    @property
    def total_s(self) -> Floats:
        """T, seconds per optimizer step."""
        return np.asarray(self.examples_s + self.forwards_s + self.exposed_s)

    def shares(self) -> dict[str, Floats]:
        """Return d log T / d log of each time constant; they sum to 1.

        T is piecewise linear in its constants, so these are exact. Where the all-reduce is just
        hidden they are those of the hidden side.

        Returns:
            By "examples" (t_1), "forwards" (t_0) and the all-reduce's terms.
        """
        exposed = self.exposed_s > 0
        last_forward_s = self.hidden_s - self.last_examples_s
        total = self.total_s
        return {
            "examples": (self.examples_s - exposed * self.last_examples_s) / total,
            "forwards": (self.forwards_s - exposed * last_forward_s) / total,
            **{name: exposed * part / total for name, part in self.all_reduce_s.items()},
        }


@dataclass(frozen=True, kw_only=True)
class StepTime:
    """The model of a step's time; numbers, or arrays of draws of one shape.

    Attributes:
        seconds_per_example: t_1, of one device, forward and backward.
        seconds_per_forward: t_0, fixed cost of one forward and backward.
        overlap: o, share of the last backward pass that the all-reduce can hide behind.
        network: latency and bandwidth of the links.
        parameter_bytes: n, bytes of gradients that one step all-reduces.
        algorithm: of the all-reduce.
    """

    seconds_per_example: Numbers
    seconds_per_forward: Numbers
    overlap: Numbers
    network: Network
    parameter_bytes: float
    algorithm: Algorithm

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not np.all(np.asarray(self.seconds_per_example) > 0):
            raise ValueError(f"seconds_per_example {self.seconds_per_example} must be more than 0")
        if not np.all(np.asarray(self.seconds_per_forward) >= 0):
            raise ValueError(f"seconds_per_forward {self.seconds_per_forward} must not be negative")
        overlap = np.asarray(self.overlap)
        if not np.all((overlap >= 0) & (overlap <= 1)):
            raise ValueError(f"overlap {self.overlap} must be in [0, 1]")
        if self.algorithm not in ALGORITHMS:
            raise ValueError(f"algorithm {self.algorithm!r} is not one of {ALGORITHMS}")
        if not 0 < self.parameter_bytes < math.inf:
            raise ValueError(f"parameter_bytes {self.parameter_bytes} must be more than 0")

    def parts(self, placement: Placement) -> StepParts:
        """Return what one step takes, part by part.

        Args:
            placement: of the batch.
        """
        count = count_all_reduce(
            self.algorithm,
            self.parameter_bytes,
            nodes=placement.nodes,
            devices_per_node=placement.devices_per_node,
        )
        return self.parts_of(
            examples=placement.share,
            forwards=placement.accumulate_grad_batches,
            last_forward=placement.per_device_batch_size,
            count=count,
        )

    def parts_of(
        self,
        *,
        examples: Numbers,
        forwards: Numbers,
        last_forward: Numbers,
        count: AllReduceCount,
    ) -> StepParts:
        """Return the same for a device's work, or arrays of it that broadcast with the draws.

        Args:
            examples: s, of the device that has most.
            forwards: a.
            last_forward: examples in the last forward.
            count: of the all-reduce.
        """
        s, a, last = (np.asarray(each, dtype=float) for each in (examples, forwards, last_forward))
        t_1 = np.asarray(self.seconds_per_example, dtype=float)
        t_0 = np.asarray(self.seconds_per_forward, dtype=float)
        hideable = BACKWARD_SHARE * np.asarray(self.overlap, dtype=float)
        return StepParts(
            examples_s=np.asarray(s * t_1),
            forwards_s=np.asarray(a * t_0),
            all_reduce_s=count.parts_s(self.network),
            hidden_s=np.asarray(hideable * (t_0 + last * t_1)),
            last_examples_s=np.asarray(hideable * last * t_1),
        )


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """A device by its data sheet.

    Attributes:
        flops_per_example: floating-point operations of one forward and backward of one example.
        peak_flops_per_s: of one device, at the precision used.
        attainable_fraction: share of the peak that real training gets, in (0, 1].
        memory_bytes_per_example: bytes moved to and from the device's memory for one example.
        memory_bandwidth: of one device, bytes per second.
        seconds_per_forward: t_0, fixed cost of one forward and backward.
    """

    flops_per_example: float
    peak_flops_per_s: float
    attainable_fraction: float
    memory_bytes_per_example: float = 0.0
    memory_bandwidth: float = math.inf
    seconds_per_forward: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("flops_per_example", "peak_flops_per_s", "memory_bandwidth"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} {getattr(self, name)} must be more than 0")
        if not 0 < self.attainable_fraction <= 1:
            raise ValueError(f"attainable_fraction {self.attainable_fraction} must be in (0, 1]")
        for name in ("memory_bytes_per_example", "seconds_per_forward"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} {getattr(self, name)} must be finite and not negative")

    @property
    def arithmetic_s(self) -> float:
        """Seconds that the FLOPs of one example take."""
        return self.flops_per_example / (self.peak_flops_per_s * self.attainable_fraction)

    @property
    def is_memory_bound(self) -> bool:
        """Whether memory, not arithmetic, sets the time per example."""
        return self.memory_bytes_per_example / self.memory_bandwidth > self.arithmetic_s

    def step_time(
        self, *, network: Network, parameter_bytes: float, overlap: float, algorithm: Algorithm
    ) -> StepTime:
        """Return the model of a step on a cluster of such devices.

        Args:
            network: latency and bandwidth of the links.
            parameter_bytes: bytes of gradients that one step all-reduces.
            overlap: share of the last backward pass that the all-reduce can hide behind.
            algorithm: of the all-reduce.
        """
        memory_s = self.memory_bytes_per_example / self.memory_bandwidth
        return StepTime(
            seconds_per_example=max(self.arithmetic_s, memory_s),
            seconds_per_forward=self.seconds_per_forward,
            overlap=overlap,
            network=network,
            parameter_bytes=parameter_bytes,
            algorithm=algorithm,
        )

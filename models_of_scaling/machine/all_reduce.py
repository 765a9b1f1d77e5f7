"""Time of one all-reduce by four algorithms, in the alpha-beta model.

A message of n bytes over a link takes alpha + n beta, with alpha the latency and beta the inverse
of the bandwidth (Hockney 1994); adding numbers up is free. Let n be the bytes on each device, M
the nodes, k the devices per node, N = M k. Each algorithm is counted in messages that follow one
another (times alpha) and bytes that they carry (times beta), within and between nodes:

| algorithm | messages within | bytes within | messages between | bytes between, a node's |
|---|---|---|---|---|
| ring, M = 1 | 2 (k-1) | 2 n (k-1) / k | 0 | 0 |
| ring, M > 1 | 0 | 0 | 2 (N-1) | 2 n (N-1) / N |
| tree | 2 log2 k | 2 n (k-1) / k | 2 log2 M | 2 n (M-1) / M |
| hierarchical | 4 (k-1) | 4 n (k-1) / k | 2 (M-1) | 2 n (M-1) / M |
| torus | 2 (k-1) | 2 n (k-1) / k | 2 (M-1) | 2 n (M-1) / M |

- ring: reduce-scatter and all-gather around one ring (Patarasu & Yuan 2009, J. Parallel Distrib.
  Comput. 69:117); a ring through several nodes moves at the pace of its slowest link.
- tree: recursive halving and doubling (Thakur, Rabenseifner & Gropp 2005, IJHPCA 19:49), near
  devices first, so that the long messages stay within nodes. Where k (or M) is no power of two,
  count with the largest power below it, and two messages and 2 n bytes more: those beyond that
  power hand what they have to a partner first and get the sum last. Double binary trees (Sanders,
  Speck & Traeff 2009) have the same leading terms.
- one node: hierarchical and torus are the ring.
- hierarchical: sums to one master per node, a ring of masters, and back (Jia et al. 2018,
  arXiv:1807.11205: 4 (k-1) + 2 (M-1) messages instead of 2 (N-1)).
- torus: reduce-scatter along a row (a node), all-reduce of each share along its column, all-gather
  along the row (Mikami et al. 2018, arXiv:1811.05233). A node's k columns run at once and share its
  link.

The bandwidth between nodes is therefore that of a whole node, all its adapters together.
"""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from models_of_scaling.quantities import Floats

Numbers: TypeAlias = float | Floats
Algorithm = Literal["ring", "tree", "hierarchical", "torus"]
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)


@dataclass(frozen=True, kw_only=True)
class Link:
    """One kind of link; fields are numbers or arrays of draws of one shape.

    Attributes:
        latency_s: alpha, seconds per message.
        bandwidth: 1 / beta, bytes per second in one direction.
    """

    latency_s: Numbers
    bandwidth: Numbers

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not np.all(np.asarray(self.latency_s) >= 0):
            raise ValueError(f"latency_s {self.latency_s} must not be negative")
        if not np.all(np.asarray(self.bandwidth) > 0):
            raise ValueError(f"bandwidth {self.bandwidth} must be more than 0")


@dataclass(frozen=True, kw_only=True)
class Network:
    """The links of a cluster of equal nodes.

    Attributes:
        within: between two devices of a node.
        between: of a node to the others, all its adapters together.
    """

    within: Link
    between: Link


@dataclass(frozen=True, kw_only=True)
class AllReduceCount:
    """What one all-reduce sends one after another; numbers, or arrays with one entry a cluster.

    Attributes:
        messages_within: number of messages inside nodes that follow one another.
        bytes_within: what they carry, over one device's link.
        messages_between: number of messages between nodes that follow one another.
        bytes_between: what they carry, over one node's link.
        crosses_both: whether one ring runs through both kinds of links, so that the slower of
            each sets its pace.
    """

    messages_within: Numbers
    bytes_within: Numbers
    messages_between: Numbers
    bytes_between: Numbers
    crosses_both: bool | npt.NDArray[np.bool_] = False

    def parts_s(self, network: Network) -> dict[str, Floats]:
        """Return the seconds of each term; they sum to the time.

        Args:
            network: its links may hold arrays of draws.

        Returns:
            Seconds by "latency_within", "latency_between", "bandwidth_within" and
            "bandwidth_between".
        """
        alpha_in, alpha_out, beta_in, beta_out = (
            np.asarray(value, dtype=float)
            for value in (
                network.within.latency_s,
                network.between.latency_s,
                1 / np.asarray(network.within.bandwidth, dtype=float),
                1 / np.asarray(network.between.bandwidth, dtype=float),
            )
        )
        parts = {}
        for term, within, between, slow, fast in (
            ("latency", self.messages_within, self.messages_between, alpha_out, alpha_in),
            ("bandwidth", self.bytes_within, self.bytes_between, beta_out, beta_in),
        ):
            # A ring through both kinds of links waits for the slower one.
            waits_within = np.asarray(self.crosses_both) & (fast > slow)
            crossing = np.asarray(between, dtype=float)
            parts[f"{term}_within"] = (
                np.asarray(within, dtype=float) + np.where(waits_within, crossing, 0.0)
            ) * fast
            parts[f"{term}_between"] = np.where(waits_within, 0.0, crossing) * slow
        return parts


def count_all_reduce(
    algorithm: Algorithm, parameter_bytes: float, *, nodes: int, devices_per_node: int
) -> AllReduceCount:
    """Return the messages and bytes of one all-reduce.

    Args:
        algorithm: one of `ALGORITHMS`.
        parameter_bytes: n, bytes on each device.
        nodes: M.
        devices_per_node: k.

    Returns:
        All zero for a single device.

    Raises:
        ValueError: for an unknown algorithm, less than one device or no bytes.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm {algorithm!r} is not one of {ALGORITHMS}")
    for name, value in (("nodes", nodes), ("devices_per_node", devices_per_node)):
        if value < 1:
            raise ValueError(f"{name} {value} must be at least 1")
    if not 0 < parameter_bytes < math.inf:
        raise ValueError(f"parameter_bytes {parameter_bytes} must be finite and more than 0")
    n, m, k = float(parameter_bytes), nodes, devices_per_node
    if algorithm == "ring":
        devices = m * k
        around = (2.0 * (devices - 1), 2 * n * (devices - 1) / devices)
        return (
            _count(within=around)
            if m == 1
            else AllReduceCount(
                messages_within=0.0,
                bytes_within=0.0,
                messages_between=around[0],
                bytes_between=around[1],
                crosses_both=k > 1,
            )
        )
    if algorithm == "tree":
        return _count(within=_halving(k, n), between=_halving(m, n))
    passes = 4.0 if algorithm == "hierarchical" and m > 1 else 2.0
    return _count(
        within=(passes * (k - 1), passes * n * (k - 1) / k),
        between=(2.0 * (m - 1), 2 * n * (m - 1) / m),
    )


def _count(
    *, within: tuple[float, float], between: tuple[float, float] = (0.0, 0.0)
) -> AllReduceCount:
    return AllReduceCount(
        messages_within=within[0],
        bytes_within=within[1],
        messages_between=between[0],
        bytes_between=between[1],
    )


def _halving(parts: int, carried: float) -> tuple[float, float]:
    """Return messages and bytes of recursive halving and doubling; `carried` by all that share."""
    rounds = parts.bit_length() - 1
    power = 2**rounds
    messages, bytes_sent = 2.0 * rounds, 2 * carried * (power - 1) / power
    if power == parts:
        return messages, bytes_sent
    return messages + 2, bytes_sent + 2 * carried


def all_reduce_time_s(
    algorithm: Algorithm,
    parameter_bytes: float,
    *,
    nodes: int,
    devices_per_node: int,
    network: Network,
) -> Floats:
    """Return the seconds of one all-reduce.

    Args:
        algorithm: one of `ALGORITHMS`.
        parameter_bytes: n, bytes on each device.
        nodes: M.
        devices_per_node: k.
        network: the links.

    Returns:
        Seconds, of the shape of the network's fields.
    """
    count = count_all_reduce(
        algorithm, parameter_bytes, nodes=nodes, devices_per_node=devices_per_node
    )
    return np.asarray(sum(count.parts_s(network).values()))

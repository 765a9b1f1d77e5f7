"""Risk as a sum over modes: all of them, or a few that stand for many.

With signal u and unit noise N of `linear_flow` as functions of a mode's curvature k = h^(1-p),

    risk = 1/2 sum_i h_i (e_i u(k_i)^2 + c_i h_i^(-2p) N(k_i) / B),    e_i = E[theta_i(0)^2],

which are two measures on k. Both are smooth in k, so modes close to each other on a log axis are
merged: in each octave of curvature that holds more modes than nodes, the sum becomes that of the
Chebyshev interpolant, with the same nodes for both measures. Octaves with fewer modes stay exact.

Shapes: P modes, N nodes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surrogate.noisy_quadratic import Spectrum

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Modes:
    """Two measures on curvature; every field has shape (P,).

    Attributes:
        curvature_P: k_i, that of the preconditioned problem.
        signal_P: what unit squared signal of a mode adds to the risk.
        noise_P: what unit noise adds at batch size 1.
    """

    curvature_P: Floats
    signal_P: Floats
    noise_P: Floats

    def initial_risk(self) -> float:
        """Return the risk before the first step."""
        return float(self.signal_P.sum())


@dataclass(frozen=True, kw_only=True, eq=False)
class Octaves:
    """The groups that were merged, for bounds on what that changed; shape (G,).

    Attributes:
        low: lower end of each group's curvatures.
        high: upper end.
        signal: total of `Modes.signal_P` in it.
        noise: total of `Modes.noise_P`.
        nodes: of each.
    """

    low: Floats
    high: Floats
    signal: Floats
    noise: Floats
    nodes: int


def all_modes(spectrum: Spectrum, *, preconditioning: float = 0.0) -> Modes:
    """Return every mode as it is.

    Args:
        spectrum: the quadratic.
        preconditioning: p; steps are multiplied by h^-p.

    Returns:
        The measures.
    """
    h = spectrum.curvature_P
    return Modes(
        curvature_P=h ** (1 - preconditioning),
        signal_P=0.5 * h * spectrum.initial_P,
        noise_P=0.5 * h ** (1 - 2 * preconditioning) * spectrum.noise_P,
    )


def merge_modes(modes: Modes, *, nodes: int) -> tuple[Modes, Octaves]:
    """Return few modes that stand for all.

    Args:
        modes: of `all_modes`.
        nodes: the most that an octave keeps.

    Returns:
        The merged modes (weights may be negative), and the groups that were interpolated.
    """
    k = modes.curvature_P
    octave_P = np.floor(np.log2(k.max() / k)).astype(np.int64)
    order = np.argsort(octave_P, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(octave_P[order]) > 0])
    kept: list[Modes] = []
    groups: list[tuple[float, float, float, float]] = []
    for members in np.split(order, starts[1:]):
        values = k[members]
        distinct, place = np.unique(values, return_inverse=True)
        if len(distinct) <= nodes:
            nodes_N, weights = distinct, np.eye(len(distinct))[place]
        else:
            low, high = float(distinct[0]), float(distinct[-1])
            nodes_N, weights = _chebyshev(values, low, high, nodes)
            groups.append((
                low, high, float(modes.signal_P[members].sum()), float(modes.noise_P[members].sum())
            ))  # fmt: skip
        kept.append(
            Modes(
                curvature_P=nodes_N,
                signal_P=modes.signal_P[members] @ weights,
                noise_P=modes.noise_P[members] @ weights,
            )
        )
    totals = np.array(groups).reshape(-1, 4)
    fields = ("curvature_P", "signal_P", "noise_P")
    merged = Modes(**{name: np.concatenate([getattr(m, name) for m in kept]) for name in fields})
    return merged, Octaves(
        low=totals[:, 0], high=totals[:, 1], signal=totals[:, 2], noise=totals[:, 3], nodes=nodes
    )


def _chebyshev(values: Floats, low: float, high: float, nodes: int) -> tuple[Floats, Floats]:
    """Return Chebyshev nodes on [low, high] and the value at each point of each node's polynomial.

    The barycentric formula (Berrut and Trefethen 2004, section 5) for points of the first kind.
    """
    angle_N = (np.arange(nodes) + 0.5) * np.pi / nodes
    nodes_N: Floats = 0.5 * (low + high) + 0.5 * (high - low) * np.cos(angle_N)
    sign_N = np.sin(angle_N) * (-1.0) ** np.arange(nodes)
    gap = values[:, None] - nodes_N
    hit = gap == 0
    with np.errstate(divide="ignore"):
        terms = sign_N / gap
    on_node = hit.any(axis=1)
    terms[on_node] = hit[on_node]
    return nodes_N, terms / terms.sum(axis=1, keepdims=True)

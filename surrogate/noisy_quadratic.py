"""The noisy quadratic model: expected risk of SGD with momentum, exactly, without a run.

Source: Zhang et al. 2019, arXiv:1907.04164, section 3 and appendix: loss 1/2 sum_i h_i theta_i^2,
gradient h_i theta_i plus noise of variance c_i / B, theta_i(0) of variance 1, heavy-ball momentum

    v <- m v + g;    theta <- theta - lr v.

Each mode is a linear system in x = (theta, v) with M = [[1 - lr h, -lr m], [h, m]] and noise
n = (-lr, 1) eps, so its second moments P = E[x x^T] = (E[theta^2], E[theta v], E[v^2]) follow

    P(t) = M^t P(0) M^t^T + F(t),    F(2 t) = M^t F(t) M^t^T + F(t),    F(1) = c / B (lr^2, -lr, 1),

the 3x3 recursion of the second moments written with 2x2 matrices. Squaring gives M^t and F(t) at
t = 1, 2, 4, ...; between two of them the step to target is found by bisection, in log2 t products.

Other methods are larger linear systems, and live in `surrogate/simulator`.

Differs from the source: the learning rate stands outside the velocity, which is the same for a
constant one.

Shapes: P modes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from models_of_scaling.trials import Status

Floats = NDArray[np.float64]

NUM_MODES = 10_000  # Zhang et al. 2019, section 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Spectrum:
    """The modes of a quadratic; every field has shape (P,).

    Attributes:
        curvature_P: h_i, positive.
        noise_P: c_i, variance of the gradient's noise at batch size 1.
        initial_P: E[theta_i(0)^2].
    """

    curvature_P: Floats
    noise_P: Floats
    initial_P: Floats

    def __post_init__(self) -> None:
        """Check the shapes and signs.

        Raises:
            ValueError: naming the field that breaks its rule.
        """
        if not self.curvature_P.shape == self.noise_P.shape == self.initial_P.shape:
            raise ValueError("curvature_P, noise_P and initial_P must have one shape")
        if self.curvature_P.ndim != 1 or not (self.curvature_P > 0).all():
            raise ValueError("curvature_P must be one row of positive numbers")
        if not ((self.noise_P >= 0).all() and (self.initial_P >= 0).all()):
            raise ValueError("noise_P and initial_P must not be negative")


def power_law_spectrum(
    *, num_modes: int = NUM_MODES, curvature_exponent: float = 1.0, noise_power: float = 1.0
) -> Spectrum:
    """Return h_i = i^-curvature_exponent and c_i = noise_power h_i with E[theta_i(0)^2] = 1.

    Args:
        num_modes: P.
        curvature_exponent: how fast the curvature falls from mode to mode.
        noise_power: c_i / h_i; B noise_power examples do what B did at 1, so that it stretches the
            axis of batch sizes and changes nothing else.

    Returns:
        The spectrum; the default is that of Zhang et al. 2019, section 4.
    """
    mode_P = np.arange(1, num_modes + 1, dtype=np.float64)
    curvature_P: Floats = mode_P**-curvature_exponent
    return Spectrum(
        curvature_P=curvature_P, noise_P=noise_power * curvature_P, initial_P=np.ones(num_modes)
    )


def zhang_spectrum(num_modes: int = NUM_MODES) -> Spectrum:
    """Return h_i = c_i = 1 / i with E[theta_i(0)^2] = 1 (Zhang et al. 2019, section 4)."""
    return power_law_spectrum(num_modes=num_modes)


class Moments(NamedTuple):
    """Second moments of every mode, each of shape (P,)."""

    theta_theta: Floats
    theta_v: Floats
    v_v: Floats


class Flow(NamedTuple):
    """So many steps at once: x -> M x + noise of covariance F; every entry of shape (P,).

    Attributes:
        m: the entries of M, row by row.
        f: F.
    """

    m: tuple[Floats, Floats, Floats, Floats]
    f: Moments

    def apply(self, p: Moments) -> Moments:
        """Return M P M^T + F."""
        a, b, c, d = self.m
        # Rows of M P first: nine products instead of twelve.
        top_theta, top_v = a * p.theta_theta + b * p.theta_v, a * p.theta_v + b * p.v_v
        low_theta, low_v = c * p.theta_theta + d * p.theta_v, c * p.theta_v + d * p.v_v
        return Moments(
            top_theta * a + top_v * b + self.f.theta_theta,
            top_theta * c + top_v * d + self.f.theta_v,
            low_theta * c + low_v * d + self.f.v_v,
        )

    def twice(self) -> "Flow":
        """Return the flow of twice as many steps."""
        a, b, c, d = self.m
        bc, trace = b * c, a + d
        return Flow((a * a + bc, b * trace, c * trace, d * d + bc), self.apply(self.f))


def one_step(spectrum: Spectrum, *, batch_size: int, learning_rate: float, momentum: float) -> Flow:
    """Return one optimizer step of every mode.

    Args:
        spectrum: the quadratic.
        batch_size: examples per step.
        learning_rate: after any schedule.
        momentum: in [0, 1).

    Returns:
        The flow.
    """
    h, noise = spectrum.curvature_P, spectrum.noise_P / batch_size
    return Flow(
        (
            1 - learning_rate * h,
            np.full_like(h, -learning_rate * momentum),
            h,
            np.full_like(h, momentum),
        ),
        Moments(learning_rate**2 * noise, -learning_rate * noise, noise),
    )


def start(spectrum: Spectrum) -> Moments:
    """Return the moments before the first step: velocity 0."""
    zeros = np.zeros_like(spectrum.initial_P)
    return Moments(spectrum.initial_P, zeros, zeros)


def expected_risk(spectrum: Spectrum, moments: Moments) -> float:
    """Return 1/2 sum_i h_i E[theta_i^2]."""
    return float(0.5 * np.dot(spectrum.curvature_P, moments.theta_theta))


@dataclass(frozen=True, kw_only=True)
class ExpectedRun:
    """The expected risk of one configuration over its steps.

    Attributes:
        status: `reached`, `not_reached` or `diverged`.
        steps: to target where it was reached, else at the last evaluation.
        curve_steps: 1, 2, 3, 4, 6, 8, 12, ... and, around the target, the bisection's steps.
        curve_risk: expected risk there.
    """

    status: Status
    steps: int
    curve_steps: tuple[int, ...]
    curve_risk: tuple[float, ...]


State = TypeVar("State")


class Steps(Protocol[State]):
    """So many steps of a linear system at once; `Flow` is one."""

    def apply(self, state: State, /) -> State:
        """Return the state after these steps."""

    def twice(self) -> Self:
        """Return twice as many steps."""


def run_to_target(
    spectrum: Spectrum, step: Flow, *, target_risk: float, max_steps: int, divergence_factor: float
) -> ExpectedRun:
    """Find the step at which momentum's expected risk meets the target; see `find_target`.

    Args:
        spectrum: the quadratic.
        step: one optimizer step, of `one_step`.
        target_risk: the expected risk to reach.
        max_steps: the budget.
        divergence_factor: a risk above this multiple of its start is divergence.

    Returns:
        The run.
    """
    initial = start(spectrum)
    return find_target(
        step,
        initial,
        lambda moments, steps: expected_risk(spectrum, moments),
        target_risk=target_risk,
        max_steps=max_steps,
        max_risk=divergence_factor * expected_risk(spectrum, initial),
    )


def find_target(
    step: Steps[State],
    state: State,
    risk_of: Callable[[State, int], float],
    *,
    target_risk: float,
    max_steps: int,
    max_risk: float,
) -> ExpectedRun:
    """Find the step at which the expected risk meets the target, exact to the step.

    The risk is looked at on the grid 1, 2, 3, 4, 6, 8, 12, ...; from its first point that meets the
    target the step is bisected: the risk is at the target there and above it one step before. A
    risk that oscillates (high momentum) may have dipped below between two earlier grid points.

    Args:
        step: one step of the system.
        state: before the first.
        risk_of: expected risk of a state after so many steps.
        target_risk: the expected risk to reach.
        max_steps: the budget.
        max_risk: a risk above it is divergence.

    Returns:
        The run.
    """
    curve: dict[int, float] = {}
    flows = {1: step}  # by their number of steps, a power of two
    done = 0
    with np.errstate(over="ignore", invalid="ignore"):  # divergence is an answer
        while done < max_steps:
            # From 2^k go half of it to 3 2^(k-1), then half of it again to 2^(k+1).
            stride = 1 if done < 2 else 1 << (done.bit_length() - 2)
            if stride not in flows:
                flows[stride] = flows[stride // 2].twice()
            if done + stride > max_steps:
                break
            before, state = state, flows[stride].apply(state)
            risk = curve[done + stride] = risk_of(state, done + stride)
            if risk <= target_risk:
                low, width, state = done, stride, before
                while width > 1:  # the target is met at low + width and not at low
                    width //= 2
                    middle = flows[width].apply(state)
                    risk = curve[low + width] = risk_of(middle, low + width)
                    if risk > target_risk:
                        low, state = low + width, middle
                steps = low + 1
                return _run("reached", steps, {k: curve[k] for k in curve if k <= steps})
            done += stride
            if not risk <= max_risk:  # also NaN
                return _run("diverged", done, curve)
    return _run("not_reached", done, curve)


def _run(status: Status, steps: int, curve: dict[int, float]) -> ExpectedRun:
    ordered = sorted(curve)
    return ExpectedRun(
        status=status,
        steps=steps,
        curve_steps=tuple(ordered),
        curve_risk=tuple(
            curve[each] if math.isfinite(curve[each]) else math.inf for each in ordered
        ),
    )

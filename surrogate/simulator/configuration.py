"""One optimizer step of each method, as a linear system.

With gradient g = h theta(t - d) + noise, every method is

    v <- m v + q;    theta <- theta - lr v   (Nesterov: theta - lr (q + m v)),    q = h^-p g.

Sources: Zhang et al. 2019, arXiv:1907.04164, for momentum, preconditioning by h^-p and exponential
averaging; Polyak and Juditsky 1992 for the running average; stale gradients as in a pipeline, or an
asynchronous server, that is d steps behind.

Differs from the source: the learning rate stands outside the velocity, which is the same for a
constant one; Nesterov's is PyTorch's form, whose theta is the point where gradients are taken; the
first d steps of a stale gradient use that of the start.

Shapes: n states, K configurations, P modes.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from surrogate.noisy_quadratic import ExpectedRun, Spectrum, find_target
from surrogate.simulator.linear_flow import LinearFlow, SystemState
from surrogate.simulator.modes import Modes, all_modes

Floats = NDArray[np.float64]
Averaging = Literal["none", "exponential", "running"]
# A step costs (d + 2)^3 products of a row of modes; memory is what ends it.
MAX_DELAY = 32


@dataclass(frozen=True, kw_only=True, eq=False)
class Configuration:
    """What an optimizer step is; the numbers that are searched may be columns of shape (K, 1).

    Attributes:
        learning_rate: constant, positive.
        momentum: m, in [0, 1).
        nesterov: the look-ahead form.
        preconditioning: p, in [0, 1]; the gradient is multiplied by h^-p.
        averaging: of iterates: the risk is then the average's.
        averaging_decay: in [0, 1): average <- decay average + (1 - decay) theta.
        gradient_delay: d, steps by which a gradient is late.
    """

    learning_rate: float | Floats
    momentum: float | Floats = 0.0
    nesterov: bool = False
    preconditioning: float = 0.0
    averaging: Averaging = "none"
    averaging_decay: float | Floats = 0.0
    gradient_delay: int = 0

    def __post_init__(self) -> None:
        """Check each field.

        Raises:
            ValueError: naming the field that breaks its rule.
        """
        if not np.all((np.asarray(self.learning_rate) > 0) & np.isfinite(self.learning_rate)):
            raise ValueError("learning_rate must be positive and finite")
        for name in ("momentum", "averaging_decay"):
            value = np.asarray(getattr(self, name))
            if not np.all((value >= 0) & (value < 1)):
                raise ValueError(f"{name} must be in [0, 1)")
        if not 0 <= self.preconditioning <= 1:
            raise ValueError(f"preconditioning {self.preconditioning} must be in [0, 1]")
        if not 0 <= self.gradient_delay <= MAX_DELAY:
            raise ValueError(f"gradient_delay {self.gradient_delay} must be in 0..{MAX_DELAY}")

    @property
    def has_velocity(self) -> bool:
        """Whether the state holds a velocity: momentum is given, and not the number 0."""
        return not (np.ndim(self.momentum) == 0 and float(np.asarray(self.momentum)) == 0.0)

    def states(self) -> tuple[str, ...]:
        """Return the names of the state's entries: theta, v, average, past1, past2, ..."""
        names = ["theta"]
        if self.has_velocity:
            names.append("v")
        if self.averaging != "none":
            names.append("average")
        return (*names, *(f"past{late}" for late in range(1, self.gradient_delay + 1)))


def one_step(configuration: Configuration, curvature_P: Floats) -> LinearFlow:
    """Return one optimizer step with noise of variance 1.

    Args:
        configuration: the method.
        curvature_P: of `Modes`, that is h^(1-p).

    Returns:
        The flow, of shape (n, n, P), or (n, n, K, P) for K configurations.
    """
    names = configuration.states()
    at = {name: place for place, name in enumerate(names)}
    lr, m = np.asarray(configuration.learning_rate), np.asarray(configuration.momentum)
    shape = np.broadcast_shapes(lr.shape, m.shape, curvature_P.shape)
    row = dict.fromkeys(names, np.zeros(0))
    unit = {name: np.zeros((len(names) + 1, *shape)) for name in names}  # the last entry is eps
    for name in names:
        unit[name][at[name]] = 1.0
    gradient = np.zeros((len(names) + 1, *shape))
    late = configuration.gradient_delay
    gradient[at[f"past{late}" if late else "theta"]] = curvature_P
    gradient[-1] = 1.0
    velocity = gradient
    if configuration.has_velocity:
        velocity = row["v"] = m * unit["v"] + gradient
    if configuration.nesterov:
        velocity = gradient + m * velocity
    row["theta"] = unit["theta"] - lr * velocity
    if configuration.averaging == "running":
        row["average"] = unit["average"] + row["theta"]  # the sum; `Readout` divides
    elif configuration.averaging == "exponential":
        decay = np.asarray(configuration.averaging_decay)
        row["average"] = decay * unit["average"] + (1 - decay) * row["theta"]
    for past in range(1, late + 1):
        row[f"past{past}"] = unit[f"past{past - 1}" if past > 1 else "theta"]
    rows = np.stack([row[name] for name in names])
    eta = rows[:, -1]
    return LinearFlow(np.ascontiguousarray(rows[:, :-1]), eta[:, None] * eta[None])


def start(configuration: Configuration, shape: tuple[int, ...]) -> SystemState:
    """Return the state before the first step: velocity 0, past iterates and average at the start.

    Args:
        configuration: the method.
        shape: (P,) or (K, P).

    Returns:
        The state; its noise is 0.
    """
    names = configuration.states()
    zero = {"v"} | ({"average"} if configuration.averaging == "running" else set())
    signal = np.stack([np.full(shape, 0.0 if name in zero else 1.0) for name in names])
    return SystemState(signal, np.zeros((len(names), len(names), *shape)))


def read_risk(
    configuration: Configuration, modes: Modes, state: SystemState, steps: int | Floats
) -> tuple[Floats, Floats]:
    """Return the two parts of the expected risk, signal + noise / B.

    Args:
        configuration: the method.
        modes: measures on curvature.
        state: after `steps`.
        steps: at least 1 with a running average.

    Returns:
        The signal's part and the noise's at batch size 1, of shape () or (K,).
    """
    names = configuration.states()
    place = names.index("average") if "average" in names else 0
    signal: Floats = (state.signal[place] ** 2) @ modes.signal_P
    noise: Floats = state.noise[place, place] @ modes.noise_P
    if configuration.averaging == "running":
        scale = 1.0 / np.square(np.asarray(steps, dtype=np.float64))
        return signal * scale, noise * scale
    return signal, noise


def run_configuration(
    spectrum: Spectrum,
    configuration: Configuration,
    *,
    batch_size: float,
    target_risk: float,
    max_steps: int,
    divergence_factor: float = 30.0,
) -> ExpectedRun:
    """Find the step at which a method's expected risk meets the target, over all modes.

    Args:
        spectrum: the quadratic.
        configuration: the method, with single numbers.
        batch_size: examples per step.
        target_risk: the expected risk to reach.
        max_steps: the budget.
        divergence_factor: a risk above this multiple of its start is divergence.

    Returns:
        The run, as `noisy_quadratic.find_target` finds it.
    """
    modes = all_modes(spectrum, preconditioning=configuration.preconditioning)

    def risk_of(state: SystemState, steps: int) -> float:
        signal, noise = read_risk(configuration, modes, state, steps)
        return float(signal + noise / batch_size)

    return find_target(
        one_step(configuration, modes.curvature_P),
        start(configuration, modes.curvature_P.shape),
        risk_of,
        target_risk=target_risk,
        max_steps=max_steps,
        max_risk=divergence_factor * modes.initial_risk(),
    )

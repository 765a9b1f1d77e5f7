"""Training in pieces: learning rates that fall, batches that grow; and the best learning rates.

Within a piece the learning rate and the batch size are constant, so the risk after any number of
pieces is exact (`risk_after`, every method). For SGD with curvature k and n steps in a piece,

    q = (1 - lr k)^2,    U <- q^n U,    N <- q^n N + lr (1 - q^n) / (B k (2 - lr k)),

whose final risk is differentiable in closed form, so that the best piecewise-constant schedule of S
steps comes from L-BFGS-B, and the fewest steps from a root in S.

Source: Zhang et al. 2019, arXiv:1907.04164, section 4: optimal piecewise-constant learning rates.
Differs from the source: pieces are equally long; no learning rate exceeds the one at which the
steepest mode stops shrinking; the number of steps is found by a root, not a grid.

Shapes: J pieces, P modes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize

from surrogate.noisy_quadratic import Spectrum
from surrogate.simulator.configuration import Configuration, one_step, read_risk, start
from surrogate.simulator.modes import Modes, all_modes, merge_modes

Floats = NDArray[np.float64]

_NODES = 12
_STEPS_TOLERANCE = 1e-5  # relative: what the minimiser's tolerance leaves
_LEAST_RATE, _MOST_RATE = 1e-8, 1.9999  # times 1 / k_max


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """A stretch of training.

    Attributes:
        steps: at least 1.
        configuration: constant over it; its state's entries must be the same in all pieces.
        batch_size: examples per step.
    """

    steps: int
    configuration: Configuration
    batch_size: float


@dataclass(frozen=True, kw_only=True)
class OptimalSchedule:
    """The best schedule at one batch size.

    Attributes:
        batch_size: examples per step.
        steps: the fewest to target, to a relative 1e-5; the target is met after exactly so many.
        learning_rates: one a piece; pieces differ by one step at most, longer ones first.
    """

    batch_size: int
    steps: int
    learning_rates: tuple[float, ...]


def risk_after(spectrum: Spectrum, pieces: Sequence[Piece]) -> float:
    """Return the expected risk after all pieces, over all modes.

    Args:
        spectrum: the quadratic.
        pieces: at least one, in order; not with a running average.

    Returns:
        The risk.

    Raises:
        ValueError: where the pieces are not of one method.
    """
    first = pieces[0].configuration
    modes = all_modes(spectrum, preconditioning=first.preconditioning)
    state = start(first, modes.curvature_P.shape)
    for piece in pieces:
        own = piece.configuration
        if own.states() != first.states() or own.preconditioning != first.preconditioning:
            raise ValueError("pieces must be of one method")
        flow = one_step(own, modes.curvature_P)
        flow = flow._replace(noise=flow.noise / piece.batch_size)
        state = flow.repeated(piece.steps).apply(state)
    signal, noise = read_risk(first, modes, state, 1)
    return float(signal + noise)


def piece_lengths(steps: int, pieces: int) -> list[int]:
    """Return lengths that differ by one at most, longer ones first, and fewer for few steps.

    >>> piece_lengths(11, 4)
    [3, 3, 3, 2]

    Args:
        steps: in all, at least 1.
        pieces: at least 1.
    """
    pieces = min(pieces, steps)
    return [steps // pieces + (place < steps % pieces) for place in range(pieces)]


def optimal_schedule(
    spectrum: Spectrum,
    *,
    batch_size: int,
    target_risk: float,
    pieces: int,
    upper_steps: int,
    preconditioning: float = 0.0,
) -> OptimalSchedule:
    """Return the fewest steps to target of SGD over piecewise-constant schedules.

    Args:
        spectrum: the quadratic.
        batch_size: examples per step.
        target_risk: the expected risk to reach, below that of the start.
        pieces: J.
        upper_steps: enough with a constant learning rate.
        preconditioning: p.

    Returns:
        The schedule.
    """
    modes = all_modes(spectrum, preconditioning=preconditioning)
    merged, _ = merge_modes(modes, nodes=_NODES)
    known: dict[int, tuple[float, Floats]] = {}

    def best(steps: int) -> tuple[float, Floats]:
        if steps not in known:
            near = min(known, key=lambda each: abs(math.log(each / steps)), default=None)
            guess = None if near is None else known[near][1]
            known[steps] = _best_rates(merged, batch_size, piece_lengths(steps, pieces), guess)
        return known[steps]

    def excess(log_steps: float) -> float:
        return best(max(1, round(math.exp(log_steps))))[0] - math.log(target_risk)

    high = math.log(upper_steps)
    low = high
    while low > 0 and excess(low) <= 0:
        low = max(0.0, low - math.log(4))
    if excess(low) > 0:
        found = brentq(excess, low, high + 1e-3, xtol=_STEPS_TOLERANCE / 2)
        steps = math.ceil(math.exp(found))
    else:
        steps = 1
    while True:
        rates = best(steps)[1]
        lengths = piece_lengths(steps, pieces)
        schedule = [
            Piece(
                steps=length,
                configuration=Configuration(
                    learning_rate=float(rate), preconditioning=preconditioning
                ),
                batch_size=batch_size,
            )
            for length, rate in zip(lengths, rates, strict=True)
        ]
        if risk_after(spectrum, schedule) <= target_risk:
            return OptimalSchedule(
                batch_size=batch_size, steps=steps, learning_rates=tuple(map(float, rates))
            )
        steps += max(1, int(steps * _STEPS_TOLERANCE))


def _best_rates(
    modes: Modes, batch_size: float, lengths: Sequence[int], guess: Floats | None
) -> tuple[float, Floats]:
    """Return the least log risk after pieces of these lengths and its learning rates."""
    highest = float(modes.curvature_P.max())
    bounds = [(math.log(_LEAST_RATE / highest), math.log(_MOST_RATE / highest))] * len(lengths)
    length = np.asarray(lengths, dtype=np.float64)[:, None]
    if guess is None or len(guess) != len(lengths):
        # Constant and then falling: rates are searched from a line between these.
        guess = np.geomspace(1.5, 0.05, len(lengths)) / highest

    def objective(log_rate: Floats) -> tuple[float, Floats]:
        return _log_risk(modes, batch_size, length, log_rate)

    found = minimize(
        objective,
        np.log(guess),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 500, "ftol": 1e-13, "gtol": 1e-8},
    )
    return float(found.fun), np.exp(found.x)


def _log_risk(
    modes: Modes, batch_size: float, length: Floats, log_rate: Floats
) -> tuple[float, Floats]:
    """Return log risk after the pieces and its gradient in the log learning rates; shape (J,)."""
    k, rate = modes.curvature_P, np.exp(log_rate)[:, None]
    shrink = 1 - rate * k
    shrink = np.where(np.abs(shrink) < 1e-12, 1e-12, shrink)  # a mode that one step removes
    log_q = 2 * np.log(np.abs(shrink))
    total = np.cumsum((length * log_q)[::-1], axis=0)[::-1]
    after = np.exp(np.vstack([total[1:], np.zeros_like(k)]))  # what later pieces leave of a piece
    lost = -np.expm1(length * log_q)
    limit = rate / (batch_size * k * (2 - rate * k))
    left = limit * lost * after  # of each piece's noise at the end
    signal = np.exp(total[0])
    noise = left.sum(axis=0)
    risk = float(modes.signal_P @ signal + modes.noise_P @ noise)
    # d log q^n, of everything before the piece; then of the piece's own noise. Per log rate.
    slope = length * (-2 * rate * k / shrink)
    before = np.vstack([np.zeros_like(k), np.cumsum(left, axis=0)[:-1]])
    own = after * (lost * limit * 2 / (2 - rate * k) - limit * np.exp(length * log_q) * slope)
    gradient = (slope * signal) @ modes.signal_P + (slope * before + own) @ modes.noise_P
    return math.log(risk), gradient / risk

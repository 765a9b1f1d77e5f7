"""The fewest steps to target at each batch size, over a method's hyper-parameters.

1. A grid over the whole space, on merged modes: signal and noise at 1, 2, 4, ... steps, once for
   all batch sizes. A straight line in log risk against log steps says which point is best.
2. At each batch size, grids that halve around the best point, with steps to target by bisection on
   the flows' powers, made real numbers by a straight line in log risk between the last two steps.
3. The steps at the point that won, over all modes, exact to the step (`run_configuration`).

The last grid's points lie 2e-4 apart in logarithms, and steps to target are flat at their least: a
better point than the returned one is better by some 1e-8 of the steps: not by one, or by one.

Differs from the source (Zhang et al. 2019, arXiv:1907.04164, which searched grids): the above.

Shapes: K configurations, P modes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models_of_scaling.errors import InputError
from surrogate.noisy_quadratic import Spectrum
from surrogate.simulator.configuration import (
    Configuration,
    one_step,
    read_risk,
    run_configuration,
    start,
)
from surrogate.simulator.linear_flow import SystemState
from surrogate.simulator.methods import Method
from surrogate.simulator.modes import Modes, all_modes, merge_modes

Floats = NDArray[np.float64]

_NODES = 12  # an octave: merged risks are wrong by less than 1e-6, which moves no optimum
_FINEST = 2e-4  # the last grid's spacing, in logarithms
_MOST_GRIDS = 60  # where the best lies far outside the first grid
_GRID_POINTS = {1: 9, 2: 6, 3: 5}  # along each axis, by their number
_MOST_ELEMENTS = 20_000  # configurations times modes that are worked on at once: cache


@dataclass(frozen=True, kw_only=True)
class OptimalSteps:
    """The best of a method at one batch size.

    Attributes:
        batch_size: examples per step.
        reached: whether any configuration met the target within the budget.
        steps: the fewest to target; the budget where it was not reached.
        hyper_parameters: those that need so many; empty where the target was not reached.
    """

    batch_size: int
    reached: bool
    steps: int
    hyper_parameters: dict[str, float]


def optimal_steps(
    spectrum: Spectrum,
    batch_sizes: Sequence[int],
    target_risk: float,
    method: Method,
    *,
    max_steps: int = 2**40,
) -> list[OptimalSteps]:
    """Return the fewest steps to target of a method at each batch size.

    Args:
        spectrum: the quadratic.
        batch_sizes: examples per step.
        target_risk: the expected risk to reach, positive.
        method: with its search space.
        max_steps: the budget.

    Returns:
        One answer for each batch size, in their order.

    Raises:
        InputError: where the target is not between 0 and the risk at the start.
    """
    modes = all_modes(spectrum, preconditioning=method.preconditioning)
    if not 0 < target_risk < modes.initial_risk():
        raise InputError(
            f"--target-risk {target_risk:g} must be above 0 and below the risk at the start, "
            f"{modes.initial_risk():.6g}"
        )
    merged, _ = merge_modes(modes, nodes=_NODES)
    sizes = np.asarray(batch_sizes, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # divergence is an answer
        starts = _on_whole_space(method, merged, sizes, target_risk, max_steps)
        best = [
            _refined(method, merged, batch_size, target_risk, place, steps)
            if math.isfinite(steps)
            else None
            for batch_size, (place, steps) in zip(batch_sizes, starts, strict=True)
        ]
        return [
            _checked(spectrum, method, batch_size, values, target_risk, max_steps)
            for batch_size, values in zip(batch_sizes, best, strict=True)
        ]


def _checked(
    spectrum: Spectrum,
    method: Method,
    batch_size: int,
    best: dict[str, float] | None,
    target_risk: float,
    max_steps: int,
) -> OptimalSteps:
    """Return the answer over all modes."""
    if best is not None:
        run = run_configuration(
            spectrum,
            method.configuration(best),
            batch_size=batch_size,
            target_risk=target_risk,
            max_steps=max_steps,
        )
        if run.status == "reached":
            return OptimalSteps(
                batch_size=batch_size, reached=True, steps=run.steps, hyper_parameters=best
            )
    return OptimalSteps(batch_size=batch_size, reached=False, steps=max_steps, hyper_parameters={})


def _configurations(method: Method, modes: Modes, places: Floats) -> Configuration:
    values = method.values(places, highest_curvature=float(modes.curvature_P.max()))
    return method.configuration({name: value[:, None] for name, value in values.items()})


def _on_whole_space(
    method: Method, modes: Modes, batch_sizes: Floats, target_risk: float, max_steps: int
) -> list[tuple[Floats, float]]:
    """Return the best place of the first grid and its steps, roughly, at each batch size."""
    # Constant SGD's floor, lr / (2 B) sum n / k for a small rate, meets the target below this rate.
    shake = float((modes.noise_P / modes.curvature_P).sum())
    tame = 2 * batch_sizes.min() * target_risk / shake if shake > 0 else np.inf
    lowest = 0.01 * tame * float(modes.curvature_P.max())
    axes = [
        axis.grid(lowest=lowest) if axis.name == "learning_rate" else axis.grid()
        for axis in method.axes
    ]
    places = np.stack([each.ravel() for each in np.meshgrid(*axes, indexing="ij")], axis=1)
    task = (batch_sizes, target_risk, max_steps)
    width = max(1, _MOST_ELEMENTS // len(modes.curvature_P))
    steps = np.concatenate([
        _rough_steps(method, modes, places[first : first + width], *task)
        for first in range(0, len(places), width)
    ])  # fmt: skip
    best = steps.argmin(axis=0)
    return [(places[k], float(steps[k, b])) for b, k in enumerate(best)]


def _rough_steps(
    method: Method,
    modes: Modes,
    places: Floats,
    batch_sizes: Floats,
    target_risk: float,
    max_steps: int,
) -> Floats:
    """Return steps to target between powers of two by a straight line; shape (K, B)."""
    configuration = _configurations(method, modes, places)
    shape = (len(places), len(modes.curvature_P))
    state, flow = start(configuration, shape), one_step(configuration, modes.curvature_P)
    steps = np.full((len(places), len(batch_sizes)), np.inf)
    before, power = np.full(steps.shape, modes.initial_risk()), 1
    while power <= max_steps:
        now = flow.apply(state)
        signal, noise = read_risk(configuration, modes, now, power)
        risk = signal[:, None] + noise[:, None] / batch_sizes
        met = (risk <= target_risk) & np.isinf(steps)
        share = np.log(before / target_risk) / np.log(before / risk)
        steps[met] = (power / 2 * 2**share)[met]
        alive = np.isfinite(risk).any(axis=1) & np.isinf(steps).any(axis=1)
        if not alive.any():
            break
        before, power = risk, 2 * power
        flow = flow.twice()
    return steps


def _refined(
    method: Method,
    modes: Modes,
    batch_size: float,
    target_risk: float,
    place: Floats,
    steps: float,
) -> dict[str, float]:
    """Return the best hyper-parameters near a place, by grids that halve."""
    spacing = np.array([axis.spacing for axis in method.axes])
    limit = np.array([math.log(a.high) if a.is_bounded else np.inf for a in method.axes])
    points = _GRID_POINTS[len(method.axes)]
    offsets = [np.linspace(-1, 1, points)] * len(limit)
    cube = np.stack([each.ravel() for each in np.meshgrid(*offsets)], axis=1)
    cube = np.vstack([np.zeros(len(limit)), cube])
    best = np.inf
    for _ in range(_MOST_GRIDS):
        # Past the last grid's neighbours on each side, for a best that lies between its points.
        places = np.minimum(place + 1.25 * spacing * cube, limit)
        most = min(best, 2 * steps)
        found = _real_steps(method, modes, places, batch_size, target_risk, most)
        winner = int(found.argmin())
        if found[winner] < best:
            place, best = places[winner], float(found[winner])
        # Where the best lies on the grid's border, the next grid is as wide: it may walk on.
        if not ((np.abs(cube[winner]) == 1) & (place < limit)).any():
            spacing = spacing * 2.5 / (points - 1)
        if spacing.max() <= _FINEST:
            break
    values = method.values(place[None], highest_curvature=float(modes.curvature_P.max()))
    return {name: float(value[0]) for name, value in values.items()}


def _real_steps(
    method: Method,
    modes: Modes,
    places: Floats,
    batch_size: float,
    target_risk: float,
    most: float,
) -> Floats:
    """Return steps to target as real numbers, infinite where they exceed `most` by far; shape (K,).

    Bisection from above: the highest power of two that leaves the risk above the target is taken,
    then the next lower one, and so on; all configurations at once.
    """
    configuration = _configurations(method, modes, places)
    shape = (len(places), len(modes.curvature_P))
    flows = [one_step(configuration, modes.curvature_P)]
    for _ in range(max(1, math.ceil(math.log2(most)))):
        flows.append(flows[-1].twice())
    state = start(configuration, shape)
    done = np.zeros(len(places))
    above, below = np.full((2, len(places)), np.nan)
    above[:] = modes.initial_risk()
    for level in reversed(range(len(flows))):
        moved = flows[level].apply(state)
        signal, noise = read_risk(configuration, modes, moved, done + 2**level)
        risk = signal + noise / batch_size
        going = ~(risk <= target_risk)
        below, above = np.where(going, below, risk), np.where(going, risk, above)
        done += going * 2**level
        state = SystemState(
            *(np.where(going[:, None], new, old) for new, old in zip(moved, state, strict=True))
        )
    share = np.log(above / target_risk) / np.log(above / below)
    real = done + np.where(np.isfinite(share), share, 1.0)
    return np.where(np.isfinite(below), real, np.inf)

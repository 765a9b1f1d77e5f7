"""The step-time model fitted to measured throughput, with what the rows do not tell.

    log T_i = log T(theta; configuration i) + sigma t_5

t_5 is Student's t with 5 degrees of freedom: a straggling node is no reason to bend the model.
theta = (t_1, t_0, latency and bandwidth within and between nodes, overlap) of `cluster`. Every
parameter has a prior, log-normal (overlap: logit-normal), wide enough for hardware from 2014 to
today; draws come from the posterior. A parameter counts as told by the rows where the posterior
standard deviation of its log is below 0.5 (90 % within a factor of 2.3 of the middle) and below
half the prior's. The others stay as wide as their prior or nearly so, and what hangs on them (more
nodes than were measured) has an interval to match.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import least_squares

from models_of_scaling.intervals import Interval, interval_of
from models_of_scaling.machine.all_reduce import (
    Algorithm,
    AllReduceCount,
    Link,
    Network,
    count_all_reduce,
)
from models_of_scaling.machine.cluster import Placement, StepTime
from models_of_scaling.machine.ensemble_sampler import sample_by_stretch_moves
from models_of_scaling.machine.throughput import Throughput
from models_of_scaling.quantities import Floats

PARAMETERS: Final = (
    "seconds_per_example",
    "seconds_per_forward",
    "latency_within_s",
    "bandwidth_within",
    "latency_between_s",
    "bandwidth_between",
    "overlap",
)
# Medians and standard deviations of the logs (overlap: of the logit). Latencies of software and
# link together, from a device's own link to processes of one CPU (milliseconds); bandwidths from
# PCIe 3 to NVLink 5, and from 10 Gb Ethernet to eight adapters of 400 Gb. The first two are in
# units of the rows' own times (`_Problem`).
_PRIOR: Final = {
    "seconds_per_example": (0.9, 2.0),
    "seconds_per_forward": (0.1, 2.5),
    "latency_within_s": (2e-5, 2.5),
    "bandwidth_within": (5e10, 1.5),
    "latency_between_s": (5e-5, 2.0),
    "bandwidth_between": (1.2e10, 1.8),
}
_OVERLAP_LOGIT_SD: Final = 1.5
_NOISE_PRIOR: Final = (0.03, 1.0)
_DEGREES: Final = 5.0
_TOLD: Final = 0.5
_WALKERS, _MOVES, _BURN_IN, NUM_DRAWS = 48, 1600, 400, 400
_STARTS: Final = 8
_LARGE_MISFIT: Final = 0.2
_METHOD: Final = "posterior draws"


@dataclass(frozen=True, kw_only=True)
class StepTimeFit:
    """The fitted model.

    Attributes:
        point: the most likely parameters.
        draws: the same with arrays of `NUM_DRAWS` posterior draws.
        noise: of one configuration's log time, one per draw: misfit of the model and measurement.
        intervals: per parameter of `PARAMETERS`, and "noise".
        told: whether the rows tell it, per parameter; see the module's docstring.
        rms_misfit: root mean square of the point's residuals, in logs.
        measured: the rows.
    """

    point: StepTime
    draws: StepTime
    noise: Floats
    intervals: dict[str, Interval]
    told: dict[str, bool]
    rms_misfit: float
    measured: Throughput

    def extrapolation(self, placement: Placement) -> tuple[str, ...]:
        """Return in what a configuration lies beyond the measured ones; empty where it does not.

        Args:
            placement: to be timed.
        """
        notes = []
        for name, value, seen in (
            ("nodes", placement.nodes, self.measured.nodes),
            ("devices per node", placement.devices_per_node, self.measured.devices_per_node),
            (
                "examples per device and forward",
                placement.per_device_batch_size,
                self.measured.per_device_batch_size,
            ),
        ):
            low, high = int(seen.min()), int(seen.max())
            if not low <= value <= high:
                bound = f"at most {high:,}" if value > high else f"at least {low:,}"
                notes.append(f"{value:,} {name}, {bound} measured")
        return tuple(notes)

    def advice(self) -> tuple[str, ...]:
        """Return what is amiss: a misfit, parameters that the rows do not tell, what to measure."""
        found = [
            f"The rows do not tell {', '.join(unknown)} (known is the prior, or a bound): {remedy}."
            for names, remedy in _REMEDIES
            if (unknown := [name for name in names if not self.told[name]])
        ]
        if self.rms_misfit > _LARGE_MISFIT:
            found.insert(
                0,
                f"The model misses the measured step times by {100 * self.rms_misfit:.0f} % "
                "typically: don't rely on it where nothing was measured. Is the all-reduce of "
                "another kind (--all-reduce), or did something else use the machine?",
            )
        return tuple(found)


_REMEDIES: Final = (
    (
        ("seconds_per_example", "seconds_per_forward"),
        "measure one device at two or more values of per_device_batch_size, 4x apart",
    ),
    (
        ("latency_within_s", "bandwidth_within"),
        "measure one node with 1, 2 and all of its devices at a small per_device_batch_size",
    ),
    (
        ("latency_between_s", "bandwidth_between"),
        "measure several numbers of nodes, 4x apart, at a small per_device_batch_size",
    ),
    (
        ("overlap",),
        "measure the largest number of nodes at a small and at a large per_device_batch_size",
    ),
)


def fit_step_time(
    measured: Throughput,
    *,
    parameter_bytes: float,
    algorithm: Algorithm,
    level: float,
    seed: int,
) -> StepTimeFit:
    """Fit the model to measured throughput.

    Args:
        measured: at least one configuration.
        parameter_bytes: bytes of gradients that one step all-reduces.
        algorithm: of the all-reduce.
        level: of the intervals.
        seed: of the draws.

    Returns:
        The fit.
    """
    problem = _Problem(measured, parameter_bytes, algorithm)
    rng = np.random.default_rng(seed)
    point, spread = problem.most_likely(rng)
    start = point + rng.standard_normal((_WALKERS, len(point))) @ spread.T
    theta = sample_by_stretch_moves(
        problem.log_density, start, moves=_MOVES, burn_in=_BURN_IN, keep=NUM_DRAWS, rng=rng
    )
    natural, best = _natural(theta), _natural(point)
    names = (*PARAMETERS, "noise")
    return StepTimeFit(
        point=problem.step_time(best),
        draws=problem.step_time(natural),
        noise=natural[..., -1],
        intervals={
            name: interval_of(
                best[i], natural[:, i], np.ones(NUM_DRAWS), level=level, method=_METHOD
            )
            for i, name in enumerate(names)
        },
        told={
            name: bool(theta[:, i].std() < _TOLD * min(problem.prior_sd[i], 1.0))
            for i, name in enumerate(PARAMETERS)
        },
        rms_misfit=float(np.sqrt(np.mean(problem.residuals(point) ** 2))),
        measured=measured,
    )


def _natural(theta: Floats) -> Floats:
    """Return parameters from coordinates: all are logs but the overlap, a logit."""
    natural = np.exp(theta)
    place = PARAMETERS.index("overlap")
    natural[..., place] = 1 / (1 + np.exp(-theta[..., place]))
    return np.asarray(natural)


class _Problem:
    """Rows and priors as arrays; coordinates are those of `_natural`."""

    def __init__(self, measured: Throughput, parameter_bytes: float, algorithm: Algorithm) -> None:
        self._bytes, self._algorithm = parameter_bytes, algorithm
        self._log_seconds = np.log(measured.seconds_per_step)
        self._forwards = measured.accumulate_grad_batches.astype(float)
        self._last = measured.per_device_batch_size.astype(float)
        counts = [
            count_all_reduce(algorithm, parameter_bytes, nodes=int(m), devices_per_node=int(k))
            for m, k in zip(measured.nodes, measured.devices_per_node, strict=True)
        ]
        self._count = AllReduceCount(**{
            name: np.array([getattr(count, name) for count in counts])
            for name in AllReduceCount.__dataclass_fields__
        })
        # The scale of compute: the shortest measured time per forward, and per example.
        forwards_s = measured.seconds_per_step / self._forwards
        scale = {
            "seconds_per_example": float((forwards_s / self._last).min()),
            "seconds_per_forward": float(forwards_s.min()),
        }
        medians = [scale.get(name, 1.0) * _PRIOR[name][0] for name in PARAMETERS[:-1]]
        self.prior_mean = np.array([*np.log(medians), 0.0, np.log(_NOISE_PRIOR[0])])
        self.prior_sd = np.array([
            *(_PRIOR[name][1] for name in PARAMETERS[:-1]),
            _OVERLAP_LOGIT_SD,
            _NOISE_PRIOR[1],
        ])

    def step_time(self, natural: Floats) -> StepTime:
        """Return the model; `natural` has the parameters in its last axis."""
        t_1, t_0, alpha_in, bandwidth_in, alpha_out, bandwidth_out, overlap = np.moveaxis(
            natural[..., : len(PARAMETERS)], -1, 0
        )
        return StepTime(
            seconds_per_example=t_1,
            seconds_per_forward=t_0,
            overlap=overlap,
            network=Network(
                within=Link(latency_s=alpha_in, bandwidth=bandwidth_in),
                between=Link(latency_s=alpha_out, bandwidth=bandwidth_out),
            ),
            parameter_bytes=self._bytes,
            algorithm=self._algorithm,
        )

    def residuals(self, theta: Floats) -> Floats:
        """Return log measured over predicted seconds, (..., C)."""
        parts = self.step_time(_natural(theta)[..., None, :]).parts_of(
            examples=self._forwards * self._last,
            forwards=self._forwards,
            last_forward=self._last,
            count=self._count,
        )
        return np.asarray(self._log_seconds - np.log(parts.total_s))

    def log_density(self, theta: Floats) -> Floats:
        """Return the log posterior of points (W, D), up to a constant."""
        log_sigma = theta[..., -1:]
        scaled = self.residuals(theta) * np.exp(-log_sigma)
        terms = -0.5 * (_DEGREES + 1) * np.log1p(scaled**2 / _DEGREES) - log_sigma
        prior = -0.5 * (((theta - self.prior_mean) / self.prior_sd) ** 2).sum(axis=-1)
        return np.asarray(terms.sum(axis=-1) + prior)

    def most_likely(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Return the mode, and a square root of the covariance around it."""
        tries = self.prior_mean + self.prior_sd * rng.standard_normal((4000, len(self.prior_sd)))
        # Each with its own best noise: a common one would favour starts that miss every row alike.
        spread = np.sqrt((self.residuals(tries) ** 2).mean(axis=-1))
        tries[:, -1] = np.log(np.maximum(spread, _NOISE_PRIOR[0]))
        order = np.argsort(-self.log_density(tries))
        found = [self._polished(tries[place]) for place in order[:_STARTS]]
        return max(found, key=lambda each: float(self.log_density(each[0][None])[0]))

    def _polished(self, start: Floats) -> tuple[Floats, Floats]:
        theta = start.copy()
        for _ in range(4):  # the noise follows the residuals, and they the noise
            sigma = np.exp(theta[-1])

            def scaled(free: Floats, sigma: float = sigma) -> Floats:
                full = np.append(free, np.log(sigma))
                prior = (free - self.prior_mean[:-1]) / self.prior_sd[:-1]
                return np.concatenate([self.residuals(full) / sigma, prior])

            solved = least_squares(scaled, theta[:-1], max_nfev=60)
            squares = float((self.residuals(np.append(solved.x, 0.0)) ** 2).sum())
            rows = len(self._log_seconds)
            # As if the prior were one more row of its median.
            theta = np.append(solved.x, 0.5 * np.log((squares + _NOISE_PRIOR[0] ** 2) / (rows + 1)))
        jacobian = np.asarray(solved.jac)
        covariance = np.linalg.inv(jacobian.T @ jacobian)
        spread = np.zeros((len(theta), len(theta)))
        spread[:-1, :-1] = np.linalg.cholesky(covariance)
        spread[-1, -1] = 0.3
        return theta, spread

"""Branches of the simulator: expected risks along a base run and its branches, exactly, no run.

The state of the system after so many steps is known in closed form (`simulator.linear_flow`), so
branches go on from any of it, and so is what the noise scales are made of: with r_i a mode's part
of the risk 1/2 sum h_i E[theta_i^2],

    E|G|^2 = sum h_i^2 E[theta_i^2] = 2 sum h_i r_i,    tr(Sigma) = sum c_i,
    E[G' H G] = 2 sum h_i^2 r_i,                        tr(H Sigma) = sum h_i c_i.

Expectations of numerator and denominator are taken apart, as a measurement over steps does.

Shapes: P modes, N evaluations, M batch sizes.
"""

import itertools
from collections.abc import Callable, Mapping

import numpy as np

from models_of_scaling.branching import Branches, Floats
from models_of_scaling.noise_scale import NoiseScale
from surrogate.branching.plan import BASE_FACTORS, RULES, BranchPlan, Checkpoint, evaluated_at
from surrogate.noisy_quadratic import Spectrum
from surrogate.simulator.configuration import Configuration, one_step, read_risk, start
from surrogate.simulator.linear_flow import SystemState
from surrogate.simulator.methods import Method
from surrogate.simulator.modes import Modes, all_modes

# Evaluations of the base run over a branch's length: they cost little here.
_EVALUATIONS = 192


class SimulatedBranches:
    """A method's expected risk on a quadratic, from checkpoints of one base run."""

    def __init__(
        self, spectrum: Spectrum, method: Method, plan: BranchPlan, *, base_batch_size: int
    ) -> None:
        """Say what is simulated.

        Args:
            spectrum: the quadratic.
            method: what a step is.
            plan: its checkpoints, branches and numbers.
            base_batch_size: of the base run.
        """
        self._spectrum, self._method, self._plan = spectrum, method, plan
        self._base_batch_size = base_batch_size
        self._modes: Modes = all_modes(spectrum, preconditioning=method.preconditioning)

    def run(self, say: Callable[[str], None] | None = None) -> list[Checkpoint]:
        """Simulate the base run, and every branch of every checkpoint.

        Args:
            say: called with a line at each checkpoint.

        Returns:
            One entry a checkpoint.
        """
        size = self._base_batch_size
        state = start(self._configuration(1.0), self._modes.curvature_P.shape)
        done, found = 0, []
        for at in self._plan.checkpoints:
            state = self._advance(state, (at - done) // size, size, 1.0)
            done = at
            if say is not None:
                sizes = ", ".join(map(str, self._plan.batch_sizes))
                say(f"checkpoint at {at:,} examples: branches at {sizes}")
            simple, curved = self._noise_scales(state)
            found.append(
                Checkpoint(
                    branches=self._branches(state, at), noise=(simple,), curvature_noise=curved
                )
            )
        return found

    def _branches(self, state: SystemState, at: int) -> Branches:
        plan, size = self._plan, self._base_batch_size
        examples_N = evaluated_at(size, plan.branch_examples, evaluations=_EVALUATIONS)
        by_rule: Mapping[str, Floats] = {
            rule: np.array([[self._end_of_branch(state, rule, size) for size in plan.batch_sizes]])
            for rule in plan.rules
        }
        return Branches(
            examples=at,
            base_batch_size=size,
            branch_examples=plan.branch_examples,
            base_examples_N=np.array(examples_N, float),
            base_loss_RN={
                factor: self._risks(state, examples_N, factor)[None] for factor in BASE_FACTORS
            },
            batch_sizes=plan.batch_sizes,
            loss_RM=by_rule,
            is_exact=True,
        )

    def _risks(self, state: SystemState, examples_N: list[int], factor: float) -> Floats:
        """Return the base run's expected risk from a checkpoint on, shape (N,)."""
        risks = [self._risk(state)]
        for before, after in itertools.pairwise(examples_N):
            steps = (after - before) // self._base_batch_size
            state = self._advance(state, steps, self._base_batch_size, factor)
            risks.append(self._risk(state))
        return np.array(risks)

    def _end_of_branch(self, state: SystemState, rule: str, batch_size: int) -> float:
        factor = (batch_size / self._base_batch_size) ** RULES[rule]
        steps = self._plan.branch_examples // batch_size
        return self._risk(self._advance(state, steps, batch_size, factor))

    def _configuration(self, factor: float) -> Configuration:
        """Return the method with its learning rate so many times the base run's."""
        numbers = {axis.name: self._plan.numbers[axis.name] for axis in self._method.axes}
        rate = numbers["learning_rate"] * factor
        return self._method.configuration(numbers | {"learning_rate": rate})

    def _advance(
        self, state: SystemState, steps: int, batch_size: int, factor: float
    ) -> SystemState:
        if not steps:
            return state
        flow = one_step(self._configuration(factor), self._modes.curvature_P)
        flow = flow._replace(noise=flow.noise / batch_size)
        with np.errstate(over="ignore", invalid="ignore"):  # divergence is an answer
            return flow.repeated(steps).apply(state)

    def _risk(self, state: SystemState) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            return float(sum(read_risk(self._configuration(1.0), self._modes, state, 1)))

    def _noise_scales(self, state: SystemState) -> tuple[NoiseScale, NoiseScale]:
        """Return tr(Sigma) / |G|^2 and tr(H Sigma) / (G' H G) where gradients are taken."""
        h_P, modes = self._spectrum.curvature_P, self._modes
        risk_P = state.signal[0] ** 2 * modes.signal_P + state.noise[0, 0] * modes.noise_P
        trace_P = self._spectrum.noise_P
        return (
            _exact(float(trace_P.sum()), float(2 * h_P @ risk_P)),
            _exact(float(h_P @ trace_P), float(2 * h_P**2 @ risk_P)),
        )


def _exact(trace: float, sq_norm: float) -> NoiseScale:
    ratio = trace / sq_norm
    return NoiseScale(
        estimate=ratio, low=ratio, high=ratio, level=1.0, trace=trace, sq_norm=sq_norm,
        steps=0, blocks=0.0,
    )  # fmt: skip

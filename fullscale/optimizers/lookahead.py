"""Lookahead: slow weights that follow any rule's weights every few steps.

Source: Zhang, Lucas, Hinton & Ba 2019, arXiv:1907.08610, Algorithm 1. The inner rule takes k steps
from the slow weights s, then with slow step size alpha

    s <- s + alpha (w - s);    w <- s

Evaluated are the slow weights (section 4 there).

Differs from the source: nothing; the inner rule's state is kept at a synchronisation, which the
paper leaves open.
"""

from dataclasses import replace

import torch
from torch import Tensor

from fullscale.optimizers.moments import no_steps
from fullscale.optimizers.update_rule import Numbers, State, TensorTraits, UpdateRule

_SLOW, _STEPS = "lookahead_slow", "lookahead_steps_done"


def lookahead(inner: UpdateRule) -> UpdateRule:
    """Return a rule with slow weights around another one.

    Args:
        inner: of the fast weights.
    """

    def init_state(parameter: Tensor) -> State:
        slow = {_SLOW: parameter, _STEPS: no_steps(parameter)}
        return {**inner.init_state(parameter), **slow}

    def update(
        parameter: Tensor, gradient: Tensor, state: State, numbers: Numbers, traits: TensorTraits
    ) -> tuple[Tensor, State]:
        fast, new = inner.update(parameter, gradient, state, numbers, traits)
        steps, slow = state[_STEPS] + 1, state[_SLOW]
        sync = torch.remainder(steps, numbers["lookahead_steps"]) == 0
        ahead = slow + numbers["slow_step_size"] * (fast - slow)
        slow = torch.where(sync, ahead, slow)
        return torch.where(sync, ahead, fast), {**new, _SLOW: slow, _STEPS: steps}

    return replace(
        inner,
        name=f"lookahead:{inner.name}",
        # The paper's k and alpha for CIFAR and ImageNet (section 5).
        defaults={**inner.defaults, "lookahead_steps": 5.0, "slow_step_size": 0.5},
        init_state=init_state,
        update=update,
        fused=None,
        evaluation_parameter=lambda _, state: state[_SLOW],
    )

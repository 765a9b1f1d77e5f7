"""Stochastic weight averaging: the plain mean of weights along a run's end, to evaluate with.

Source: Izmailov et al. 2018, arXiv:1803.05407, Algorithm 1: from step s on, every c steps,

    a <- (a n + w) / (n + 1),    n <- n + 1

with the weights after step s as the first of them. Torch's `swa_utils.get_swa_avg_fn` is the same
mean. Differs from the source: nothing; its rates are a schedule's to choose (constant, triangular,
warm_restarts), and the batch-norm statistics are refreshed where the trainer is told so
(`fullscale.callbacks.average_weights`).
"""

from dataclasses import replace

import torch
from torch import Tensor

from fullscale.optimizers.moments import no_steps
from fullscale.optimizers.update_rule import Numbers, State, TensorTraits, UpdateRule

_MEAN, _MODELS, _STEPS = "mean_of_weights", "models_in_mean", "mean_steps_done"


def stochastic_weight_average(inner: UpdateRule) -> UpdateRule:
    """Return a rule that also keeps the mean of its weights.

    Args:
        inner: of the weights that are trained.
    """

    def init_state(parameter: Tensor) -> State:
        mine = {_MEAN: parameter, _MODELS: no_steps(parameter), _STEPS: no_steps(parameter)}
        return {**inner.init_state(parameter), **mine}

    def update(
        parameter: Tensor, gradient: Tensor, state: State, numbers: Numbers, traits: TensorTraits
    ) -> tuple[Tensor, State]:
        new, kept = inner.update(parameter, gradient, state, numbers, traits)
        steps, models = state[_STEPS] + 1, state[_MODELS]
        since = steps - numbers["average_start_steps"]
        joins = (since >= 0) & (torch.remainder(since, numbers["average_period_steps"]) == 0)
        # Until the first model joins, the mean is the weights themselves.
        mean = torch.where(joins, (state[_MEAN] * models + new) / (models + 1), state[_MEAN])
        mean = torch.where(since < 0, new, mean)
        models = torch.where(joins, models + 1, models)
        return new, {**kept, _MEAN: mean, _MODELS: models, _STEPS: steps}

    return replace(
        inner,
        name=f"swa:{inner.name}",
        defaults={**inner.defaults, "average_start_steps": 1.0, "average_period_steps": 1.0},
        init_state=init_state,
        update=update,
        fused=None,
        evaluation_parameter=lambda _, state: state[_MEAN],
    )

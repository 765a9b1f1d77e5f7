"""K-FAC: natural gradient with a Kronecker-factored Fisher matrix for each layer.

Source: Martens & Grosse 2015, arXiv:1503.05671, Algorithm 2 with the block-diagonal inverse of its
section 4.2; for convolutions Grosse & Martens 2016, arXiv:1602.01573. With A and G of a layer's
batch (`layers.py`), D the gradient of [W b] with its weight decay wd, and k factors seen before:

    e = min(1 - 1/(k + 1), factor_decay);    A <- e A + (1 - e) A_batch, G likewise   (section 5)
    r = sqrt(damping + wd);    pi^2 = (tr A / dim A) / (tr G / dim G)      (sections 6.2, 6.3, 6.6)
    U = (G + r / pi I)^-1 D (A + pi r I)^-1
    s = min(1, sqrt(kl_clip / (lr^2 sum over layers of <U, D>)))
    v <- m v + s U;    w <- w - lr v

s bounds lr^2 U^T F U, twice the step's divergence of the network's distribution in the quadratic
model: the trust region of Ba, Grosse & Martens 2017 ("Distributed second-order optimization using
Kronecker-factored approximations", section 5), which K-FAC at large batch sizes is run with.
kl_clip 0 switches it off. Factors are renewed every `factors_every` steps, inverses in the first
three steps and every `inverse_every` (T_3 = 20 in the source).

`kfac` draws the labels of the factors from the network's own distribution, as the source does;
`kfac_empirical` takes the data's (Osawa et al. 2018, arXiv:1811.12019, section 3.3).

Differs from the source: rate, momentum and damping are given numbers, as in Osawa 2018 and Ma et
al. 2019, arXiv:1903.06237; the source solves for the first two and adapts the third. Tensors of
other layers (normalisation), and layers whose weight lacks the trait `adapted`, take the plain
gradient. Every example takes part in the factors. Each process computes every inverse.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from fullscale.optimizers.gradient_rule import GradientRule, Made, Step, Tensors
from fullscale.optimizers.layers import Factors, Layer
from fullscale.optimizers.moments import no_steps
from fullscale.optimizers.update_rule import (
    Number,
    Numbers,
    State,
    TensorTraits,
    UpdateRule,
    decay_of,
    with_decay,
)

_FACTORS, _INVERSES = "factors", "inverses"
_SIDES = ("inputs", "outputs")


def _phase(steps: int, numbers: Mapping[str, float]) -> str:
    due = [_FACTORS] if steps % int(numbers["factors_every"]) == 0 else []
    if steps < 3 or steps % int(numbers["inverse_every"]) == 0:
        due.append(_INVERSES)
    return " ".join(due)


def _init_states(parameters: Tensors, layers: Mapping[str, Layer]) -> dict[str, State]:
    states = {}
    for name, layer in layers.items():
        weight = parameters[name]
        sizes = {
            "inputs": weight[0].numel() + (layer.bias is not None),
            "outputs": len(weight),
        }
        state = {"kfac_updates": no_steps(weight)}
        for side in _SIDES:
            for kind in ("factor", "inverse"):
                state[f"kfac_{side}_{kind}"] = weight.new_zeros((sizes[side], sizes[side]))
        states[name] = state
    return states


def damped_inverses(factors: Factors, damping: Number) -> Factors:
    """Return (A + pi sqrt(damping) I)^-1 and (G + sqrt(damping) / pi I)^-1.

    Args:
        factors: A and G.
        damping: lambda; an inverse that does not exist is not a number.
    """
    mean_in = factors.inputs.diagonal().mean()
    mean_out = factors.outputs.diagonal().mean()
    both = (mean_in > 0) & (mean_out > 0)
    ones = torch.ones_like(mean_in)
    pi = torch.where(both, mean_in / torch.where(both, mean_out, ones), ones).sqrt()
    root = damping**0.5
    return Factors(
        inputs=_inverse(factors.inputs, pi * root), outputs=_inverse(factors.outputs, root / pi)
    )


def _inverse(matrix: Tensor, shift: Tensor) -> Tensor:
    eye = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    lower, failed = torch.linalg.cholesky_ex(matrix + shift * eye)
    inverse = torch.cholesky_inverse(lower)
    return torch.where(failed == 0, inverse, torch.full_like(inverse, torch.nan))


def _due(phase: str | None, word: str, by_count: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Return the new value where it is due, by the phase or else by the count."""
    if phase is not None:
        return new if word in phase else old
    return torch.where(by_count, new, old)


def _curvature(
    state: State, found: Factors | None, numbers: Numbers, traits: TensorTraits
) -> State:
    """Return a layer's state with this step's factors and inverses."""
    phase, steps, updates = traits.phase, state["steps"], state["kfac_updates"]
    new = {key: value for key, value in state.items() if key.startswith("kfac_")}
    if phase is None or _FACTORS in phase:
        assert found is not None
        due = torch.remainder(steps, numbers["factors_every"]) == 0
        share = 1 - 1 / (updates + 1)
        kept = torch.minimum(share, torch.zeros_like(share) + numbers["factor_decay"])
        new["kfac_updates"] = _due(phase, _FACTORS, due, updates + 1, updates)
        for side in _SIDES:
            old, fresh = state[f"kfac_{side}_factor"], getattr(found, side)
            mean = kept * old + (1 - kept) * fresh.to(old.dtype)
            new[f"kfac_{side}_factor"] = _due(phase, _FACTORS, due, mean, old)
    if phase is None or _INVERSES in phase:
        due = (steps < 3) | (torch.remainder(steps, numbers["inverse_every"]) == 0)
        damping = numbers["damping"] + decay_of(numbers, traits)
        factors = Factors(inputs=new["kfac_inputs_factor"], outputs=new["kfac_outputs_factor"])
        inverses = damped_inverses(factors, damping)
        for side in _SIDES:
            key = f"kfac_{side}_inverse"
            new[key] = _due(phase, _INVERSES, due, getattr(inverses, side), state[key])
    return new


def _make(step: Step) -> Made:
    layers = {
        name: layer
        for name, layer in step.batch.layers.items()
        if name in step.gradients and step.traits[name].adapted
    }
    plain = {
        name: with_decay(gradient, step.parameters[name], step.numbers, step.traits[name])
        for name, gradient in step.gradients.items()
    }
    made, states = dict(plain), {}
    total = next(iter(plain.values())).new_zeros(())
    phase = next((step.traits[name].phase for name in layers), None)
    found: Mapping[str, Factors] = {}
    if layers and (phase is None or _FACTORS in phase):
        found = step.batch.factors(step.states[next(iter(layers))]["steps"])
    for name, layer in layers.items():
        states[name] = _curvature(
            step.states[name], found.get(name), step.numbers, step.traits[name]
        )
        rows = plain[name].flatten(1)
        if layer.bias is not None:
            rows = torch.cat([rows, plain[layer.bias][:, None]], dim=1)
        inverse_out = states[name]["kfac_outputs_inverse"]
        turned = inverse_out @ rows @ states[name]["kfac_inputs_inverse"]
        total = total + (turned * rows).sum()
        if layer.bias is not None:
            made[layer.bias] = turned[:, -1]
            turned = turned[:, :-1]
        made[name] = turned.reshape(plain[name].shape)
    shrink = _shrink(total, step.numbers)
    shrunk = {bias for layer in layers.values() if (bias := layer.bias)} | set(layers)
    return Made(
        gradients={
            name: shrink * value if name in shrunk else value for name, value in made.items()
        },
        states=states,
    )


def _shrink(total: Tensor, numbers: Numbers) -> Tensor:
    """Return s."""
    rate, clip = numbers["learning_rate"], torch.zeros_like(total) + numbers["kl_clip"]
    size = rate * rate * total
    over = (clip > 0) & (size > clip)
    return torch.where(over, clip / torch.where(over, size, torch.ones_like(size)), 1.0).sqrt()


def _init_state(parameter: Tensor) -> State:
    return {"velocity": torch.zeros_like(parameter), "steps": no_steps(parameter)}


def _update(
    parameter: Tensor, gradient: Tensor, state: State, numbers: Numbers, traits: TensorTraits
) -> tuple[Tensor, State]:
    """Step along what `_make` made of the gradient, its decay included."""
    velocity = numbers["momentum"] * state["velocity"] + gradient
    new = parameter - numbers["learning_rate"] * velocity
    return new, {"velocity": velocity, "steps": state["steps"] + 1}


KFAC = UpdateRule(
    name="kfac",
    defaults={
        "momentum": 0.9,
        "weight_decay": 0.0,
        "damping": 1e-3,
        "factor_decay": 0.95,
        "kl_clip": 1e-3,
        "factors_every": 1.0,
        "inverse_every": 20.0,
    },
    init_state=_init_state,
    update=_update,
    needs_whole_tensor=True,
    phase=_phase,
    gradient_rule=GradientRule(
        needs=("factors",),
        make=_make,
        init_states=_init_states,
        sampled_labels=True,
        is_due=lambda phase: phase is None or _FACTORS in phase,
    ),
)
assert KFAC.gradient_rule is not None
KFAC_EMPIRICAL = replace(
    KFAC,
    name="kfac_empirical",
    gradient_rule=replace(KFAC.gradient_rule, sampled_labels=False),
)

"""What an optimizer makes of a gradient before it steps: for the noise of that gradient.

The noise scale of P g, with P as the optimizer's state has it before the step: fixed while the
step's gradients are drawn, so that the estimates stay unbiased. Momentum is left out: it averages
over steps and changes no noise scale of a single one.

- adam: P = 1 / (sqrt(v / (1 - beta2^t)) + epsilon), element by element (Kingma & Ba 2015,
  arXiv:1412.6980, Algorithm 1); also RMSprop's and Yogi's, without the correction. Optimizers that
  make something else of a second moment (SOAP's lies in another basis, AdaBound's is cut off, Muon
  has one for some tensors) are refused.
- lars: P = the trust ratio eta |w| / (|g| + wd |w| + epsilon), one number a tensor (You et al.
  2017, arXiv:1708.03888); |g| of the step before. Who has one: by our own optimizer's traits, in
  others tensors of two axes or more.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Shard
from torch.optim import Optimizer

from fullscale.gradient_noise.norms import local_part
from fullscale.optimizers.parameter_groups import tensor_traits
from fullscale.optimizers.registry import BATCH_RULES, UPDATE_RULES
from fullscale.optimizers.rule_optimizer import RuleOptimizer
from models_of_scaling.errors import InputError

PRECONDITIONERS = ("none", "adam", "lars")
# The names of the second moment, of the count of steps and of epsilon: torch's, and our rules'.
# The largest so far, of Adam's amsgrad, is what it divides by.
_SECOND_MOMENTS = ("max_exp_avg_sq", "exp_avg_sq", "second_moment", "square_avg", "mean_square")
# Of our rules, those whose direction is the gradient over the root of that moment, up to a factor
# that is the same for all of a tensor: also under a wrapper.
_ADAMS = frozenset({"adam", "adamw", "lamb", "radam", "rmsprop", "yogi"})
# Entries of states beside a second moment that make another P of it: Adadelta's, centred RMSprop's.
_MORE_THAN_A_MOMENT = ("acc_delta", "grad_avg")
_STEPS = ("step", "steps")
_TENSOR_PARALLEL = "tensor_parallel"  # the name of that dimension of Lightning's mesh


def group_of(optimizer: Optimizer) -> dict[Tensor, dict[str, Any]]:
    """Return each parameter's group of numbers."""
    return {p: group for group in optimizer.param_groups for p in group["params"]}


def _first(names: tuple[str, ...], found: Any) -> Any:
    return next((found[name] for name in names if name in found), None)


class AdamDirections:
    """Gradients over the roots of their second moments.

    Under FSDP2 a process holds a part of each second moment, and the whole gradient of its own
    microbatch: `gather` brings the parts together for as long as a step lasts, one tensor of the
    weights' size more on each device. The step's own gradient is cut as the moments are.
    """

    def __init__(self, optimizer: Optimizer, parameters: Sequence[Tensor]) -> None:
        """Look at the groups.

        Args:
            optimizer: of the parameters.
            parameters: cut or whole.

        Raises:
            InputError: where the optimizer is one of ours whose P is another.
        """
        name = _name_of(optimizer)
        if name in {**UPDATE_RULES, **BATCH_RULES} and name not in _ADAMS:
            raise InputError(
                f"preconditioner 'adam': {name} does not divide by the root of a second moment; "
                f"it is for {', '.join(sorted(_ADAMS))}, and torch's optimizers that do"
            )
        self._optimizer, self._parameters = optimizer, parameters
        self._groups = group_of(optimizer)
        self._is_cut = any(isinstance(p, DTensor) for p in parameters)
        self._gathered: dict[int, Tensor] = {}

    def gather(self) -> None:
        """Bring cut moments together, unless they are: a collective, the same on all processes."""
        if not self._is_cut or self._gathered:
            return
        for i, parameter in enumerate(self._parameters):
            second = self._second_moment(i)
            if second is not None and isinstance(parameter, DTensor):
                self._gathered[i] = self._root(i, _over_data(second))

    def forget(self) -> None:
        """Let go of what was gathered: the step is about to change the moments."""
        self._gathered = {}

    def of_microbatch(self, i: int, gradient: Tensor) -> Tensor | None:
        """Return the direction of a gradient as backward passes bring it.

        Args:
            i: its parameter's place.
            gradient: whole, or cut by tensor parallelism alone.

        Returns:
            What this process holds of it; None before the optimizer's first step.
        """
        if i in self._gathered:
            return local_part(gradient) / self._gathered[i]
        return self.of_step(i, gradient)

    def of_step(self, i: int, gradient: Tensor) -> Tensor | None:
        """Return the direction of a gradient that is cut as its parameter is.

        Args:
            i: its parameter's place.
            gradient: of the step.

        Returns:
            What this process holds of it; None before the optimizer's first step.
        """
        second = self._second_moment(i)
        return None if second is None else local_part(gradient) / self._root(i, local_part(second))

    def _second_moment(self, i: int) -> Tensor | None:
        """Return it as the optimizer has it; None before the first step.

        Raises:
            InputError: where the optimizer has a state without one, or makes something else of it.
        """
        state = self._optimizer.state.get(self._parameters[i], {})
        if not state:
            return None
        second: Tensor | None = _first(_SECOND_MOMENTS, state)
        if second is None:
            raise InputError(
                "preconditioner 'adam': the optimizer keeps no second moment, only "
                f"{', '.join(state)}"
            )
        more = [name for name in _MORE_THAN_A_MOMENT if name in state]
        if more:
            raise InputError(
                "preconditioner 'adam': the optimizer does not divide by the root of its second "
                f"moment alone; it also keeps {', '.join(more)}"
            )
        return second

    def _root(self, i: int, second: Tensor) -> Tensor:
        """Return sqrt(v / (1 - beta2^t)) + epsilon of plain values of v."""
        parameter = self._parameters[i]
        group, steps = self._groups[parameter], _first(_STEPS, self._optimizer.state[parameter])
        beta2 = group["betas"][1] if "betas" in group else group.get("beta2")
        if beta2 is not None and steps is not None:
            steps = local_part(steps) if isinstance(steps, Tensor) else steps
            second = second / (1 - beta2**steps)
        return second.sqrt() + float(group.get("eps", group.get("epsilon", 0.0)))


def _name_of(optimizer: Optimizer) -> str:
    """Return the name of our rule, without wrappers that leave its direction; "" for others."""
    if not isinstance(optimizer, RuleOptimizer):
        return ""
    wrappers, _, name = optimizer.rule.name.rpartition(":")
    # Its moments are those of another gradient.
    return "saddle_free" if "saddle_free" in wrappers.split(":") else name


def _over_data(tensor: Tensor) -> Tensor:
    """Return a cut tensor whole, but for the share of a head that tensor parallelism leaves."""
    assert isinstance(tensor, DTensor)
    names = tensor.device_mesh.mesh_dim_names or ()
    if _TENSOR_PARALLEL not in names:
        return tensor.full_tensor()
    at = names.index(_TENSOR_PARALLEL)
    placement = tensor.placements[at]
    if not isinstance(placement, Shard):
        return tensor.full_tensor()
    parts = tensor.full_tensor().chunk(tensor.device_mesh.size(at), dim=placement.dim)
    return parts[tensor.device_mesh.get_local_rank(at)]


@dataclass(frozen=True, kw_only=True)
class LarsNumbers:
    """What LARS's ratios depend on besides norms, a number a tensor.

    Attributes:
        eta_P: trust coefficients; NaN where a tensor is not adapted.
        decay_P: weight decays.
        epsilon_P: in the ratio's denominator.
    """

    eta_P: Tensor
    decay_P: Tensor
    epsilon_P: Tensor

    def trust_ratios(self, norm_w_P: Tensor, norm_g_P: Tensor) -> Tensor:
        """Return LARS's ratio of each tensor; 1 where it is not adapted, or a norm is zero.

        Args:
            norm_w_P: of the weights.
            norm_g_P: of the gradients.
        """
        both = (norm_w_P > 0) & (norm_g_P > 0) & ~torch.isnan(self.eta_P)
        bottom = norm_g_P + self.decay_P * norm_w_P + self.epsilon_P
        bottom = torch.where(both, bottom, torch.ones_like(norm_g_P))
        return torch.where(both, self.eta_P * norm_w_P / bottom, torch.ones_like(bottom))


def lars_numbers(optimizer: Optimizer, parameters: Sequence[Tensor]) -> LarsNumbers:
    """Return each tensor's trust coefficient, weight decay and epsilon.

    Args:
        optimizer: whose groups have `trust_coefficient`.
        parameters: of the optimizer.

    Returns:
        The numbers.

    Raises:
        InputError: where the groups have no trust coefficient.
    """
    groups, device = group_of(optimizer), parameters[0].device
    if any("trust_coefficient" not in groups[p] for p in parameters):
        raise InputError("preconditioner 'lars': the optimizer's groups have no trust_coefficient")
    traits_of = optimizer.traits_of if isinstance(optimizer, RuleOptimizer) else tensor_traits
    traits = [traits_of(p) for p in parameters]
    rows = [
        (
            groups[p]["trust_coefficient"] if each.adapted else math.nan,
            groups[p].get("weight_decay", 0.0) if each.decayed else 0.0,
            groups[p].get("epsilon", 0.0),
        )
        for p, each in zip(parameters, traits, strict=True)
    ]
    eta_P, decay_P, epsilon_P = torch.tensor(rows, device=device).T
    return LarsNumbers(eta_P=eta_P, decay_P=decay_P, epsilon_P=epsilon_P)

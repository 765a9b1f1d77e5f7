"""What an optimizer makes of a gradient before it steps: for the noise of that gradient.

The noise scale of P g, with P as the optimizer's state has it before the step: fixed while the
step's gradients are drawn, so that the estimates stay unbiased. Momentum is left out: it averages
over steps and changes no noise scale of a single one.

- adam: P = 1 / (sqrt(v / (1 - beta2^t)) + epsilon), element by element (Kingma & Ba 2015,
  arXiv:1412.6980, Algorithm 1); also RMSprop's, without the correction.
- lars: P = the trust ratio eta |w| / (|g| + wd |w|), one number a tensor (You et al. 2017,
  arXiv:1708.03888); |g| of the step before.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Shard
from torch.optim import Optimizer

from fullscale.gradient_noise.norms import local_part
from models_of_scaling.errors import InputError

PRECONDITIONERS = ("none", "adam", "lars")
# The names of the second moment, of the count of steps and of epsilon: torch's, and our rules'.
_SECOND_MOMENTS = ("exp_avg_sq", "second_moment", "square_avg")
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
        """
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
            InputError: where the optimizer has a state without one.
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


def trust_ratios(norm_w_P: Tensor, norm_g_P: Tensor, *, eta_P: Tensor, decay_P: Tensor) -> Tensor:
    """Return LARS's ratio of each tensor; 1 where eta is NaN (not adapted) or a norm is zero.

    Args:
        norm_w_P: of the weights.
        norm_g_P: of the gradients.
        eta_P: trust coefficients.
        decay_P: weight decays.
    """
    both = (norm_w_P > 0) & (norm_g_P > 0) & ~torch.isnan(eta_P)
    bottom = torch.where(both, norm_g_P + decay_P * norm_w_P, torch.ones_like(norm_g_P))
    return torch.where(both, eta_P * norm_w_P / bottom, torch.ones_like(bottom))


def lars_numbers(optimizer: Optimizer, parameters: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return each tensor's trust coefficient, NaN where it is not adapted, and weight decay.

    Args:
        optimizer: whose groups have `trust_coefficient`; tensors of one axis (biases, scales of
            norm layers) have no ratio.
        parameters: of the optimizer.

    Returns:
        Two vectors.

    Raises:
        InputError: where the groups have no trust coefficient.
    """
    groups, device = group_of(optimizer), parameters[0].device
    if any("trust_coefficient" not in groups[p] for p in parameters):
        raise InputError("preconditioner 'lars': the optimizer's groups have no trust_coefficient")
    eta = [groups[p]["trust_coefficient"] if p.ndim > 1 else float("nan") for p in parameters]
    decay = [groups[p].get("weight_decay", 0.0) if p.ndim > 1 else 0.0 for p in parameters]
    return torch.tensor(eta, device=device), torch.tensor(decay, device=device)

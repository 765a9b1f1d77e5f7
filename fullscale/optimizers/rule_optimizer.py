"""A torch.optim.Optimizer around an update rule, for any trainer and also for FSDP2's shards."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate
from torch.nn import Parameter

from fullscale.optimizers.parameter_groups import tensor_traits
from fullscale.optimizers.update_rule import InPlace, Numbers, State, TensorTraits, UpdateRule

_FUSED_TYPES = (torch.float32, torch.float64)


def working_copy(tensor: Tensor, *, whole: bool = False) -> Tensor:
    """Return a tensor as a rule computes with it: at least single precision.

    Half-precision weights are updated in single precision, by a state in single precision, and
    rounded once; a moment or a count of steps in bfloat16 would stand still after a few steps.

    Args:
        tensor: parameter or gradient, maybe cut over devices.
        whole: gather it; then all ranks must call.
    """
    if whole and isinstance(tensor, DTensor):
        tensor = tensor.full_tensor()
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def initial_state(rule: UpdateRule, parameter: Tensor) -> State:
    """Return the state that a trainer keeps for a parameter before its first step.

    Args:
        rule: the method.
        parameter: of any floating type, on any device.
    """
    start = working_copy(parameter.detach(), whole=rule.needs_whole_tensor)
    return {name: _settled(value).clone() for name, value in rule.init_state(start).items()}


def _settled(tensor: Tensor) -> Tensor:
    """Return a state tensor as it is kept: single numbers (counts, norms) whole on every rank.

    A norm comes as parts of a sum; torch's checkpoints hand back single numbers as plain tensors.
    """
    return tensor.full_tensor() if isinstance(tensor, DTensor) and tensor.ndim == 0 else tensor


def _write(parameter: Tensor, value: Tensor) -> None:
    """Write a new value into a parameter, whole or cut; without communication."""
    if isinstance(parameter, DTensor) and not isinstance(value, DTensor):
        mesh = parameter.device_mesh
        everywhere = DTensor.from_local(value, mesh, [Replicate()] * mesh.ndim, run_check=False)
        value = everywhere.redistribute(mesh, parameter.placements)
    parameter.copy_(value)


def _is_dense(parameter: Tensor) -> bool:
    """Return whether a fused kernel may go over a tensor as if it were flat."""
    if isinstance(parameter, DTensor) or parameter.dtype not in _FUSED_TYPES:
        return False
    return parameter.is_contiguous() or (
        parameter.ndim == 4 and parameter.is_contiguous(memory_format=torch.channels_last)
    )


def _are_alike(parameter: Tensor, first: Tensor, gradient: Tensor, state: State) -> bool:
    """Return whether all belong to one device and type, and lie in memory in the same order."""
    others = [gradient, *(value for value in state.values() if value.shape == parameter.shape)]
    return (
        parameter.device == first.device
        and parameter.dtype == first.dtype
        and all(
            value.stride() == parameter.stride() and value.dtype == parameter.dtype
            for value in others
        )
    )


class RuleOptimizer(torch.optim.Optimizer):
    """Apply an update rule to every parameter tensor.

    A group's `lr` is the learning rate (torch's schedulers write it); the rule's other numbers
    stand in the group under their own names.
    """

    def __init__(
        self,
        params: Iterable[Parameter],
        *,
        rule: UpdateRule,
        learning_rate: float,
        traits: Sequence[TensorTraits] | None = None,
        **numbers: float,
    ) -> None:
        """Collect the parameters into one group.

        Args:
            params: of the network.
            rule: the method.
            learning_rate: before any schedule.
            traits: of each parameter; by its shape when not given.
            **numbers: the rule's other numbers; its defaults where missing.
        """
        complete = rule.numbers(learning_rate=learning_rate, **numbers)
        complete["lr"] = complete.pop("learning_rate")
        self._rule = rule
        everyone = list(params)
        chosen = [tensor_traits(p) for p in everyone] if traits is None else traits
        self._traits = dict(zip(everyone, chosen, strict=True))
        self._trained: dict[Parameter, Tensor] = {}
        super().__init__(everyone, complete)

    @property
    def keeps_state(self) -> bool:
        """Whether there is anything besides the weights to save."""
        parameters = (p for group in self.param_groups for p in group["params"])
        return any(self._rule.init_state(p.detach()) for p in parameters)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one optimizer step.

        Args:
            closure: evaluates the loss and its gradients; Lightning passes one.

        Returns:
            What the closure returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            numbers = {name: group[name] for name in self._rule.defaults}
            numbers["learning_rate"] = group["lr"]
            moved = [p for p in group["params"] if p.grad is not None]
            if not self._step_fused(moved, numbers):
                for parameter in moved:
                    self._step_tensor(parameter, numbers)
        return loss

    def _step_fused(self, parameters: list[Parameter], numbers: Numbers) -> bool:
        """Take the step in place where the rule, the numbers and all tensors allow it."""
        fused = self._rule.fused
        if fused is None or not parameters or not all(map(_is_dense, parameters)):
            return False
        if not all(isinstance(number, float) for number in numbers.values()):
            return False
        if numbers.get("momentum", 1.0) == 0:  # torch's fused SGD then leaves the velocity alone
            return False
        tensors = []
        for parameter in parameters:
            assert parameter.grad is not None
            if not self.state[parameter]:
                self.state[parameter] = initial_state(self._rule, parameter)
            state, traits = self.state[parameter], self._traits[parameter]
            if not _are_alike(parameter, parameters[0], parameter.grad, state):
                return False
            tensors.append(
                InPlace(parameter=parameter, gradient=parameter.grad, state=state, traits=traits)
            )
        fused(tensors, numbers)
        return True

    def _step_tensor(self, parameter: Parameter, numbers: Numbers) -> None:
        assert parameter.grad is not None
        if not self.state[parameter]:
            self.state[parameter] = initial_state(self._rule, parameter)
        whole = self._rule.needs_whole_tensor
        new, state = self._rule.update(
            working_copy(parameter, whole=whole),
            working_copy(parameter.grad, whole=whole),
            self.state[parameter],
            numbers,
            self._traits[parameter],
        )
        self.state[parameter] = {name: _settled(value) for name, value in state.items()}
        _write(parameter, new)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state in the types it was saved in.

        torch's own version would round the single-precision state of half-precision weights.

        Args:
            state_dict: as `state_dict` returned it.
        """
        super().load_state_dict(state_dict)
        saved = [index for group in state_dict["param_groups"] for index in group["params"]]
        ours = [parameter for group in self.param_groups for parameter in group["params"]]
        for index, parameter in zip(saved, ours, strict=True):
            for name, value in state_dict["state"].get(index, {}).items():
                self.state[parameter][name] = value.to(parameter.device).clone()

    @torch.inference_mode(mode=False)
    @torch.no_grad()
    def show_evaluation_parameters(self) -> None:
        """Put the weights to evaluate with into the network, where the rule has other ones."""
        if self._rule.evaluation_parameter is None or self._trained:
            return
        for key, state in self.state.items():
            parameter = cast("Parameter", key)
            whole = working_copy(parameter, whole=self._rule.needs_whole_tensor)
            self._trained[parameter] = parameter.detach().clone()
            _write(parameter, self._rule.evaluation_parameter(whole, state))

    @torch.inference_mode(mode=False)
    @torch.no_grad()
    def show_trained_parameters(self) -> None:
        """Put the weights that are trained back into the network, bit for bit."""
        for parameter, value in self._trained.items():
            parameter.copy_(value)
        self._trained = {}

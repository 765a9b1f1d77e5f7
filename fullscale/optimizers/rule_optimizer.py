"""A torch.optim.Optimizer around an update rule, for any trainer and also for FSDP2's shards."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import Parameter

from fullscale.optimizers.fused_step import are_alike, is_dense
from fullscale.optimizers.gradient_rule import Step
from fullscale.optimizers.layers import Layer
from fullscale.optimizers.network_batch import NetworkBatch
from fullscale.optimizers.parameter_groups import tensor_traits
from fullscale.optimizers.update_rule import (
    InPlace,
    Numbers,
    State,
    TensorTraits,
    UpdateRule,
    check_number,
)
from fullscale.optimizers.whole_tensors import settled, working_copy, write_tensor


def initial_state(rule: UpdateRule, parameter: Tensor) -> State:
    """Return the state that a trainer keeps for a parameter before its first step.

    Args:
        rule: the method.
        parameter: of any floating type, on any device.
    """
    start = working_copy(parameter.detach(), whole=rule.needs_whole_tensor)
    return {name: settled(value).clone() for name, value in rule.init_state(start).items()}


def initial_states(
    rule: UpdateRule, parameters: Mapping[str, Tensor], layers: Mapping[str, Layer]
) -> dict[str, State]:
    """Return the states of all parameters before the first step, the gradient rule's included.

    Args:
        rule: the method.
        parameters: by name.
        layers: with Kronecker factors, by the name of their weight; none for most rules.
    """
    states = {name: initial_state(rule, parameter) for name, parameter in parameters.items()}
    if rule.gradient_rule is not None:
        copies = {
            name: working_copy(parameter.detach(), whole=rule.needs_whole_tensor)
            for name, parameter in parameters.items()
        }
        for name, own in rule.gradient_rule.init_states(copies, layers).items():
            states[name] |= own
    return states


class RuleOptimizer(torch.optim.Optimizer):
    """Apply an update rule to every parameter tensor.

    A group's `lr` is the learning rate (torch's schedulers write it); the rule's other numbers
    stand in the group under their own names.
    """

    def __init__(
        self,
        params: Iterable[Parameter] | Iterable[tuple[str, Parameter]],
        *,
        rule: UpdateRule,
        learning_rate: float,
        traits: Sequence[TensorTraits] | None = None,
        batch: NetworkBatch | None = None,
        **numbers: float,
    ) -> None:
        """Collect the parameters into one group.

        Args:
            params: of the network; with their names where the rule needs a batch.
            rule: the method.
            learning_rate: before any schedule.
            traits: of each parameter; by its shape when not given.
            batch: what a rule that makes its own gradient asks.
            **numbers: the rule's other numbers; its defaults where missing.

        Raises:
            ValueError: where a batch is needed and missing, or a number is one that no rule takes.
        """
        complete = rule.numbers(learning_rate=learning_rate, **numbers)
        for name, number in {**numbers, "learning_rate": learning_rate}.items():
            check_number(name, number)
        complete["lr"] = complete.pop("learning_rate")
        if rule.gradient_rule is not None and batch is None:
            raise ValueError(f"{rule.name} makes its own gradient and needs a batch")
        self._rule, self._batch = rule, batch
        named = [each if isinstance(each, tuple) else ("", each) for each in params]
        everyone = [parameter for _, parameter in named]
        self._names = {parameter: name for name, parameter in named}
        chosen = [tensor_traits(p) for p in everyone] if traits is None else traits
        self._traits = dict(zip(everyone, chosen, strict=True))
        self._trained: dict[Parameter, Tensor] = {}
        self._steps = 0
        self._new: set[Parameter] = set()
        super().__init__(everyone, complete)
        self._expect()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take more parameters, such as Lightning's fine-tuning callbacks thaw; traits by shape.

        Args:
            param_group: as torch has it.
        """
        super().add_param_group(param_group)
        for parameter in self._all():
            self._traits.setdefault(parameter, tensor_traits(parameter))

    @property
    def rule(self) -> UpdateRule:
        """The method."""
        return self._rule

    def traits_of(self, parameter: Tensor) -> TensorTraits:
        """Return what applies to one of its parameters.

        Args:
            parameter: of the optimizer.
        """
        return self._traits[cast("Parameter", parameter)]

    @property
    def keeps_state(self) -> bool:
        """Whether there is anything besides the weights to save."""
        return any(self._initial_states(self._all()).values())

    def _all(self) -> list[Parameter]:
        return [p for group in self.param_groups for p in group["params"]]

    def _initial_states(self, parameters: Sequence[Parameter]) -> dict[Parameter, State]:
        if self._rule.gradient_rule is None:
            return {p: initial_state(self._rule, p) for p in parameters}
        assert self._batch is not None
        named = {self._names[p]: p for p in parameters}
        states = initial_states(self._rule, named, self._batch.layers)
        return {p: states[name] for name, p in named.items()}

    def _phase_at(self, steps: int) -> str | None:
        if self._rule.phase is None:
            return None
        group = self.param_groups[0]
        return self._rule.phase(steps, {name: group[name] for name in self._rule.defaults})

    def _expect(self) -> None:
        """Tell the batch which step comes next."""
        if self._batch is not None:
            self._batch.expect(self._steps, self._phase_at(self._steps))

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
            gradients = {p: p.grad for p in group["params"] if p.grad is not None and p.numel() > 0}
            self._begin_states(gradients)
            if self._rule.gradient_rule is not None:
                gradients = self._make_gradients(gradients, numbers)
            if not self._step_fused(gradients, numbers):
                for parameter, gradient in gradients.items():
                    self._step_tensor(parameter, gradient, numbers)
        self._steps += 1
        self._expect()
        return loss

    def _begin_states(self, gradients: Mapping[Parameter, Tensor]) -> None:
        """Give a state to those that have none yet."""
        self._new = {parameter for parameter in gradients if not self.state[parameter]}
        if self._new:
            begun = self._initial_states([p for p in gradients if p in self._new])
            for parameter, state in begun.items():
                self.state[parameter] = state

    def _make_gradients(
        self, gradients: dict[Parameter, Tensor], numbers: dict[str, Any]
    ) -> dict[Parameter, Tensor]:
        """Ask the gradient rule; its states are kept, its factor of the rate goes into numbers."""
        rule, batch = self._rule.gradient_rule, self._batch
        assert rule is not None
        assert batch is not None
        if batch.forwards == 0 and numbers["learning_rate"] == 0:
            return gradients  # torch's step without examples, before it loads a state
        whole, phase = self._rule.needs_whole_tensor, self._phase_at(self._steps)
        made = rule.make(
            Step(
                parameters={self._names[p]: working_copy(p, whole=whole) for p in gradients},
                gradients={
                    self._names[p]: working_copy(g, whole=whole) for p, g in gradients.items()
                },
                states={self._names[p]: self.state[p] for p in gradients},
                numbers=numbers,
                traits={self._names[p]: replace(self._traits[p], phase=phase) for p in gradients},
                batch=batch,
            )
        )
        numbers["learning_rate"] = numbers["learning_rate"] * made.rate_factor
        found = {}
        for parameter in gradients:
            name = self._names[parameter]
            self.state[parameter].update(made.states.get(name, {}))
            if name in made.gradients:
                found[parameter] = made.gradients[name]
        return found

    def _step_fused(self, gradients: Mapping[Parameter, Tensor], numbers: Numbers) -> bool:
        """Take the step in place where the rule, the numbers and all tensors allow it."""
        fused = self._rule.fused
        if fused is None or not gradients or not all(map(is_dense, gradients)):
            return False
        if not all(isinstance(number, float) for number in numbers.values()):
            return False
        if numbers.get("momentum", 1.0) == 0:  # torch's fused SGD then leaves the velocity alone
            return False
        tensors, first = [], next(iter(gradients))
        for parameter, gradient in gradients.items():
            state, traits = self.state[parameter], self._traits[parameter]
            if not are_alike(parameter, first, gradient, state):
                return False
            tensors.append(
                InPlace(parameter=parameter, gradient=gradient, state=state, traits=traits)
            )
        fused(tensors, numbers)
        return True

    def _step_tensor(self, parameter: Parameter, gradient: Tensor, numbers: Numbers) -> None:
        whole, traits = self._rule.needs_whole_tensor, self._traits[parameter]
        before = self.state[parameter]
        if self._rule.phase is not None:
            # A tensor whose first gradient comes late begins with what is due at a first step.
            steps = 0 if parameter in self._new else self._steps
            traits = replace(traits, phase=self._phase_at(steps))
        new, state = self._rule.update(
            working_copy(parameter, whole=whole),
            working_copy(gradient, whole=whole),
            before,
            numbers,
            traits,
        )
        self.state[parameter] = before | {name: settled(value) for name, value in state.items()}
        write_tensor(parameter, new)

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
        if self._rule.phase is not None:
            self._steps = max(
                (int(self.state[p]["steps"]) for p in ours if self.state[p]), default=0
            )
        self._expect()

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
            write_tensor(parameter, self._rule.evaluation_parameter(whole, state))

    @torch.inference_mode(mode=False)
    @torch.no_grad()
    def show_trained_parameters(self) -> None:
        """Put the weights that are trained back into the network, bit for bit."""
        for parameter, value in self._trained.items():
            parameter.copy_(value)
        self._trained = {}

"""A step's examples as a trainer has them: a network, its processes, and forwards to run again.

What `gradient_rule.StepBatch` asks, answered by hooks on the layers during the step's own forwards
(Kronecker factors) and by running those forwards again (gradients elsewhere). Answers are the same
on every process and for every cut of the batch; sums over processes are taken here.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, distributed, nn
from torch.distributed.tensor import DTensor
from torch.nn import functional

from fullscale.gradient_clipping import clip_by_global_norm
from fullscale.optimizers.gradient_rule import GradientRule, Tensors
from fullscale.optimizers.layers import (
    Factors,
    Layer,
    LayerWatch,
    drawn_labels,
    score_gradients,
    trained_layers,
    uniform_draws,
)
from fullscale.optimizers.whole_tensors import norm_of_all, working_copy, write_tensor
from models_of_scaling.errors import InputError


class NetworkBatch:
    """The examples of the optimizer step at hand; a trainer tells it of each forward.

    Attributes:
        layers: with Kronecker factors.
        forwards: noted in this step.
        clip: threshold for the norm of gradients elsewhere, as the trainer clips its own; None
            without.
    """

    def __init__(
        self,
        network: nn.Module,
        rule: GradientRule,
        *,
        layers: Mapping[str, Layer],
        losses: Callable[[], Iterable[Tensor]],
        parts: Callable[[], Iterable[Callable[[], Tensor]]] = list,
        is_shared: bool = True,
    ) -> None:
        """Know a network.

        Args:
            network: as it trains, maybe cut over devices; not compiled.
            rule: what it will ask.
            layers: of the network before it was cut.
            losses: runs the step's forwards of this process again, at the weights that the network
                then has, and yields each one's loss, scaled as in the step: the gradients' sum,
                averaged over processes, is the step's. For "gradients elsewhere" and "hessian
                products".
            parts: yields, for each part of this process's share, what runs its forward and
                backward, leaves the sum of its examples' gradients in the network and returns
                their number. As many on every process. For "parts".
            is_shared: the step's examples are spread over all processes of the process group.
        """
        self._network, self._rule = network, rule
        self._losses, self._parts = losses, parts
        self._processes = _num_processes() if is_shared else 1
        self.clip: float | None = None
        self.layers = trained_layers(layers, network) if "factors" in rule.needs else {}
        self._steps, self._is_due = 0, True
        self._watch = LayerWatch()
        self._sums: dict[str, Factors] = {}
        self._count = torch.zeros(())
        self.forwards = 0

    def expect(self, steps: int, phase: str | None) -> None:
        """Begin a step.

        Args:
            steps: done before.
            phase: of the rule.
        """
        self._steps, self._is_due = steps, self._rule.is_due(phase)
        self._sums, self.forwards = {}, 0

    @contextmanager
    def forward(self) -> Generator[None]:
        """Watch one forward of the step, where that is needed.

        Yields:
            Nothing.
        """
        if not (self.layers and self._is_due):
            yield
            return
        with self._watch.watching(self._network, self.layers):
            yield

    def note(self, scores: Tensor, labels: Tensor, weights: Tensor, *, first_place: int) -> None:
        """Take what is needed from a forward, before its backward.

        Args:
            scores: shape (B, classes), with their graph.
            labels: shape (B,), or (B, classes) where they are mixed.
            weights: of the examples, shape (B,); 0 for fillers.
            first_place: place in the step, over all processes, of the first example.
        """
        self.forwards += 1
        if not (self.layers and self._is_due):
            return
        with torch.autocast(scores.device.type, enabled=False):
            self._note(scores, labels, weights, first_place)
        self._watch = LayerWatch()

    def _note(self, scores: Tensor, labels: Tensor, weights: Tensor, first_place: int) -> None:
        wide = scores.detach().to(torch.promote_types(scores.dtype, torch.float32))
        if self._rule.sampled_labels:
            places = torch.arange(first_place, first_place + len(scores), device=scores.device)
            wanted = drawn_labels(wide, uniform_draws(places, self._steps))
        elif labels.ndim == 1:
            wanted = functional.one_hot(labels, scores.shape[1]).to(wide.dtype)
        else:
            wanted = labels.to(wide.dtype)
        # Fillers' gradients are 0 in the sum, and would be in statistics of their neighbours.
        slopes = (score_gradients(wide, wanted) * weights[:, None]).to(scores.dtype)
        names, outputs = list(self.layers), [self._watch.outputs[name] for name in self.layers]
        gradients = torch.autograd.grad(scores, outputs, slopes, retain_graph=True)
        with torch.no_grad():
            self._add(dict(zip(names, gradients, strict=True)), weights)

    def _add(self, gradients: Mapping[str, Tensor], weights: Tensor) -> None:
        for name, gradient in gradients.items():
            new = self.layers[name].factor_sums(self._watch.inputs[name], gradient, weights)
            old = self._sums.get(name)
            self._sums[name] = (
                new
                if old is None
                else Factors(inputs=old.inputs + new.inputs, outputs=old.outputs + new.outputs)
            )
        count = weights.sum().to(torch.float64)
        self._count = count if self.forwards == 1 else self._count + count

    def factors(self, steps: Tensor | None) -> Mapping[str, Factors]:
        """Return A and G over the step's examples, of all processes; once in a step.

        Args:
            steps: not needed here.

        Raises:
            RuntimeError: where no forward was noted in this step.
        """
        if not self._sums:
            raise RuntimeError("a step without a forward: NetworkBatch.note was not called")
        count, all_sums, self._sums = self._summed(self._count), self._sums, {}
        return {
            name: Factors(
                inputs=self._summed(sums.inputs) / count.to(sums.inputs.dtype),
                outputs=self._summed(sums.outputs) / count.to(sums.outputs.dtype),
            )
            for name, sums in all_sums.items()
        }

    def gradients_at(self, parameters: Tensors) -> Tensors:
        """Return the gradients of the step's loss at other weights, over all processes, clipped.

        Args:
            parameters: by name; written into the network and taken out again.
        """
        named = {name: p for name, p in self._network.named_parameters() if name in parameters}
        before = {name: (p.detach().clone(), p.grad) for name, p in named.items()}
        for name, parameter in named.items():
            write_tensor(parameter, parameters[name])
            parameter.grad = None
        with torch.enable_grad():
            for loss in self._losses():
                loss.backward()  # type: ignore[no-untyped-call]
        found = {}
        for name, parameter in named.items():
            if parameter.grad is not None:
                found[name] = self._averaged(parameter.grad)
            parameter.copy_(before[name][0])
            parameter.grad = before[name][1]
        if self.clip is not None and found:
            clip_by_global_norm(list(found.values()), threshold=self.clip)
        return found

    def _summed(self, tensor: Tensor) -> Tensor:
        if self._processes > 1:
            distributed.all_reduce(tensor)
        return tensor

    def _averaged(self, gradient: Tensor) -> Tensor:
        """Average over processes, unless FSDP2 has done so in the backward."""
        if isinstance(gradient, DTensor) or self._processes == 1:
            return gradient
        return self._summed(gradient) / self._processes

    def hessian_product(self, direction: Tensors) -> Tensors:
        """Return the product of the Hessian of the step's loss with a vector, over all processes.

        Args:
            direction: by name, a tensor for each parameter that has a gradient.

        Raises:
            InputError: where the network is cut over devices: FSDP2's weights have one backward.
        """
        if self._is_cut:
            raise InputError(
                "--trainer.strategy: products with the Hessian need whole weights on each device; "
                "take ddp, or another optimizer"
            )
        named = {n: p for n, p in self._network.named_parameters() if n in direction}
        vectors = [direction[name].to(p.dtype) for name, p in named.items()]
        total = [torch.zeros_like(p) for p in named.values()]
        for loss in self._with_graph():
            first = torch.autograd.grad(loss, list(named.values()), create_graph=True)
            second = torch.autograd.grad(first, list(named.values()), vectors)
            total = [old + new for old, new in zip(total, second, strict=True)]
        return {
            name: working_copy(self._averaged(each))
            for name, each in zip(named, total, strict=True)
        }

    def _with_graph(self) -> Iterator[Tensor]:
        with torch.enable_grad():
            yield from self._losses()

    def part_square_norms(self) -> tuple[Tensor, int]:
        """Return the mean squared norm of the mean gradients of parts of the batch.

        Under DDP the parts are each process's own; on FSDP2's shards, whose backward averages over
        processes, they are spread over all of them.

        Returns:
            The mean, each part weighted by its examples; the number of parts.
        """
        kept = [(parameter, parameter.grad) for parameter in self._network.parameters()]
        found = []
        for run_part in self._parts():
            for parameter, _ in kept:
                parameter.grad = None
            with torch.enable_grad():
                count = run_part()
            found.append(self._squared(count))
        for parameter, gradient in kept:
            parameter.grad = gradient
        squares, counts, parts = torch.stack(found).T
        if not self._is_cut:
            squares, counts, parts = (self._summed(each.sum()) for each in (squares, counts, parts))
        return squares.sum() / counts.sum(), int(parts.sum())

    @property
    def _is_cut(self) -> bool:
        return any(isinstance(parameter, DTensor) for parameter in self._network.parameters())

    def _squared(self, count: Tensor) -> Tensor:
        """Return |sum of a part's gradients|^2 / its examples, its examples, and 1; 0 if empty."""
        gradients = {
            str(place): p.grad
            for place, p in enumerate(self._network.parameters())
            if p.grad is not None
        }
        size = count.to(torch.float64).clone()
        square = norm_of_all(gradients).to(torch.float64).square()
        if self._is_cut:
            size = self._summed(size)
            square = square * self._processes**2
        return torch.stack([square / size.clamp(min=1), size, (size > 0).to(torch.float64)])


def _num_processes() -> int:
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size()
    return 1

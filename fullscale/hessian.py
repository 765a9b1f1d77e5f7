"""Products of the Hessian of a loss with vectors, on the live module and over all processes.

curvlinops' own Hessian takes a module apart into a function (torch.func), under which batch norm in
training mode and autograd functions such as our shared batch norm don't run. This operator is
curvlinops' interface over a plain double backward (Pearlmutter 1994) on the module as it trains, so
that its estimators serve every LightningModule; tests hold it to curvlinops' operator and to
the full matrix.
"""

from collections.abc import Callable, Sequence

import torch
from curvlinops._torch_base import PyTorchLinearOperator  # noqa: PLC2701 - its only name in 3.0
from torch import Tensor, nn

from models_of_scaling.errors import InputError


class NotFiniteError(InputError):
    """The weights have no Hessian: a product with it overflowed, as in a run that diverged."""


# A part of the loss: called, it returns the mean loss of its examples; its share of all examples.
Part = tuple[Callable[[], Tensor], float]


# curvlinops ships no types.
class HessianOfLoss(PyTorchLinearOperator):  # type: ignore[misc]
    """The Hessian of sum_i share_i loss_i, over the parts of all processes.

    Attributes:
        num_products: Hessian-vector products so far, each about as dear as two gradients.
    """

    SELF_ADJOINT = True

    def __init__(
        self, parameters: Sequence[nn.Parameter], parts: Sequence[Part], *, over_processes: bool
    ) -> None:
        """Name the loss.

        Args:
            parameters: whole on every process.
            parts: of this process; the shares of all processes sum to 1.
            over_processes: there are several; all must multiply together.
        """
        shapes = [tuple(each.shape) for each in parameters]
        super().__init__(shapes, shapes)
        self._parameters = list(parameters)
        self._parts = parts
        self._over_processes = over_processes
        self.num_products = 0

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self._parameters[0].device

    @property
    def dtype(self) -> torch.dtype:
        """Of the parameters."""
        return self._parameters[0].dtype

    def _matmat(self, X: list[Tensor]) -> list[Tensor]:  # noqa: N803 - the interface's name
        """Multiply a matrix.

        Args:
            X: one tensor of shape (*shape, K) a parameter.

        Returns:
            The products, likewise.

        Raises:
            NotFiniteError: where the product is not finite; on all processes alike.
        """
        columns = X[0].shape[-1]
        self.num_products += columns
        total = [torch.zeros_like(each) for each in X]
        with torch.enable_grad():
            for loss, share in self._parts:
                gradients = torch.autograd.grad(
                    loss(), self._parameters, create_graph=True, materialize_grads=True
                )
                # Where the loss is linear, a gradient depends on nothing: its row is 0.
                bent = [place for place, each in enumerate(gradients) if each.requires_grad]
                for column in range(columns if bent else 0):
                    product = torch.autograd.grad(
                        [gradients[place] for place in bent],
                        self._parameters,
                        [X[place][..., column].contiguous() for place in bent],
                        retain_graph=column + 1 < columns,
                        materialize_grads=True,
                    )
                    for sum_, part in zip(total, product, strict=True):
                        sum_[..., column].add_(part, alpha=share)
        self._sum(total)
        if not torch.stack([each.isfinite().all() for each in total]).all():
            raise NotFiniteError("the Hessian is not finite at these weights: the run has diverged")
        return total

    def loss_and_gradient(self) -> tuple[Tensor, list[Tensor]]:
        """Return the loss and its gradient over the parts of all processes."""
        parameters = self._parameters
        value = torch.zeros((), dtype=torch.float64, device=self.device)
        total = [torch.zeros_like(each) for each in parameters]
        with torch.enable_grad():
            for part, share in self._parts:
                loss = part()
                value += share * loss.detach()
                gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
                for sum_, gradient in zip(total, gradients, strict=True):
                    sum_.add_(gradient, alpha=share)
        self._sum([value, *total])
        return value, total

    def _sum(self, tensors: Sequence[Tensor]) -> None:
        if self._over_processes:
            for each in tensors:
                torch.distributed.all_reduce(each)

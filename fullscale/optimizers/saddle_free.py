"""Saddle-free Newton: Newton's step with the absolute values of the curvature, in a Krylov space.

Source: Dauphin, Pascanu, Gulcehre, Cho, Ganguli & Bengio 2014, arXiv:1406.2572, Algorithm 1. Of the
Hessian H of the step's loss at w and its gradient g, Lanczos' iteration from g / |g| gives in k
products k orthonormal vectors V and the tridiagonal T = V^T H V; with T = U diag(t) U^T

    d = V U diag(1 / (|t| + damping)) U^T V^T g;    the rule steps with d in place of g

so directions of negative curvature are left as fast as those of positive curvature are descended.
All vectors are kept orthogonal to all others. The step costs k products with H (each a forward and
two backwards).

Differs from the source: one step is taken in each space, with a given damping, where the source
takes several and searches the damping for each; Lanczos starts from the gradient, so that nothing
of it lies outside the space; weight decay is the rule's own. An iteration that ends early (the
space is exhausted) leaves zero vectors.
"""

from dataclasses import replace

import torch
from torch import Tensor

from fullscale.optimizers.eigen import symmetric_eigen
from fullscale.optimizers.gradient_rule import GradientRule, Made, Step, Tensors
from fullscale.optimizers.update_rule import UpdateRule

# k: the source's space for its deep networks has 500; the first ten hold the extreme curvatures.
KRYLOV_VECTORS = 10


def _flat(tensors: Tensors) -> Tensor:
    return torch.cat([each.flatten() for each in tensors.values()])


def _like(vector: Tensor, tensors: Tensors) -> Tensors:
    pieces = torch.split(vector, [each.numel() for each in tensors.values()])
    return {
        name: piece.reshape(tensors[name].shape)
        for name, piece in zip(tensors, pieces, strict=True)
    }


def _unit(vector: Tensor, smallest: Tensor) -> tuple[Tensor, Tensor]:
    """Return a vector of length 1 and the length; zeros where it is not above the smallest."""
    length = torch.linalg.vector_norm(vector)
    counts = length > smallest
    divisor = torch.where(counts, length, torch.ones_like(length))
    return (
        torch.where(counts, vector / divisor, torch.zeros_like(vector)),
        torch.where(counts, length, torch.zeros_like(length)),
    )


def _make(step: Step) -> Made:
    gradient = _flat(step.gradients)
    start, length = _unit(gradient, gradient.new_zeros(()))
    vectors, products = [start], []
    rounding = 10 * torch.finfo(gradient.dtype).eps
    for _ in range(KRYLOV_VECTORS):
        product = _flat(step.batch.hessian_product(_like(vectors[-1], step.gradients)))
        products.append(product)
        rest, size = product, torch.linalg.vector_norm(product)
        for _twice in range(2):  # once loses digits where much is taken away
            for vector in vectors:
                rest = rest - (vector @ rest) * vector
        vectors.append(_unit(rest, rounding * size)[0])
    basis = torch.stack(vectors[:KRYLOV_VECTORS])
    inner = basis @ torch.stack(products).mT
    values, turn = symmetric_eigen((inner + inner.mT) / 2)
    weights = turn @ (turn[0] * length / (values.abs() + step.numbers["damping"]))
    return Made(gradients=_like(weights @ basis, step.gradients))


def saddle_free(inner: UpdateRule) -> UpdateRule:
    """Return a rule that is given saddle-free Newton's direction as its gradient.

    Args:
        inner: usually SGD or momentum.
    """
    return replace(
        inner,
        name=f"saddle_free:{inner.name}",
        defaults={**inner.defaults, "damping": 0.1},
        gradient_rule=GradientRule(needs=("hessian products",), make=_make),
        needs_whole_tensor=True,
    )

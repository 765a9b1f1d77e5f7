"""The noise scale that curvature weighs: tr(H Sigma) / (G' H G), on demand.

Source: McCandlish et al. 2018, arXiv:1812.06162, eq. 2.8: B_noise, of which B_simple is the case of
a Hessian that is a multiple of the identity. With Q(v) = v' H v in the place of |v|^2 the estimates
of `models_of_scaling.noise_scale.unbiased_moments` hold word for word:
E[Q(g_B)] = G' H G + tr(H Sigma) / B for a fixed H.

Differs from the source: H is the Hessian of examples of its own, not of those whose gradients it is
applied to, as products of both would be biased. Products H v are exact, by a second backward pass
(Pearlmutter 1994); H may be indefinite far from a minimum: then either number can be negative, and
the estimate says that it can't be told from 0.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from models_of_scaling.errors import InputError
from models_of_scaling.noise_scale import NoiseScale, noise_scale_of_blocks, unbiased_moments

Loss = Callable[[object], Tensor]


def hessian_product(
    loss: Tensor, parameters: Sequence[Tensor]
) -> Callable[[Sequence[Tensor]], list[Tensor]]:
    """Return v -> H v for the loss of one batch; its graph is kept as long as the function is.

    Args:
        loss: a scalar.
        parameters: of H; one that the loss does not depend on has zeros in H.
    """
    gradients = torch.autograd.grad(
        loss, parameters, create_graph=True, allow_unused=True, materialize_grads=True
    )

    def product(vectors: Sequence[Tensor]) -> list[Tensor]:
        slope = sum((g * v).sum() for g, v in zip(gradients, vectors, strict=True))
        assert isinstance(slope, Tensor)
        if not slope.requires_grad:
            return [torch.zeros_like(v) for v in vectors]
        return list(
            torch.autograd.grad(
                slope, parameters, retain_graph=True, allow_unused=True, materialize_grads=True
            )
        )

    return product


def _inner(left: Sequence[Tensor], right: Sequence[Tensor]) -> float:
    return float(sum((a.double() * b.double()).sum() for a, b in zip(left, right, strict=True)))


def curvature_noise_scale(
    loss: Loss,
    parameters: Sequence[Tensor],
    groups: Sequence[Sequence[object]],
    *,
    sizes: Sequence[Sequence[int]],
    curvature_batches: Sequence[object],
    level: float = 0.9,
) -> NoiseScale:
    """Return tr(H Sigma) / (G' H G) at the parameters as they stand.

    Costs a backward pass for each microbatch and one product H v for each microbatch and group.
    A copy of one group's mean gradient is kept. Put layers that draw random numbers or couple
    examples into evaluation mode before.

    Args:
        loss: batch -> the mean loss of its examples.
        parameters: of the gradient.
        groups: at least 8, the jackknife's; each of two microbatches or more. A group is a step.
        sizes: examples of each microbatch.
        curvature_batches: examples of the Hessian, other ones than the groups'; used in turn.
        level: of the interval.

    Returns:
        The estimate: `trace` is tr(H Sigma), `sq_norm` G' H G.

    Raises:
        InputError: where a group has a single microbatch, or there is no batch for the Hessian.
    """
    if not curvature_batches:
        raise InputError("curvature_batches is empty: the Hessian needs examples of its own")
    if any(len(group) < 2 for group in groups):
        raise InputError("each group must have at least 2 microbatches")
    found = []
    for place, (group, counts) in enumerate(zip(groups, sizes, strict=True)):
        batch = curvature_batches[place % len(curvature_batches)]
        product = hessian_product(loss(batch), parameters)
        found.append(_group_moments(loss, parameters, group, counts, product))
    moments = np.array(found)
    return noise_scale_of_blocks(
        moments[:, 0],
        moments[:, 1],
        weights_J=np.ones(len(moments)),
        steps=len(moments),
        level=level,
    )


def _group_moments(
    loss: Loss,
    parameters: Sequence[Tensor],
    group: Sequence[object],
    counts: Sequence[int],
    product: Callable[[Sequence[Tensor]], list[Tensor]],
) -> tuple[float, float]:
    total = float(sum(counts))
    mean = [torch.zeros_like(p) for p in parameters]
    small = 0.0
    for batch, count in zip(group, counts, strict=True):
        gradient = torch.autograd.grad(
            loss(batch), parameters, allow_unused=True, materialize_grads=True
        )
        small += count / total * _inner(gradient, product(gradient))
        for into, part in zip(mean, gradient, strict=True):
            into.add_(part, alpha=count / total)
    trace, sq_norm = unbiased_moments(
        small,
        _inner(mean, product(mean)),
        inverse_small=len(counts) / total,
        inverse_big=1 / total,
    )
    return float(trace), float(sq_norm)

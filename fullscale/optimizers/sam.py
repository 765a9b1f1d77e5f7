"""SAM: any rule, given the gradient at the worst point nearby.

Source: Foret, Kleiner, Mobahi & Neyshabur 2020, arXiv:2010.01412, Algorithm 1 with eq. (2), p = 2.
With g the gradient of the step's loss at the weights w of the whole network:

    e = rho g / |g|;    the rule steps from w with the gradient at w + e

so a step costs two gradients of the same examples. Weight decay is the rule's own and stays out of
e and at w, as eq. (1) has it.

Differs from the source: e is that of the whole batch; the paper's experiments take one for each
accelerator's share (its section 4.1), which makes the result depend on the hardware. Where g is 0
so is e. Batch norm's moving averages see the first forward only.
"""

from dataclasses import replace

import torch

from fullscale.optimizers.gradient_rule import GradientRule, Made, Step
from fullscale.optimizers.update_rule import UpdateRule
from fullscale.optimizers.whole_tensors import norm_of_all


def _make(step: Step) -> Made:
    norm = norm_of_all(step.gradients)
    size = torch.where(norm > 0, step.numbers["sam_radius"] / norm, torch.zeros_like(norm))
    near = dict(step.parameters)
    for name, gradient in step.gradients.items():
        near[name] = near[name] + size.to(gradient.dtype) * gradient
    return Made(gradients=step.batch.gradients_at(near))


def sam(inner: UpdateRule) -> UpdateRule:
    """Return a rule that takes its gradients at the worst point nearby.

    Args:
        inner: of the weights.
    """
    return replace(
        inner,
        name=f"sam:{inner.name}",
        # The paper's rho for CIFAR and ImageNet (its section 3.1).
        defaults={**inner.defaults, "sam_radius": 0.05},
        gradient_rule=GradientRule(needs=("gradients elsewhere",), make=_make),
    )

"""What a classifier minimises, example by example: cross entropy and what softens it.

Label smoothing (Szegedy et al. 2015, arXiv:1512.00567, section 7): the target is
q = (1 - e) y + e / C over C classes, with y the label or, under mixup, the two labels' mixture.

Confidence penalty (Pereyra et al. 2017, arXiv:1701.06548, section 3): the entropy of the network's
own distribution p is rewarded,

    loss = - sum_c q_c log p_c - b H(p),    H(p) = - sum_c p_c log p_c

Differs from the source: neither annealed nor only below a threshold (its section 3.1); both are
variants there, and the source's classifiers of images use the plain form.
"""

import math
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax

from models_of_scaling.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ClassifierLoss:
    """The loss of training; evaluations have plain cross entropy.

    Attributes:
        label_smoothing: e, share of the target spread over all classes, in [0, 1).
        confidence_penalty: b, weight of the entropy, at least 0.
    """

    label_smoothing: float = 0.0
    confidence_penalty: float = 0.0

    def __post_init__(self) -> None:
        """Check each field.

        Raises:
            InputError: naming the flag, the value and the rule.
        """
        if not 0 <= self.label_smoothing < 1:
            raise InputError(f"--model.label_smoothing {self.label_smoothing} must be in [0, 1)")
        if not 0 <= self.confidence_penalty < math.inf:
            raise InputError(
                f"--model.confidence_penalty {self.confidence_penalty} must be finite and not "
                "negative"
            )

    def per_example(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each example.

        Args:
            scores: logits, shape (B, classes).
            labels: int64, shape (B,), or shares of the classes, shape (B, classes).

        Returns:
            Shape (B,).
        """
        losses = cross_entropy(
            scores, labels, reduction="none", label_smoothing=self.label_smoothing
        )
        if not self.confidence_penalty:
            return losses
        logs = log_softmax(scores, dim=1)
        return losses + self.confidence_penalty * (logs.exp() * logs).sum(dim=1)

    def numbers(self) -> dict[str, float]:
        """Return what a trial's hyper-parameters say; what is new stands there where it is set."""
        chosen = {"label_smoothing": self.label_smoothing}
        if self.confidence_penalty:
            chosen["confidence_penalty"] = self.confidence_penalty
        return chosen

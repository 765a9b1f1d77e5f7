"""One point of a run's curve; standard library only."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One point of the curve.

    Attributes:
        steps: optimizer steps done.
        train_loss: mean over all examples processed since the evaluation before, as the network
            was when it met them; NaN where there was none.
        validation_loss: mean over the validation set, without label smoothing.
        validation_accuracy: share in [0, 1], exact to the last image.
    """

    steps: int
    train_loss: float
    validation_loss: float
    validation_accuracy: float

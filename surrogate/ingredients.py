"""What a run has besides its update rule, its schedule and their numbers: the same for all runs.

Each is a flag of the full-scale trainer by the same name, and the same code.
"""

import argparse
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from models_of_scaling.errors import InputError

if TYPE_CHECKING:
    from fullscale.loss import ClassifierLoss
    from fullscale.optimizers.parameter_groups import ParameterGroups

_USUAL = "norm,bias"  # `parameter_groups.USUAL`; a test holds it. Naming a sweep needs no torch.


@dataclass(frozen=True, kw_only=True)
class Ingredients:
    """The loss of training and the parameter groups.

    Attributes:
        label_smoothing: see `fullscale.loss`.
        confidence_penalty: see `fullscale.loss`.
        no_decay: see `fullscale.optimizers.parameter_groups`.
        no_trust_ratio: likewise.
    """

    label_smoothing: float = 0.0
    confidence_penalty: float = 0.0
    no_decay: str = _USUAL
    no_trust_ratio: str = _USUAL

    def __post_init__(self) -> None:
        """Check what is not the default.

        Raises:
            InputError: the loss's or the groups' own line, with the flag as a sweep has it.
        """
        try:
            if self.chosen:
                _ = self.loss, self.groups
        except InputError as error:
            line = str(error)
            for each in fields(self):
                line = line.replace(f"--model.{each.name}", f"--{each.name.replace('_', '-')}")
            raise InputError(line) from error

    @property
    def chosen(self) -> dict[str, float | str]:
        """What differs from the defaults, by name: it belongs to the study's identity."""
        values = {each.name: (getattr(self, each.name), each.default) for each in fields(self)}
        return {name: value for name, (value, usual) in values.items() if value != usual}

    @property
    def loss(self) -> "ClassifierLoss":
        """What is minimised."""
        from fullscale.loss import ClassifierLoss

        return ClassifierLoss(
            label_smoothing=self.label_smoothing, confidence_penalty=self.confidence_penalty
        )

    @property
    def groups(self) -> "ParameterGroups":
        """Which tensors get weight decay and a trust ratio."""
        from fullscale.optimizers.parameter_groups import ParameterGroups

        return ParameterGroups(no_decay=self.no_decay, no_trust_ratio=self.no_trust_ratio)


def add_ingredient_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each field of `Ingredients`.

    Args:
        parser: of the sweep's command.
    """
    add = parser.add_argument
    add(
        "--label-smoothing",
        type=float,
        default=0.0,
        metavar="X",
        help="share of the label spread over all classes, in 0 .. 1 (default: 0)",
    )
    add(
        "--confidence-penalty",
        type=float,
        default=0.0,
        metavar="X",
        help="weight of the output's entropy in the loss (default: 0)",
    )
    add(
        "--no-decay",
        default=_USUAL,
        metavar="KINDS",
        help=f"tensors without weight decay (default: {_USUAL})",
    )
    add(
        "--no-trust-ratio",
        default=_USUAL,
        metavar="KINDS",
        help=f"tensors without a trust ratio (default: {_USUAL})",
    )


def pop_ingredients(arguments: dict[str, Any]) -> Ingredients:
    """Take the flags of `add_ingredient_arguments` out of the arguments.

    Args:
        arguments: by name; those flags are removed.

    Returns:
        What they say.
    """
    return Ingredients(**{each.name: arguments.pop(each.name) for each in fields(Ingredients)})

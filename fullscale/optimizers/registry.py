"""The optimizers by name, and who among a network's tensors gets decay and a trust ratio."""

from torch import Tensor

from fullscale.optimizers.lars import LARS
from fullscale.optimizers.momentum import MOMENTUM
from fullscale.optimizers.update_rule import TensorTraits, UpdateRule
from models_of_scaling.errors import InputError

UPDATE_RULES: dict[str, UpdateRule] = {rule.name: rule for rule in (MOMENTUM, LARS)}


def get_update_rule(name: str) -> UpdateRule:
    """Return the update rule of this name.

    Raises:
        InputError: where there is none; the known names are listed.
    """
    if name not in UPDATE_RULES:
        raise InputError(f"optimizer {name!r} is not one of {', '.join(UPDATE_RULES)}")
    return UPDATE_RULES[name]


def tensor_traits(parameter: Tensor) -> TensorTraits:
    """Return what applies to a parameter tensor, by its shape.

    Biases and normalisation scales (one dimension) get neither weight decay nor a trust ratio:
    Goyal et al. 2017, section 5.1, and MLPerf's LARS. The shape is that of one network, not of a
    stacked population.
    """
    weight = parameter.ndim > 1
    return TensorTraits(decayed=weight, adapted=weight)

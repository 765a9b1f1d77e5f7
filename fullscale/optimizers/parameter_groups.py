"""Who among a network's tensors gets weight decay, and who a trust ratio: in words.

A word names tensors by the layer that they belong to:

    norm     scales and offsets of normalisation layers
    bias     biases of all other layers
    head     the last linear layer, weight and bias
    layer4.* any name with a dot or a star: a shell pattern for the tensor's own name

The usual choice is `norm,bias` for both: Goyal et al. 2017, arXiv:1706.02677, section 5.1, and the
skip list of MLPerf's LARS. In the networks here these are the tensors of one dimension.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import Tensor, nn

from fullscale.optimizers.update_rule import TensorTraits
from fullscale.sharding import classifier_head
from models_of_scaling.errors import InputError

WORDS = ("norm", "bias", "head")
USUAL = "norm,bias"
_NORMS = (
    nn.modules.batchnorm._NormBase,  # noqa: SLF001 - of all batch and instance norms
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)


def tensor_traits(parameter: Tensor) -> TensorTraits:
    """Return what applies to a tensor of no known layer, by its shape: one network's.

    Args:
        parameter: with fewer than two dimensions it is taken for a bias or a scale.
    """
    weight = parameter.ndim > 1
    return TensorTraits(decayed=weight, adapted=weight)


@dataclass(frozen=True, kw_only=True)
class ParameterGroups:
    """Which tensors go without weight decay, and which without a trust ratio.

    Attributes:
        no_decay: words, separated by commas; empty for none.
        no_trust_ratio: likewise.
    """

    no_decay: str = USUAL
    no_trust_ratio: str = USUAL

    def __post_init__(self) -> None:
        """Check the words.

        Raises:
            InputError: where one is unknown.
        """
        for flag in ("no_decay", "no_trust_ratio"):
            for word in _split(getattr(self, flag)):
                if word not in WORDS and not {".", "*"} & set(word):
                    raise InputError(
                        f"--model.{flag} {word!r} is not one of {', '.join(WORDS)}, nor a pattern "
                        "for names with a dot or a star"
                    )

    def traits(self, network: nn.Module) -> dict[str, TensorTraits]:
        """Return what applies to each of a network's tensors, by its name.

        Args:
            network: of one member, not stacked and not cut; a pattern that fits none of its
                tensors ends in an InputError.
        """
        without = {flag: self._named(network, flag) for flag in ("no_decay", "no_trust_ratio")}
        return {
            name: TensorTraits(
                decayed=name not in without["no_decay"],
                adapted=name not in without["no_trust_ratio"],
            )
            for name, _ in network.named_parameters()
        }

    def _named(self, network: nn.Module, flag: str) -> set[str]:
        found: set[str] = set()
        kinds = _kinds(network)
        for word in _split(getattr(self, flag)):
            fits = {
                name for name, words in kinds.items() if word in words or fnmatchcase(name, word)
            }
            if not fits and word not in WORDS:
                raise InputError(f"--model.{flag} {word!r} fits no tensor of the network")
            found |= fits
        return found

    def describe(self, network: nn.Module) -> str:
        """Return one line on who gets what.

        Args:
            network: of one member.
        """
        traits = self.traits(network)
        sizes = {name: parameter.numel() for name, parameter in network.named_parameters()}
        parts = []
        for what, field, words in (
            ("weight decay", "decayed", self.no_decay),
            ("trust ratio", "adapted", self.no_trust_ratio),
        ):
            on = [name for name in sizes if getattr(traits[name], field)]
            off = len(sizes) - len(on)
            parts.append(
                f"{what} on {len(on)} tensors of {_rounded(sum(sizes[name] for name in on))}"
                f" parameters, not on {off}" + (f": {', '.join(_split(words))}" if off else "")
            )
        return "; ".join(parts)


def _split(words: str) -> list[str]:
    return [word.strip() for word in words.split(",") if word.strip()]


def _kinds(network: nn.Module) -> dict[str, set[str]]:
    """Return the words that fit each tensor."""
    linear = any(isinstance(module, nn.Linear) for module in network.modules())
    head = classifier_head(network)[1] if linear else None
    kinds: dict[str, set[str]] = {}
    for prefix, module in network.named_modules():
        for name, _ in module.named_parameters(recurse=False):
            fits = {"norm"} if isinstance(module, _NORMS) else {"bias"} & {name}
            kinds[f"{prefix}.{name}" if prefix else name] = fits | (
                {"head"} if module is head else set()
            )
    return kinds


def _rounded(count: int) -> str:
    return f"{count / 1e6:.1f} M" if count >= 1e6 else f"{count:,}"

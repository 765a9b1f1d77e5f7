"""Tensors in nested dictionaries and tuples: torch's own functions, which have no public name."""

from typing import Any

from torch import Tensor
from torch.utils import _pytree  # noqa: PLC2701 - nothing else knows how torch flattens arguments

tree_flatten = _pytree.tree_flatten
tree_map = _pytree.tree_map
tree_unflatten = _pytree.tree_unflatten


def tree_leaves(tree: Any) -> list[Tensor]:
    """Return the tensors of dictionaries, tuples and lists in torch's order.

    torch's own function asks each node what it is by five rules: a tenth of a small member's
    evaluation.

    Args:
        tree: nothing but these containers and tensors.
    """
    if isinstance(tree, Tensor):
        return [tree]
    branches = tree.values() if isinstance(tree, dict) else tree
    return [leaf for branch in branches for leaf in tree_leaves(branch)]

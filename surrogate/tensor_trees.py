"""Tensors in nested dictionaries and tuples, flattened in an order that their names give.

torch's own functions flatten a dictionary in the order in which it was filled. A rule may fill its
state in another order than it began with, and a traced step takes its tensors by place: so here
dictionaries are sorted first, everywhere.
"""

from collections.abc import Callable
from typing import Any

from torch.utils import _pytree  # noqa: PLC2701 - nothing else knows how torch flattens arguments

tree_unflatten = _pytree.tree_unflatten


def tree_sorted(tree: Any) -> Any:
    """Return the same tree with every dictionary's keys in order."""
    if isinstance(tree, dict):
        return {name: tree_sorted(tree[name]) for name in sorted(tree)}
    if isinstance(tree, tuple | list):
        return tuple(tree_sorted(each) for each in tree)
    return tree


def tree_flatten(tree: Any) -> tuple[list[Any], Any]:
    """Return the leaves, and the form of the sorted tree."""
    return _pytree.tree_flatten(tree_sorted(tree))


def tree_leaves(tree: Any) -> list[Any]:
    """Return the leaves in the order of `tree_flatten`."""
    return _pytree.tree_leaves(tree_sorted(tree))


def tree_map(function: Callable[..., Any], tree: Any) -> Any:
    """Return the sorted tree with a function applied to each leaf."""
    return _pytree.tree_map(function, tree_sorted(tree))

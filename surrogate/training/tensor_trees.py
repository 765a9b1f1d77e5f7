"""Tensors in nested dictionaries and tuples: walked, mapped, taken apart and put together again.

torch has the same for any kind of node, and asks each what it is by five rules: a tenth of a small
network's step and of its evaluation.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import Tensor


def tree_leaves(tree: Any) -> list[Tensor]:
    """Return the tensors of dictionaries, tuples and lists, in their order.

    Args:
        tree: nothing but these containers and tensors.
    """
    if isinstance(tree, Tensor):
        return [tree]
    branches = tree.values() if isinstance(tree, dict) else tree
    return [leaf for branch in branches for leaf in tree_leaves(branch)]


def tree_map(function: Callable[[Tensor], Any], tree: Any) -> Any:
    """Return a tree of the same form with a function's value in each tensor's place.

    Args:
        function: of a tensor.
        tree: dictionaries, tuples, lists and tensors.
    """
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, dict):
        return {name: tree_map(function, branch) for name, branch in tree.items()}
    return type(tree)([tree_map(function, branch) for branch in tree])


def tree_flatten(tree: Any) -> tuple[list[Tensor], Any]:
    """Return the tensors, and the form of what held them, for `tree_unflatten`.

    Args:
        tree: dictionaries, tuples, lists and tensors.
    """
    return tree_leaves(tree), tree_map(lambda _: None, tree)


def tree_unflatten(leaves: Iterable[Any], form: Any) -> Any:
    """Return the tree of this form with these leaves.

    Args:
        leaves: as many as the form has places, in its order.
        form: of `tree_flatten`.
    """
    return _filled(form, iter(leaves))


def _filled(form: Any, leaves: Iterator[Any]) -> Any:
    if form is None:
        return next(leaves)
    if isinstance(form, dict):
        return {name: _filled(branch, leaves) for name, branch in form.items()}
    return type(form)([_filled(branch, leaves) for branch in form])

"""Tensors in nested dictionaries and tuples: torch's own functions, which have no public name."""

from torch.utils import _pytree  # noqa: PLC2701 - nothing else knows how torch flattens arguments

tree_flatten = _pytree.tree_flatten
tree_leaves = _pytree.tree_leaves
tree_map = _pytree.tree_map
tree_unflatten = _pytree.tree_unflatten

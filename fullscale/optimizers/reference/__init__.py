"""Slow exact twins of the update rules: float64 numpy, one tensor, line by line after the paper.

For tests only: nothing else may import from here. Each takes the tensor's start, one gradient and
one learning rate per step, and the numbers that the rule takes; it returns the tensor at the end.
"""

"""Time and cost of a step on a cluster: all-reduce, step time, time to target, what limits it."""

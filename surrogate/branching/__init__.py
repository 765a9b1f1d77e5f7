"""Branching: from checkpoints of one run, branches at larger batch sizes over the same examples."""

"""Checkpoints without Lightning: the file, a run's identity, state gathered whole over ranks."""

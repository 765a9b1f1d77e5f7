"""Gradient noise while a run goes on: squared norms of microbatches, without Lightning."""

"""Cheap surrogate sweeps: many small runs, re-tuned at every batch size, and a simulator."""

"""Plots: `ax` and finished numbers in, one file per kind of curve."""

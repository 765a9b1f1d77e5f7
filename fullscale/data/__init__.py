"""Data sets, one a file, and the order in which their examples are seen."""

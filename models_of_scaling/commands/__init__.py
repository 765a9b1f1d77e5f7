"""The commands of `python -m models_of_scaling`, one file each: its words, and what it does."""

"""Accuracy at a fixed number of epochs against batch size: the other way to ask for the limit."""

"""Predictions of batch sizes that the fit did not see, scored beside today's practice."""

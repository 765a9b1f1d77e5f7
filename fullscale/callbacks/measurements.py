"""What callbacks measure besides the evaluations: for metrics.csv, loggers and the trial record.

A callback takes part by a method `measurements()` that returns numbers by name, the same names at
every call, NaN where one is not known yet. It is asked at an evaluation and at the end of training,
on rank zero, so it must not talk to other processes.
"""

from lightning.pytorch import Trainer


def measurements_of(trainer: Trainer) -> dict[str, float]:
    """Return everything that the run's callbacks measured, by name.

    Args:
        trainer: of the run.
    """
    found: dict[str, float] = {}
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        measure = getattr(callback, "measurements", None)
        if measure is not None:
            found |= measure()
    return found

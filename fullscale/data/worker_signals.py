"""A loader's workers and the signals of a run: those are for the process that trains.

SLURM sends its signals to every process of a task and a terminal its Ctrl-C to the whole group, so
workers get them too. Were one to die of it, the loader would raise in the middle of the step that
the run means to finish and save. Standard library only.
"""

import signal
from types import FrameType


def leave_signals_to_the_trainer(worker: int) -> None:
    """Let a worker live on through the first of the signals; a loader's `worker_init_fn`.

    Ctrl-C and SIGUSR1 are never a worker's. The first SIGTERM may be the group's; a second one ends
    the worker, so that its own process can still be rid of it (multiprocessing sends SIGTERM).

    Args:
        worker: its number.
    """

    def pass_over_once(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, pass_over_once)
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)

"""A loader's workers and the signals of a run: those are for the process that trains.

SLURM sends its signals to every process of a task and a terminal its Ctrl-C to the whole group, so
workers get them too. Were one to die of it, the loader would raise in the middle of the step that
the run means to finish and save. Standard library only.
"""

import os
import signal
import threading


def leave_signals_to_the_trainer(worker: int) -> None:
    """Let a worker end by SIGTERM of its own process only; a loader's `worker_init_fn`.

    That is how multiprocessing is rid of it. Ctrl-C and SIGUSR1 are never a worker's. Where the
    system does not tell who sent a signal (macOS), SIGTERM stays as it was.

    Args:
        worker: its number.
    """
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        # Threads take over what is blocked, so that the one that waits is the only one to get it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_by_own_process, daemon=True).start()


def _end_by_own_process() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)

"""The way out of a process group: gloo's threads let go of their tensors before Python ends."""

import time

from torch import distributed

_RELEASE_SECONDS = 0.1


def let_workers_finish() -> None:
    """Wait until gloo's worker threads have dropped the tensors of the last collectives.

    A worker reports a collective as done before it drops the tensors, for which it needs Python's
    lock. Where the process ends in between, Python ends the thread inside a destructor and the
    process aborts ("terminate called without an active exception", signal 6) after all its
    work is done. `destroy_process_group` joins the threads only if nothing else
    holds the group, and device meshes and sharded parameters do. Sleeping gives the
    lock away: a worker needs microseconds of it. Without gloo nothing is waited for.
    """
    is_running = distributed.is_available() and distributed.is_initialized()
    if is_running and "gloo" in distributed.get_backend_config():
        time.sleep(_RELEASE_SECONDS)

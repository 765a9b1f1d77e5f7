"""A Dask cluster as a sweep's workers: one that runs, given by its scheduler's address or file.

A worker runs one cell at a time, whatever its number of threads; give it one (`--nthreads 1`). The
scheduler runs the cells of a worker that died on another one.
"""

import json
import logging
import time
from collections.abc import Generator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models_of_scaling.errors import InputError
from surrogate.executors import WorkerKind, Workers, folder_workers
from surrogate.protocol import Plan

_CONNECT_SECONDS = 5
_COUNT_SECONDS = 5.0


def _connected(scheduler: str) -> Any:
    try:
        import distributed
    except ImportError as error:
        raise InputError(
            "--executor dask needs Dask: pip install 'batch-size-limit[cluster]'"
        ) from error
    # What it logs when a scheduler goes is a page of traceback; the sweep says it in one line.
    for name in ("distributed.client", "distributed.core", "distributed.comm"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # Its methods carry no types.
    client: Any = distributed.Client
    if Path(scheduler).is_file():
        scheduler = _address_in(Path(scheduler))
    try:
        return client(scheduler, timeout=_CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise InputError(f"--scheduler {scheduler}: no Dask scheduler answers: {error}") from error


def _address_in(path: Path) -> str:
    """Return the address that a scheduler file names."""
    try:
        address = json.loads(path.read_text(encoding="utf-8"))["address"]
    except (OSError, ValueError, TypeError, KeyError):
        address = None
    if not isinstance(address, str):
        raise InputError(f"--scheduler {path}: not a scheduler file: JSON with the text 'address'")
    return address


@contextmanager
def dask_workers(scheduler: str, plan: Plan, folder: Path) -> Generator[Workers, None, None]:
    """Give the workers of a Dask cluster.

    Args:
        scheduler: its address, such as tcp://host:8786, or the path of a scheduler file.
        plan: the study.
        folder: of the sweep, which every worker sees at the same path.

    Yields:
        The workers; on leaving, the cluster is left as it was. Raises an `InputError` where no
        scheduler answers.
    """
    client = _connected(scheduler)
    from distributed.comm.core import CommClosedError

    counted, asked = 0, -float("inf")

    def count() -> int:
        nonlocal counted, asked
        if time.monotonic() - asked > _COUNT_SECONDS:
            try:
                counted, asked = len(client.nthreads()), time.monotonic()
            except (OSError, TimeoutError) as error:
                raise CancelledError(str(error)) from error
        # Workers may yet come: there is always one cell that waits for them.
        return max(counted, 1)

    from distributed.scheduler import KilledWorker

    executor = client.get_executor(pure=False)
    try:
        yield folder_workers(
            executor,
            plan,
            folder,
            count=count,
            kind=WorkerKind(
                name="Dask worker",
                deaths=(KilledWorker,),
                losses=(CancelledError, CommClosedError),
            ),
        )
    finally:
        executor.shutdown(wait=False)
        client.close(timeout=2)

"""SLURM arrays as a sweep's workers, by submitit; its local executor stands in for a cluster.

One job is one batch size with all its stages, because every job waits in a queue; what is submitted
together becomes one array. A job that runs into its time limit is queued again and goes on.
"""

import logging
import threading
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from models_of_scaling.errors import InputError
from surrogate.executors import WorkerKind, Workers, folder_workers
from surrogate.protocol import Plan

_POLL_SECONDS = 0.5  # submitit itself asks SLURM less often
_TIMEOUT_MINUTES = 240  # submitit's own default, 5, would queue every job again and again


class _Call:
    """What a job runs; submitit queues it again after a time limit, because of `checkpoint`."""

    def __call__(self, fn: Callable[..., Any], *arguments: Any) -> tuple[Any, Exception | None]:
        """Return the result, or the error itself where submitit would return its text.

        Args:
            fn: what to call.
            *arguments: its arguments.

        Returns:
            The result, and the error or None.
        """
        try:
            return fn(*arguments), None
        except Exception as error:  # noqa: BLE001  raised again where the sweep runs
            return None, error

    def checkpoint(self, *arguments: Any) -> Any:
        """Return the same call again: the trials it wrote are its state."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, *arguments)


class SubmititExecutor(Executor):
    """submitit's executor with the interface of `concurrent.futures`."""

    def __init__(self, inner: Any) -> None:
        """Begin to watch.

        Args:
            inner: an executor of submitit.
        """
        self._inner = inner
        self._new: list[tuple[Future[Any], tuple[Any, ...]]] = []
        self._jobs: dict[Future[Any], Any] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Queue a call; calls of the same half second become one array.

        Args:
            fn: a function that can be pickled.
            *args: its arguments.
            **kwargs: none are passed on.

        Returns:
            The future; it raises submitit's UncompletedJobError where the job died.
        """
        assert not kwargs
        future: Future[Any] = Future()
        with self._lock:
            self._new.append((future, (fn, *args)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Stop watching; jobs that run go on to their end, those that wait are cancelled.

        Args:
            wait: as in `concurrent.futures`; jobs are never waited for.
            cancel_futures: as there; jobs that wait are always cancelled.
        """
        del wait, cancel_futures
        for future in [*self._jobs, *(future for future, _ in self._new)]:
            future.cancel()
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            over = self._over.wait(_POLL_SECONDS)
            self._send()
            for future, job in list(self._jobs.items()):
                self._follow(future, job)
            if over:
                return

    def _send(self) -> None:
        with self._lock:
            new, self._new = self._new, []
        new = [(future, call) for future, call in new if not future.cancelled()]
        if not new:
            return
        try:
            with self._inner.batch():
                jobs = [self._inner.submit(_Call(), *call) for _, call in new]
        except Exception as error:  # noqa: BLE001  whatever it is, the sweep's thread must hear it
            for future, _ in new:
                future.set_exception(OSError(0, f"submitit: {error}"))
            return
        self._jobs.update((future, job) for (future, _), job in zip(new, jobs, strict=True))

    def _follow(self, future: "Future[Any]", job: Any) -> None:
        """Bring a future to where its job is."""
        if future.cancelled():
            del self._jobs[future]
            job.cancel()
        elif job.done():
            del self._jobs[future]
            if future.running() or future.set_running_or_notify_cancel():
                self._end(future, job)
        elif not future.running() and job.state == "RUNNING":
            future.set_running_or_notify_cancel()

    @staticmethod
    def _end(future: "Future[Any]", job: Any) -> None:
        try:
            result, error = job.result()
        except Exception as died:  # noqa: BLE001  submitit's errors go to the sweep's thread
            error, result = died, None
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)


def _made(folder: Path, parameters: Mapping[str, str], count: int) -> Any:
    try:
        import submitit
    except ImportError as error:
        raise InputError(
            "--executor submitit needs it: pip install 'batch-size-limit[cluster]'"
        ) from error
    logging.getLogger("submitit").setLevel(logging.ERROR)
    values: dict[str, Any] = {"timeout_min": _TIMEOUT_MINUTES, "slurm_array_parallelism": count}
    values |= {name: _number(text) for name, text in parameters.items()}
    cluster = values.pop("cluster", "slurm")
    made = [each for each in (folder / "submitit", folder) if not each.exists()]
    try:
        inner = submitit.AutoExecutor(folder=folder / "submitit", cluster=str(cluster))
        inner.update_parameters(**values)
    # submitit refuses by whatever its checks raise: NameError, TypeError, ValueError ...
    except Exception as error:
        for each in made:  # it makes its folder before it looks at what it is given
            with suppress(OSError):
                each.rmdir()
        raise InputError(f"--submitit: {error}") from error
    return inner


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


@contextmanager
def submitit_workers(
    parameters: Mapping[str, str], plan: Plan, folder: Path, *, count: int
) -> Generator[Workers, None, None]:
    """Give jobs of a cluster.

    Args:
        parameters: submitit's own, such as slurm_partition, timeout_min, gpus_per_node, mem_gb;
            and `cluster`, slurm where it is missing.
        plan: the study.
        folder: of the sweep, which every node sees at the same path; submitit's logs go there.
        count: jobs of an array that run at once.

    Yields:
        The workers; on leaving, jobs that still wait are cancelled.
    """
    inner = _made(folder, parameters, count)
    from submitit.core.utils import UncompletedJobError

    executor = SubmititExecutor(inner)
    try:
        yield folder_workers(
            executor,
            plan,
            folder,
            count=lambda: count,
            kind=WorkerKind(name="job", deaths=(UncompletedJobError,), whole_batch_sizes=True),
        )
    finally:
        executor.shutdown()

"""Putting a pre-empted SLURM job back into its queue. Standard library only."""

import signal
import subprocess
from collections.abc import Mapping

_TIMEOUT_S = 60.0


class RequeueError(RuntimeError):
    """The job was not put back; the message is one line."""


def wants_requeue(stop_signal: int, *, choice: str, environ: Mapping[str, str]) -> bool:
    """Return whether a run that was told to stop asks for its job again.

    Args:
        stop_signal: that ended the run, 0 for none. Ctrl-C never asks.
        choice: usr1_or_term, usr1 or never.
        environ: environment variables; a SLURM job has SLURM_JOB_ID.
    """
    chosen = {
        "usr1_or_term": (signal.SIGUSR1, signal.SIGTERM),
        "usr1": (signal.SIGUSR1,),
        "never": (),
    }[choice]
    return stop_signal in chosen and bool(environ.get("SLURM_JOB_ID"))


def requeue_job(environ: Mapping[str, str]) -> str:
    """Put the job back into the queue: it ends and starts again with the same number.

    SLURM kills the job's processes then, so this comes last.

    Args:
        environ: environment variables with SLURM_JOB_ID.

    Returns:
        The job's number.

    Raises:
        RequeueError: where `scontrol requeue` fails.
    """
    job = environ["SLURM_JOB_ID"]
    command = ["scontrol", "requeue", job]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RequeueError(f"{' '.join(command)}: {error}") from error
    if done.returncode:
        said = " ".join(done.stderr.split())
        raise RequeueError(f"{' '.join(command)} ended with code {done.returncode}: {said}")
    return job

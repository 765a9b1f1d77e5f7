"""Where a record came from: commit, package versions, device, start time. Standard library only."""

import functools
import os
import platform
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

_PACKAGES = ("torch", "lightning", "numpy", "scipy", "pyarrow", "batch-size-limit")


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How a trial was made.

    Attributes:
        commit: git commit of the code, or "unknown" outside a checkout.
        dirty: whether the checkout had uncommitted changes.
        versions: package name to version.
        device: what computed, in words.
        start_time: UTC.
    """

    commit: str
    dirty: bool
    versions: dict[str, str] = field(default_factory=dict)
    device: str
    start_time: datetime


def _git(*words: str) -> str:
    """Run git in the package's own folder, so that a user's other repository is never named."""
    done = subprocess.run(
        ["git", *words],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
    )
    return done.stdout.strip() if done.returncode == 0 else ""


@functools.cache
def _code_state() -> tuple[str, bool]:
    try:
        # In site-packages the enclosing repository, if any, is not ours.
        if not _git("ls-files", "provenance.py"):
            return "unknown", False
        return _git("rev-parse", "HEAD") or "unknown", bool(_git("status", "--porcelain", "-uno"))
    except (OSError, subprocess.TimeoutExpired):
        return "unknown", False


@functools.cache
def _versions() -> tuple[tuple[str, str], ...]:
    found = [("python", platform.python_version())]
    for name in _PACKAGES:
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return tuple(found)


def cpu_name() -> str:
    """Return the processor in words with its core count, for example `x86_64, 2 cores`."""
    return f"{platform.machine()}, {os.cpu_count()} cores"


def collect_provenance(*, device: str | None = None) -> Provenance:
    """Describe the code, packages and device of this process, now.

    Args:
        device: what computes, in words; the CPU when None.

    Returns:
        The description. Git and package look-ups are made once a process.
    """
    commit, dirty = _code_state()
    return Provenance(
        commit=commit,
        dirty=dirty,
        versions=dict(_versions()),
        device=device or cpu_name(),
        start_time=datetime.now(UTC),
    )

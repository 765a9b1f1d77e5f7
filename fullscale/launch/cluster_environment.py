"""Is there a cluster around a run of several nodes? Answered in milliseconds, before torch loads.

Without one, Lightning waits half an hour, silently, for nodes that nobody started. Standard library
and yaml only.
"""

import os
import re
import shlex
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from models_of_scaling.errors import InputError

_PORT = 29500  # torchrun's own default
# SLURM numbers the steps that are not a job's tasks (batch script, interactive shell) from here up.
_FIRST_SPECIAL_STEP = 0xFFFFFFF0


@dataclass(frozen=True, kw_only=True)
class LaunchRequest:
    """What the command line asks for.

    Attributes:
        num_nodes: machines.
        devices: per machine; None where it is left to Lightning ("auto").
        arguments: the whole command line, to be repeated in a launch line.
        starts: processes are to be started; false of a dry run, help and the like.
    """

    num_nodes: int
    devices: int | None
    arguments: tuple[str, ...]
    starts: bool = True

    @property
    def processes_per_node(self) -> int:
        """Devices as asked for, else the GPUs of this machine, else 1."""
        return self.devices or len(list(Path("/dev").glob("nvidia[0-9]*"))) or 1

    def _command(self) -> str:
        return shlex.join(["-m", "fullscale.fit", *self.arguments])

    def torchrun_line(self, *, node_rank: str = "0") -> str:
        """Return the launch line for one node, with this host as node 0."""
        return (
            f"torchrun --nnodes {self.num_nodes} --nproc-per-node {self.processes_per_node} "
            f"--node-rank {node_rank} --master-addr {socket.gethostname()} "
            f"--master-port {_PORT} {self._command()}"
        )

    def srun_line(self) -> str:
        """Return the launch line inside a SLURM allocation."""
        return (
            f"srun --nodes {self.num_nodes} --ntasks-per-node {self.processes_per_node} "
            f"python {self._command()}"
        )


def read_request(arguments: Sequence[str]) -> LaunchRequest:
    """Read nodes and devices from the command line and its config files; later ones win.

    Args:
        arguments: of the command line.

    Returns:
        The request. What can't be read is left to the full parser, which says why.
    """
    found: dict[str, Any] = {"num_nodes": 1, "devices": "auto", "dry_run": False}
    words = list(arguments)
    for place, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if not equals:
            value = words[place + 1] if place + 1 < len(words) else ""
        if flag in {"--config", "-c"}:
            config = _load(_read(value))
            found |= _trainer_settings(config)
            if isinstance(config, dict) and "dry_run" in config:
                found["dry_run"] = config["dry_run"] is True
        elif flag == "--trainer":
            found |= _trainer_settings({"trainer": _load(_read(value) or value)})
        elif flag in {"--trainer.num_nodes", "--trainer.devices"}:
            found[flag.removeprefix("--trainer.")] = _load(value)
    nodes, devices = found["num_nodes"], found["devices"]
    return LaunchRequest(
        num_nodes=_whole(nodes) or 1,
        # -1 and a list of device numbers are Lightning's to resolve.
        devices=len(devices) if isinstance(devices, list) else _whole(devices),
        arguments=tuple(arguments),
        starts=not (
            found["dry_run"]
            or {"--dry_run", "--help", "-h"} & set(words)
            or any(word.startswith("--print_config") for word in words)
        ),
    )


def _whole(value: Any) -> int | None:
    """Return a positive whole number, also one written as text; None for anything else."""
    text = str(value)
    return int(text) if text.isdecimal() and int(text) > 0 else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _load(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None


def _trainer_settings(config: Any) -> dict[str, Any]:
    trainer = config.get("trainer") if isinstance(config, dict) else None
    if not isinstance(trainer, dict):
        return {}
    return {name: trainer[name] for name in ("num_nodes", "devices") if name in trainer}


def check_cluster(arguments: Sequence[str], environ: Mapping[str, str]) -> None:
    """Refuse a run of several nodes that nobody will join.

    Ends in an InputError of one line: what was found, what is missing, the launch line to use.

    Args:
        arguments: of the command line.
        environ: environment variables.
    """
    request = read_request(arguments)
    if not request.starts:
        return
    if "TORCHELASTIC_RUN_ID" in environ:
        _check_torchrun(request, environ)
    elif request.num_nodes == 1:
        return
    elif "SLURM_JOB_ID" in environ or "SLURM_NTASKS" in environ:
        _check_slurm(request, environ)
    elif not {"LSB_JOBID", "OMPI_COMM_WORLD_SIZE"} & set(environ):  # those are Lightning's to check
        _check_plain(request, environ)


def _number(environ: Mapping[str, str], name: str) -> int:
    """Read a variable that must be a whole number."""
    if not environ[name].strip().isdecimal():
        raise InputError(f"environment variable {name} {environ[name]!r} must be a whole number")
    return int(environ[name])


def _check_torchrun(request: LaunchRequest, environ: Mapping[str, str]) -> None:
    world_size = _number(environ, "WORLD_SIZE")
    per_node = _number(environ, "LOCAL_WORLD_SIZE")
    nodes = world_size // per_node
    if nodes != request.num_nodes:
        raise InputError(
            f"--trainer.num_nodes {request.num_nodes}: found torchrun with {nodes} nodes x "
            f"{per_node} processes; the two must agree: give --trainer.num_nodes {nodes}, or start "
            f"with {request.torchrun_line()}"
        )
    if request.devices is not None and request.devices != per_node:
        raise InputError(
            f"--trainer.devices {request.devices}: found torchrun with {per_node} processes per "
            f"node; the two must agree: give --trainer.devices {per_node}, or start with "
            f"{request.torchrun_line()}"
        )


def _check_slurm(request: LaunchRequest, environ: Mapping[str, str]) -> None:
    asked = f"--trainer.num_nodes {request.num_nodes}"
    step = environ.get("SLURM_STEP_ID", "")
    if not step.isdecimal() or int(step) >= _FIRST_SPECIAL_STEP:
        raise InputError(
            f"{asked}: found a SLURM allocation, but this process is not one of its tasks "
            f"(SLURM_STEP_ID is missing): start with {request.srun_line()}"
        )
    if environ.get("SLURM_JOB_NAME") in {"bash", "interactive"}:
        raise InputError(
            f"{asked}: found SLURM, but a job named {environ['SLURM_JOB_NAME']!r} counts as "
            f"interactive and its tasks don't join: start with "
            f"{request.srun_line().replace('srun', 'srun --job-name fit', 1)}"
        )
    expected = {
        "SLURM_NNODES": request.num_nodes,
        "SLURM_NTASKS": request.num_nodes * (request.devices or 1),
    }
    for name, wanted in expected.items():
        if name not in environ:
            raise InputError(
                f"{asked}: found SLURM, but {name} is missing: start with {request.srun_line()}"
            )
        number = _number(environ, name)
        # With devices left to Lightning any whole multiple of the nodes may be meant.
        fits = number % wanted == 0 if name == "SLURM_NTASKS" and not request.devices else False
        if number != wanted and not fits:
            raise InputError(
                f"{asked}: found SLURM with {name}={number}, which must be {wanted}: start with "
                f"{request.srun_line()}"
            )
    if "SLURM_NTASKS_PER_NODE" not in environ:
        raise InputError(
            f"{asked}: found SLURM, but SLURM_NTASKS_PER_NODE is missing: start with "
            f"{request.srun_line()}"
        )


def _check_plain(request: LaunchRequest, environ: Mapping[str, str]) -> None:
    asked = f"--trainer.num_nodes {request.num_nodes}"
    others = f"1 ... {request.num_nodes - 1}" if request.num_nodes > 2 else "1"
    launch = (
        f"start with {request.torchrun_line()} on this host and, on each other host, the same "
        f"with --node-rank {others}; or under SLURM: {request.srun_line()}"
    )
    names = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")
    missing = [name for name in names if not environ.get(name)]
    if len(missing) == len(names):
        raise InputError(
            f"{asked}: found no cluster environment: no torchrun, no SLURM, and MASTER_ADDR, "
            f"MASTER_PORT and NODE_RANK are not set; {launch}"
        )
    if missing:
        there = ", ".join(f"{name}={environ[name]}" for name in names if name not in missing)
        raise InputError(
            f"{asked}: found {there}, but {' and '.join(missing)} must be set too; or {launch}"
        )
    rank = _number(environ, "NODE_RANK")
    if rank >= request.num_nodes:
        raise InputError(
            f"{asked}: environment variable NODE_RANK {rank} must be 0 ... {request.num_nodes - 1}"
        )
    _number(environ, "MASTER_PORT")


def check_devices(num_devices: int, environ: Mapping[str, str]) -> None:
    """Refuse another number of devices than the launcher started processes on this node.

    Args:
        num_devices: of this node, as Lightning resolved them.
        environ: environment variables.

    Raises:
        InputError: where the two differ.
    """
    for launcher, name in (
        ("torchrun", "LOCAL_WORLD_SIZE"),
        ("SLURM", "SLURM_NTASKS_PER_NODE"),
    ):
        if environ.get(name, "").isdecimal() and (launcher == "SLURM") == (
            "TORCHELASTIC_RUN_ID" not in environ
        ):
            started = int(environ[name])
            if started != num_devices:
                raise InputError(
                    f"--trainer.devices {num_devices}: {launcher} started {started} processes on "
                    f"this node ({name}); give --trainer.devices {started}"
                )


def speaks_for_node(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether this process is the one of its node that prints wrong input."""
    return all(
        re.fullmatch("0*", environ.get(name, "0")) is not None
        for name in ("LOCAL_RANK", "SLURM_LOCALID")
    )

"""Joining the other processes: a time limit of its own, and one line when it fails.

Lightning waits 30 minutes, silently, for processes that never come. The process group is therefore
made with the user's join time-out; once all have joined, collectives get torch's ordinary 30
minutes back, since a slow evaluation or a first compilation may rightly take longer than joining.
"""

import os
import re
import socket
import time
from datetime import timedelta

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.distributed import distributed_c10d
from torch.distributed.constants import default_pg_timeout

# torch's store says "1/2 clients joined", its barrier "num_workers_joined=1".
_JOINED = re.compile(r"(\d+)/\d+ clients joined|num_workers_joined=(\d+)")


class JoinError(RuntimeError):
    """Processes did not find each other in time; the message is one line."""


class JoinWithin(Callback):
    """Limits the time for joining, and only that."""

    def __init__(self, join_timeout_s: float) -> None:
        """Set the limit.

        Args:
            join_timeout_s: seconds.
        """
        self._join_timeout_s = join_timeout_s
        self._joined = False

    def limit(self, trainer: Trainer) -> None:
        """Give a distributed strategy the join time-out, before it makes its process group.

        Args:
            trainer: not yet run.
        """
        if hasattr(trainer.strategy, "_timeout"):
            trainer.strategy._timeout = timedelta(seconds=self._join_timeout_s)  # noqa: SLF001 - a
            # strategy named by a word ("ddp", "auto") takes no argument.

    def wait_for_master(self, trainer: Trainer) -> None:
        """Wait until rank 0 listens, and say in one line where it doesn't.

        torch would wait too, and print a page of C++ frames before it gives up.

        Args:
            trainer: not yet run.

        Raises:
            JoinError: where nothing answers within the limit.
        """
        environment = getattr(trainer.strategy, "cluster_environment", None)
        if environment is None or trainer.global_rank == 0:
            return
        place = (environment.main_address, environment.main_port)
        deadline = time.monotonic() + self._join_timeout_s
        while True:
            try:
                socket.create_connection(place, timeout=1.0).close()
                return
            except OSError as error:
                if time.monotonic() > deadline:
                    world_size = trainer.num_nodes * trainer.num_devices
                    raise JoinError(
                        f"rank {trainer.global_rank} of {world_size}: rank 0 does not answer at "
                        f"{place[0]}:{place[1]} within {self._join_timeout_s:g} s ({error}); "
                        "start it, or give it longer with --join_timeout_s"
                    ) from error
            time.sleep(0.1)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """All are here: collectives get torch's own time limit."""
        self._joined = True
        if torch.distributed.is_initialized():
            distributed_c10d._set_pg_timeout(default_pg_timeout)  # noqa: SLF001 - no public way
            distributed_c10d._get_default_store().set_timeout(default_pg_timeout)  # noqa: SLF001

    def explain(self, error: RuntimeError, trainer: Trainer) -> JoinError | None:
        """Return one line for an error of joining, None for any other error.

        Args:
            error: what the trainer raised.
            trainer: knows the world size.
        """
        world_size = trainer.num_nodes * trainer.num_devices
        if self._joined or world_size == 1:
            return None
        place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        found = _JOINED.search(str(error))
        if found:
            joined = found.group(1) or found.group(2)
            what = f"{joined} of {world_size} processes joined at {place}"
        else:
            reason = " ".join(str(error).split())[:200]
            what = (
                f"rank {trainer.global_rank} of {world_size} processes could not join at {place}"
                f" ({reason})"
            )
        return JoinError(
            f"{what} within {self._join_timeout_s:g} s; start the others, or give them longer"
            " with --join_timeout_s"
        )

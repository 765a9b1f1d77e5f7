"""One training run from its flags to its exit code, and its plan where it is not to be started."""

import contextlib
import os
import sys
from collections.abc import Sequence

import torch

from fullscale.callbacks.join_within import JoinError
from fullscale.callbacks.print_run import describe_run
from fullscale.callbacks.record_trial import RecordError
from fullscale.callbacks.save_checkpoint import RunEndedError
from fullscale.checkpoints.files import CheckpointError
from fullscale.cli import FitCLI, build_cli, quieten
from fullscale.dry_run import describe_needs
from fullscale.launch.cluster_environment import check_devices, read_request
from fullscale.launch.requeue import RequeueError, requeue_job, wants_requeue
from fullscale.launch.worker_threads import let_workers_finish
from fullscale.strategies import RunProcesses, planned_cut, planned_processes, processes_of
from fullscale.trainer_flags import check_planned_numbers

EXIT_FAILED = 1


def train(arguments: Sequence[str]) -> int:
    """Run one trial.

    Args:
        arguments: of the command line, without the program's name.

    Returns:
        The exit code: 0 when the run ended by itself, whatever its status, or had ended before; 1
        when processes did not join, or the trial or a checkpoint could not be written; 128 + n
        when signal n ended it.

    Raises:
        KeyboardInterrupt: where the user was in a hurry.
        SystemExit: after a second SIGTERM.
        RuntimeError: what training raised; also InputError, before anything was started, where an
            argument is wrong.
    """
    quieten()
    cli = build_cli(arguments)
    if cli.config["dry_run"]:
        print("\n".join(_dry_run(cli, arguments)))
        return 0
    if cli.trainer.num_nodes > 1 or "TORCHELASTIC_RUN_ID" in os.environ:
        check_devices(cli.trainer.num_devices, os.environ)
    cli.datamodule.prepare_run(cli.trainer)
    cli.model.prepare_run(cli.datamodule)
    _prepare_methods(cli, processes_of(cli.trainer))
    cli.config_init["record"].prepare_run(cli.trainer)
    cli.config_init["log"].prepare_run(
        cli.trainer, cli.config_init["record"], cli.config_init["throughput"]
    )
    cli.config_init["mlperf_log"].prepare_run(cli.trainer, cli.model)
    cli.config_init["checkpoint"].prepare_run(cli.trainer, cli.model)
    try:
        cli.join_within.wait_for_master(cli.trainer)
        cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    except (JoinError, RecordError) as error:
        return _fail(error)
    except CheckpointError as error:
        # Rank zero's, raised on all ranks.
        return _fail(error) if cli.trainer.is_global_zero else EXIT_FAILED
    except RunEndedError as ended:
        if cli.trainer.is_global_zero:
            print(ended)
        return 0
    except SystemExit as left:
        # Lightning's way out after Ctrl-C in mid-step; ours carry 128 + the signal's number.
        if left.code == EXIT_FAILED and cli.trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
    except RuntimeError as error:
        explained = cli.join_within.explain(error, cli.trainer)
        if explained is None:
            raise
        return _fail(explained)
    finally:
        let_workers_finish()
    return _end_by_signal(cli) if cli.model.status == "interrupted" else 0


def _prepare_methods(cli: FitCLI, processes: RunProcesses) -> None:
    """Let what changes the method itself look at the prepared run, a planned one too."""
    asked = cli.config_init["trainer"]["callbacks"] or []
    cli.config_init["comm"].prepare_run(processes, cli.model)
    cli.config_init["average"].prepare_run(cli.model)
    callbacks = asked if isinstance(asked, list) else [asked]
    cli.config_init["grow_by_noise"].prepare_run(callbacks, cli.model)


def _dry_run(cli: FitCLI, arguments: Sequence[str]) -> list[str]:
    """Return what the run would say and need."""
    settings, machine = cli.config["trainer"], read_request(arguments)
    check_planned_numbers(settings)
    count = machine.num_nodes * machine.processes_per_node
    cut, copies = planned_cut(settings["strategy"], devices=count)
    cli.datamodule.prepare_dry_run(
        processes=count,
        copies=copies,
        limits=(settings["max_steps"], settings["max_epochs"]),
    )
    with torch.device("meta"):
        cli.model.prepare_run(cli.datamodule)
    _prepare_methods(cli, planned_processes(settings, count=count))
    return [
        *describe_run(cli.model),
        *describe_needs(
            cli.model.network,
            rule=cli.model.rule,
            plan=cli.datamodule.plan,
            image_shape=cli.datamodule.source.image_shape,
            precision=str(settings["precision"] or "32-true"),
            fully_sharded=cut,
            copies=copies,
            hook=cli.config_init["comm"].settings.hook,
            assumed=cli.datamodule.assumed,
        ),
    ]


def _end_by_signal(cli: FitCLI) -> int:
    """Put a saved run's job back into the queue, last of all.

    Rank zero does it and all wait for it: a launcher ends all as soon as one has ended with a code
    (`srun --kill-on-bad-exit`, torchrun, Lightning's own), rank zero before it has asked.

    Returns:
        The exit code.
    """
    number, checkpoint = cli.model.stop_signal, cli.config_init["checkpoint"]
    if wants_requeue(number, choice=checkpoint.requeue, environ=os.environ):
        if checkpoint.path is not None:
            try:
                print(f"job {requeue_job(os.environ)} is back in the queue", flush=True)
            except RequeueError as error:
                print(f"warning: the job is not back in the queue: {error}", file=sys.stderr)
        # Where rank zero is gone already, there is nothing to wait for.
        with contextlib.suppress(RuntimeError):
            cli.trainer.strategy.barrier()
    return 128 + number if number else 0


def _fail(error: Exception) -> int:
    print(f"error: {error}", file=sys.stderr)
    return EXIT_FAILED

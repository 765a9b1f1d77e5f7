"""Lightning's command line around one training run, without its noise and its tracebacks."""

import itertools
import logging
import os
import sys
import warnings
from collections.abc import Sequence

import torch
from jsonargparse import ArgumentError
from jsonargparse.typing import PositiveFloat
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

from fullscale.callbacks.average_weights import AverageWeights
from fullscale.callbacks.communication_hook import CommunicationHook
from fullscale.callbacks.grow_by_noise import GrowByNoise
from fullscale.callbacks.join_within import JoinError, JoinWithin
from fullscale.callbacks.lean_steps import SkipEmptyHooks
from fullscale.callbacks.log_evaluations import LogEvaluations
from fullscale.callbacks.metrics_csv import MetricsCsv
from fullscale.callbacks.mlperf_log import MLPerfLog
from fullscale.callbacks.print_run import PrintRun, describe_run
from fullscale.callbacks.record_trial import RecordError, RecordTrial
from fullscale.callbacks.save_checkpoint import RunEndedError, SaveCheckpoint
from fullscale.callbacks.stop_at_target import StopAtTarget
from fullscale.callbacks.stop_on_signal import StopOnSignal
from fullscale.callbacks.throughput import ResumeClock, Throughput
from fullscale.checkpoints.files import CheckpointError
from fullscale.data.modules import ImageData
from fullscale.dry_run import describe_needs
from fullscale.launch.cluster_environment import check_devices, read_request
from fullscale.launch.requeue import RequeueError, requeue_job, wants_requeue
from fullscale.launch.worker_threads import let_workers_finish
from fullscale.module import Classifier
from fullscale.schedule_registry import schedule_pieces
from fullscale.strategies import planned_cut, refuse_what_needs_a_gpu
from fullscale.trainer_flags import refuse_conflicting_flags
from models_of_scaling.errors import InputError

EXIT_FAILED = 1
_DESCRIPTION = (
    "Train one image classifier to its target, at any global batch size on any number of nodes."
)


class _FitCLI(LightningCLI):
    """The flags of a run: --trainer.*, --model.*, --data.* and those of the callbacks."""

    model: Classifier
    datamodule: ImageData

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the callbacks and what follows from other flags."""
        parser.add_lightning_class_args(StopAtTarget, "stop")
        parser.add_lightning_class_args(RecordTrial, "record")
        parser.add_lightning_class_args(CommunicationHook, "comm")
        parser.add_lightning_class_args(AverageWeights, "average")
        parser.add_lightning_class_args(Throughput, "throughput")
        parser.add_lightning_class_args(MLPerfLog, "mlperf_log")
        parser.add_lightning_class_args(LogEvaluations, "log")
        parser.add_lightning_class_args(GrowByNoise, "grow_by_noise")
        # After those that judge, record or complete a step: it saves what they leave.
        parser.add_lightning_class_args(SaveCheckpoint, "checkpoint")
        parser.add_argument(
            "--join_timeout_s",
            type=PositiveFloat,
            default=120.0,
            help="Seconds that processes wait for each other at the start.",
        )
        parser.add_argument(
            "--dry_run",
            action="store_true",
            help="Print the run's plan, memory and communication; start nothing.",
        )
        parser.link_arguments("data.seed", "model.seed")
        parser.link_arguments("model.train_duration", "data.train_duration")
        parser.link_arguments("model.batch_norm_span", "data.batch_norm_span")
        parser.link_arguments("model.adapt_regime_from", "data.adapt_regime_from")
        parser.link_arguments(
            ("model.schedule", "model.schedule_numbers"),
            "data.schedule_pieces",
            compute_fn=schedule_pieces,
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse; Lightning's own version warns where `main` is called with arguments."""
        self.config = parser.parse_args(args)  # type: ignore[arg-type]

    def before_instantiate_classes(self) -> None:
        """Refuse flags that would change what a step is."""
        refuse_conflicting_flags(self.config["trainer"])
        if not self.config["dry_run"]:
            refuse_what_needs_a_gpu(self.config["trainer"], has_gpu=torch.cuda.is_available())

    def instantiate_trainer(self, **kwargs: object) -> Trainer:
        """Add the callbacks that take other callbacks or flags, then build the trainer.

        Args:
            **kwargs: Lightning's.

        Returns:
            The trainer; for a dry run none, since its devices need not be here.

        Raises:
            InputError: where Lightning refuses the flags.
        """
        if self.config["dry_run"]:
            return None  # type: ignore[return-value]
        self.join_within = JoinWithin(self.config["join_timeout_s"])
        record, throughput = self.config_init["record"], self.config_init["throughput"]
        self.trainer_defaults["callbacks"] = [
            self.join_within,
            StopOnSignal(),
            PrintRun(record, throughput),
            MetricsCsv(record, throughput),
            SkipEmptyHooks(),
            ResumeClock(throughput),  # last: what others do is no training
        ]
        try:
            trainer = super().instantiate_trainer(**kwargs)
        except ValueError as error:
            # Lightning's word for flags that don't go together.
            raise InputError(f"--trainer: {error}") from error
        self.join_within.limit(trainer)
        return trainer


def _quieten() -> None:
    """Silence Lightning's tips and what does not apply to one stream of whole batches."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    # Lightning 2.6 calls a jsonargparse method by its old name.
    old = r"(lightning|jsonargparse)(\..*)?"
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=old)
    # Lightning 2.6 asks torch for a type that torch 2.13 calls deprecated.
    warnings.filterwarnings("ignore", ".*treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", ".*GPU available but not used.*")


def _build(arguments: Sequence[str]) -> _FitCLI:
    """Parse and build, turning every complaint into an InputError."""
    try:
        return _FitCLI(
            Classifier,
            ImageData,
            save_config_callback=None,
            run=False,
            args=list(arguments),
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            seed_everything_default=False,
            parser_kwargs={
                "exit_on_error": False,
                "prog": "python -m fullscale.fit",
                "description": _DESCRIPTION,
            },
            trainer_defaults={
                "logger": False,
                "enable_checkpointing": False,
                "enable_model_summary": False,
                "enable_progress_bar": sys.stdout.isatty(),
                "use_distributed_sampler": False,
                "num_sanity_val_steps": 0,
                "max_epochs": -1,
            },
        )
    except (ArgumentError, MisconfigurationException) as error:
        raise InputError(_explain(str(error), arguments)) from error


def _explain(message: str, arguments: Sequence[str]) -> str:
    """Add to a parser's message the flag as it is typed, or the files that were read."""
    if message.endswith("required: data.global_batch_size"):
        return "--data.global_batch_size is missing: examples per optimizer step, over all devices"
    files = [
        word.partition("=")[2] or following
        for word, following in itertools.pairwise([*arguments, ""])
        if word.partition("=")[0] in {"--config", "-c"}
    ]
    return (
        f"{message} (settings from {', '.join(files)} and the command line)" if files else message
    )


def _fail(error: Exception) -> int:
    print(f"error: {error}", file=sys.stderr)
    return EXIT_FAILED


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
    _quieten()
    cli = _build(arguments)
    if cli.config["dry_run"]:
        print("\n".join(_dry_run(cli, arguments)))
        return 0
    if cli.trainer.num_nodes > 1 or "TORCHELASTIC_RUN_ID" in os.environ:
        check_devices(cli.trainer.num_devices, os.environ)
    cli.datamodule.prepare_run(cli.trainer)
    cli.model.prepare_run(cli.datamodule)
    cli.config_init["comm"].prepare_run(cli.trainer, cli.model)
    cli.config_init["average"].prepare_run(cli.trainer, cli.model)
    cli.config_init["grow_by_noise"].prepare_run(cli.trainer, cli.model)
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


def _dry_run(cli: _FitCLI, arguments: Sequence[str]) -> list[str]:
    """Return what the run would say and need."""
    settings, machine = cli.config["trainer"], read_request(arguments)
    cut, copies = planned_cut(settings["strategy"])
    cli.datamodule.prepare_dry_run(
        processes=machine.num_nodes * machine.processes_per_node,
        copies=copies,
        limits=(settings["max_steps"], settings["max_epochs"]),
    )
    with torch.device("meta"):
        cli.model.prepare_run(cli.datamodule)
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
        ),
    ]


def _end_by_signal(cli: _FitCLI) -> int:
    """Put a saved run's job back into the queue, last of all; return the exit code."""
    number, checkpoint = cli.model.stop_signal, cli.config_init["checkpoint"]
    if checkpoint.path is not None and wants_requeue(
        number, choice=checkpoint.requeue, environ=os.environ
    ):
        try:
            print(f"job {requeue_job(os.environ)} is back in the queue", flush=True)
        except RequeueError as error:
            print(f"warning: the job is not back in the queue: {error}", file=sys.stderr)
    return 128 + number if number else 0

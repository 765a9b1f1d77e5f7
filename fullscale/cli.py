"""Lightning's command line around one training run, without its noise and its tracebacks."""

import itertools
import logging
import sys
import warnings
from collections.abc import Sequence

import torch
from jsonargparse import ArgumentError
from jsonargparse.typing import PositiveFloat
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    GradientAccumulationScheduler,
    LearningRateFinder,
    StochasticWeightAveraging,
)
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

from fullscale.callbacks.average_weights import AverageWeights
from fullscale.callbacks.communication_hook import CommunicationHook
from fullscale.callbacks.grow_by_noise import GrowByNoise
from fullscale.callbacks.join_within import JoinWithin
from fullscale.callbacks.lean_steps import SkipEmptyHooks
from fullscale.callbacks.log_evaluations import LogEvaluations
from fullscale.callbacks.metrics_csv import MetricsCsv
from fullscale.callbacks.mlperf_log import MLPerfLog
from fullscale.callbacks.print_run import PrintRun
from fullscale.callbacks.record_trial import RecordTrial
from fullscale.callbacks.save_checkpoint import SaveCheckpoint
from fullscale.callbacks.stop_at_target import StopAtTarget
from fullscale.callbacks.stop_on_signal import StopOnSignal
from fullscale.callbacks.throughput import ResumeClock, Throughput
from fullscale.data.modules import ImageData
from fullscale.module import Classifier
from fullscale.schedule_registry import schedule_pieces
from fullscale.strategies import refuse_what_needs_a_gpu
from fullscale.trainer_flags import refuse_conflicting_flags
from models_of_scaling.errors import InputError

_DESCRIPTION = (
    "Train one image classifier to its target, at any global batch size on any number of nodes."
)


class FitCLI(LightningCLI):
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
        refuse_conflicting_flags(self.config["trainer"], data_name=self.config["data"]["name"])
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
        asked = self.config_init["trainer"]["callbacks"] or []
        _refuse_conflicting_callbacks(asked if isinstance(asked, list) else [asked])
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
        except (ValueError, ModuleNotFoundError) as error:
            # Lightning's words for flags that don't go together, or need another package.
            raise InputError(f"--trainer: {' '.join(str(error).split())}") from error
        self.join_within.limit(trainer)
        return trainer


def _refuse_conflicting_callbacks(callbacks: Sequence[Callback]) -> None:
    """Refuse Lightning's own that would change what a step is behind the plan's back."""
    instead = {
        GradientAccumulationScheduler: "accumulation follows from --data.global_batch_size; "
        "--data.batch_phases is a batch that grows",
        BatchSizeFinder: "use --data.max_per_device_batch_size auto",
        LearningRateFinder: "the rate of a step is that of --model.schedule",
        StochasticWeightAveraging: "use --average.start",
    }
    for callback in callbacks:
        for kind, rule in instead.items():
            if isinstance(callback, kind):
                raise InputError(f"--trainer.callbacks {kind.__name__} is not supported: {rule}")


def quieten() -> None:
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


def build_cli(arguments: Sequence[str]) -> FitCLI:
    """Parse and build, turning every complaint into an InputError."""
    try:
        return FitCLI(
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
    if message.startswith("unrecognized arguments"):
        message += "; --help lists the flags"
    files = [
        word.partition("=")[2] or following
        for word, following in itertools.pairwise([*arguments, ""])
        if word.partition("=")[0] in {"--config", "-c"}
    ]
    return (
        f"{message} (settings from {', '.join(files)} and the command line)" if files else message
    )

"""Lightning's command line around one training run, without its noise and its tracebacks."""

import itertools
import logging
import os
import sys
import warnings
from collections.abc import Sequence

from jsonargparse import ArgumentError
from jsonargparse.typing import PositiveFloat
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

from fullscale.callbacks.join_within import JoinError, JoinWithin
from fullscale.callbacks.print_run import PrintRun
from fullscale.callbacks.record_trial import RecordError, RecordTrial
from fullscale.callbacks.stop_at_target import StopAtTarget
from fullscale.callbacks.stop_on_signal import StopOnSignal
from fullscale.data.modules import ImageData
from fullscale.launch.cluster_environment import check_devices
from fullscale.module import Classifier
from fullscale.trainer_flags import refuse_conflicting_flags
from models_of_scaling.errors import InputError

EXIT_FAILED = 1
_DESCRIPTION = (
    "Train one image classifier to its target, at any global batch size on any number of nodes."
)


class _FitCLI(LightningCLI):
    """The flags of a run: --trainer.*, --model.*, --data.*, --stop.*, --record.*."""

    model: Classifier
    datamodule: ImageData

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the callbacks and what follows from other flags."""
        parser.add_lightning_class_args(StopAtTarget, "stop")
        parser.add_lightning_class_args(RecordTrial, "record")
        parser.add_argument(
            "--join_timeout_s",
            type=PositiveFloat,
            default=120.0,
            help="Seconds that processes wait for each other at the start.",
        )
        parser.link_arguments("data.seed", "model.seed")
        parser.link_arguments("model.train_duration", "data.train_duration")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse; Lightning's own version warns where `main` is called with arguments."""
        self.config = parser.parse_args(args)  # type: ignore[arg-type]

    def before_instantiate_classes(self) -> None:
        """Refuse flags that would change what a step is."""
        refuse_conflicting_flags(self.config["trainer"])

    def instantiate_trainer(self, **kwargs: object) -> Trainer:
        """Add the callbacks that take other callbacks or flags, then build the trainer."""
        self.join_within = JoinWithin(self.config["join_timeout_s"])
        self.trainer_defaults["callbacks"] = [
            self.join_within,
            StopOnSignal(),
            PrintRun(self.config_init["record"]),
        ]
        trainer = super().instantiate_trainer(**kwargs)
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
        The exit code: 0 when the run ended by itself, whatever its status; 1 when processes did not
        join; 128 + n when signal n ended it.

    Raises:
        KeyboardInterrupt: where the user was in a hurry.
        SystemExit: after a second SIGTERM.
        RuntimeError: what training raised; also InputError, before anything was started, where an
            argument is wrong.
    """
    _quieten()
    cli = _build(arguments)
    if cli.trainer.num_nodes > 1 or "TORCHELASTIC_RUN_ID" in os.environ:
        check_devices(cli.trainer.num_devices, os.environ)
    cli.datamodule.prepare_run(cli.trainer)
    cli.model.prepare_run(cli.datamodule)
    cli.config_init["record"].prepare_run(cli.trainer)
    try:
        cli.join_within.wait_for_master(cli.trainer)
        cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    except (JoinError, RecordError) as error:
        return _fail(error)
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
    return 128 + cli.model.stop_signal if cli.model.stop_signal else 0

"""Evaluations for TensorBoard and for Weights & Biases, offline; both only when asked for."""

import importlib.util
import math
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from fullscale.callbacks.metrics_csv import evaluation_row
from fullscale.callbacks.record_trial import RecordTrial, hyper_parameters, settings
from fullscale.callbacks.throughput import Throughput
from fullscale.module import Classifier
from models_of_scaling.errors import InputError


class LogEvaluations(Callback):
    """Writes what metrics.csv holds to other tools' files, on rank zero."""

    def __init__(
        self, *, tensorboard: Path | None = None, wandb_offline: Path | None = None
    ) -> None:
        """Say where to.

        Args:
            tensorboard: folder for TensorBoard's event files.
            wandb_offline: folder for a Weights & Biases run that nothing is sent of; `wandb sync`
                sends it later.

        Raises:
            InputError: where the package for it is not installed.
        """
        for flag, folder, package in (
            ("tensorboard", tensorboard, "tensorboard"),
            ("wandb_offline", wandb_offline, "wandb"),
        ):
            if folder is not None and importlib.util.find_spec(package) is None:
                raise InputError(
                    f"--log.{flag} {folder}: the package {package} is not installed; "
                    f"pip install {package}"
                )
        self._tensorboard = tensorboard
        self._wandb_offline = wandb_offline
        self._sources: tuple[RecordTrial, Throughput] | None = None
        self._writer: Any = None
        self._run: Any = None

    def prepare_run(self, trainer: Trainer, record: RecordTrial, throughput: Throughput) -> None:
        """Make the folders, before hours are spent.

        Args:
            trainer: rank zero's one makes them.
            record: knows the time spent.
            throughput: knows the speed.

        Raises:
            InputError: where a folder can't be made.
        """
        if not trainer.is_global_zero or getattr(trainer, "fast_dev_run", False):
            return
        self._sources = (record, throughput)
        for flag in ("tensorboard", "wandb_offline"):
            folder = getattr(self, f"_{flag}")
            try:
                if folder is not None:
                    folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"--log.{flag} {folder} can't be written: {error}") from error

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open what was asked for; the packages are loaded here only."""
        assert isinstance(pl_module, Classifier)
        if self._sources is None:
            return
        if self._tensorboard is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._tensorboard))
        if self._wandb_offline is not None:
            import wandb

            self._run = wandb.init(
                mode="offline",
                dir=str(self._wandb_offline),
                project="batch-size-limit",
                config={**hyper_parameters(pl_module), **settings(trainer, pl_module)}
                | {"global_batch_size": pl_module.data.plan.layout.global_batch_size},
                settings=wandb.Settings(silent=True, console="off", save_code=False),
            )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the evaluation."""
        assert isinstance(pl_module, Classifier)
        if self._sources is None or pl_module.evaluation is None or trainer.sanity_checking:
            return
        if self._writer is None and self._run is None:
            return
        row = evaluation_row(trainer, pl_module, *self._sources)
        known = {name: value for name, value in row.items() if not math.isnan(value)}
        steps = pl_module.evaluation.steps
        if self._writer is not None:
            for name, value in known.items():
                self._writer.add_scalar(name, value, steps)
            self._writer.flush()
        if self._run is not None:
            self._run.log(known, step=steps)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close."""
        self._close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Close."""
        self._close()

    def _close(self) -> None:
        writer, run = self._writer, self._run
        self._writer = self._run = None
        if writer is not None:
            writer.close()
        if run is not None:
            run.finish()

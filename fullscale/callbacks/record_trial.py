"""Writes one row of the trial table, on every way out of training."""

import secrets
import sys
import tempfile
import time
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from fullscale.callbacks.measurements import measurements_of
from fullscale.evaluation import Evaluation
from fullscale.models import count_parameters
from fullscale.module import Classifier
from fullscale.optimizers.parameter_groups import USUAL
from models_of_scaling.errors import InputError
from models_of_scaling.provenance import Provenance, collect_provenance
from models_of_scaling.trials import Trial, write_trials


class RecordError(RuntimeError):
    """The trial could not be written; the message is one line."""


class RecordTrial(Callback):
    """Collects the evaluations and writes the trial when training ends, however it ends.

    Rank zero writes. A run that was interrupted has a row that says so; when it is resumed from a
    checkpoint, the row of the whole run takes that row's place (the file has the same name). The
    whole run's time is the time of its parts, without what a kill undid after the last checkpoint.
    Where the folder has no room left in the end, the row is kept in the system's temporary folder.
    `--trainer.fast_dev_run` is a check of the code, not a trial: nothing is
    written then.
    """

    def __init__(
        self,
        *,
        folder: Path = Path("runs/trials"),
        study: str = "fullscale",
        workload: str | None = None,
    ) -> None:
        """Say where to.

        Args:
            folder: of the trial table; made when the trial is written.
            study: the search that the trial belongs to.
            workload: what a fit takes together with other trials, for example those of a sweep;
                data and network, as in digits_mlp, when not given.
        """
        self._folder = folder
        self._study = study
        self._workload = workload
        self._curve: list[Evaluation] = []
        self._start: float | None = None
        self._provenance: Provenance | None = None
        self._written = False
        self._earlier_s = 0.0
        self._name = "trials-" + secrets.token_hex(8)
        self.path: Path | None = None
        self._records = False

    @property
    def metrics_path(self) -> Path | None:
        """Where the run's evaluations are noted as they come; None where nothing is written."""
        return self._folder / f"{self._name}.metrics.csv" if self._records else None

    def prepare_run(self, trainer: Trainer) -> None:
        """Make the folder and try to write into it, before hours are spent.

        Args:
            trainer: rank zero's one tries.

        Raises:
            InputError: where the folder can't be written.
        """
        self._records = trainer.is_global_zero and not getattr(trainer, "fast_dev_run", False)
        if not self._records:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._folder):
                pass
        except OSError as error:
            raise InputError(f"--record.folder {self._folder} can't be written: {error}") from error

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        assert isinstance(pl_module, Classifier)
        self._provenance = collect_provenance(device=_device(trainer))
        self._start = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs to record the whole; empty before the start."""
        if self._start is None or self._provenance is None:
            return {}
        return {
            "name": self._name,
            "curve": [asdict(point) for point in self._curve],
            "wall_time_s": self.wall_time_s(),
            "start_time": self._provenance.start_time.isoformat(),
            "commit": self._provenance.commit,
            "dirty": self._provenance.dirty,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the record of an earlier part.

        Args:
            state_dict: of that part.
        """
        assert self._provenance is not None
        self._name = state_dict["name"]
        self._curve = [Evaluation(**point) for point in state_dict["curve"]]
        self._earlier_s = state_dict["wall_time_s"]
        here = self._provenance
        self._provenance = replace(
            here,
            start_time=datetime.fromisoformat(state_dict["start_time"]),
            # One commit stands for the run: parts of different code are not a clean checkout.
            dirty=here.dirty or state_dict["dirty"] or here.commit != state_dict["commit"],
        )

    def wall_time_s(self) -> float:
        """Return the time spent on the run so far, earlier parts included."""
        assert self._start is not None
        return self._earlier_s + time.perf_counter() - self._start

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the evaluation."""
        assert isinstance(pl_module, Classifier)
        if pl_module.evaluation is not None and not trainer.sanity_checking:
            self._curve.append(pl_module.evaluation)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write, after a run that came to its end."""
        assert isinstance(pl_module, Classifier)
        if (
            pl_module.status == "not_reached"
            and trainer.global_step < pl_module.data.plan.stop_steps
        ):
            # Another callback, a time limit for example, ended the run before its plan did.
            pl_module.status = "interrupted"
        self._write(trainer, pl_module)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Write what there is; the exception goes on whatever happens here."""
        assert isinstance(pl_module, Classifier)
        if self._start is None or self._written:
            return
        pl_module.status = "interrupted"
        try:
            self._write(trainer, pl_module)
        except Exception as second:  # noqa: BLE001 - the first error is the one to be seen
            print(f"warning: {second}", file=sys.stderr)

    def _write(self, trainer: Trainer, module: Classifier) -> None:
        self._written = True
        if not self._records:
            return
        trial = self._trial(trainer, module)
        try:
            self.path = write_trials(self._folder, [trial], name=self._name)
        except OSError as error:
            raise RecordError(f"the trial was not recorded: {error}{self._kept(trial)}") from error

    def _kept(self, trial: Trial) -> str:
        """Write a trial where there may be room, and say so: a run's hours are in it."""
        try:
            path = write_trials(Path(tempfile.gettempdir()), [trial], name=self._name)
        except OSError:
            return ""
        return f"; it is kept in {path}, move it there"

    def _trial(self, trainer: Trainer, module: Classifier) -> Trial:
        assert self._provenance is not None
        data, layout = module.data, module.data.plan.layout
        return Trial(
            study=self._study,
            workload=self._workload or _workload(module),
            dataset=data.dataset,
            num_train_examples=data.plan.num_train_examples,
            model=module.name,
            num_parameters=count_parameters(module.network),
            optimizer=module.rule.name,
            hyper_parameters=hyper_parameters(module),
            settings=settings(trainer, module),
            batch_size=layout.global_batch_size,
            seed=data.seed,
            target=str(module.target),
            status=module.status,
            steps=trainer.global_step,
            examples=data.plan.examples(trainer.global_step),
            wall_time_s=self.wall_time_s(),
            curve_steps=[point.steps for point in self._curve],
            curve_train_loss=[point.train_loss for point in self._curve],
            curve_validation_loss=[point.validation_loss for point in self._curve],
            curve_validation_accuracy=[point.validation_accuracy for point in self._curve],
            commit=self._provenance.commit,
            dirty=self._provenance.dirty,
            versions=self._provenance.versions,
            device=self._provenance.device,
            start_time=self._provenance.start_time,
            measurements=measurements_of(trainer),
        )


def hyper_parameters(module: Classifier) -> dict[str, float]:
    """Return every number that the optimizer and the schedule have.

    Args:
        module: prepared.
    """
    schedule = module.schedule
    return {
        "learning_rate": module.learning_rate,
        **module.numbers,
        "warmup_steps": float(schedule.warmup_steps),
        "num_train_steps": float(schedule.num_train_steps),
        "end_learning_rate": schedule.end * module.learning_rate,
        **schedule.shape_numbers,
        **module.loss.numbers(),
    }


def _workload(module: Classifier) -> str:
    """Return the workload's name; a growing batch has no place among those of one batch size."""
    name = f"{module.data.dataset}_{module.name}"
    return f"{name}_growing_batch" if module.data.plan.grows else name


def settings(trainer: Trainer, module: Classifier) -> dict[str, str]:
    """Return choices that are words; nothing about the hardware, so the trial's name has none.

    Args:
        trainer: of the run.
        module: prepared.
    """
    chosen: dict[str, Any] = {
        "schedule": module.schedule_name,
        "train_duration": module.train_duration,
        "warmup": module.warmup,
        "evaluate_every": module.data.evaluate_every,
        "precision": trainer.precision,
        # Not an evaluation of its own over the training set, as in the sweeps.
        "train_loss": "running mean since the evaluation before",
        **module.data.choices,
        **module.gradient_hook,
        **module.averaging,
    }
    if module.batch_norm_span is not None:
        chosen["batch_norm_span"] = module.batch_norm_span
    for name, words in vars(module.parameter_groups).items():
        if words != USUAL:
            chosen[name] = words
    if not module.batch_norm_moving_averages:
        chosen["batch_norm_moving_averages"] = False
    if module.settings.zero_init_last_batch_norm:
        chosen["zero_init_last_batch_norm"] = True
    if module.data.plan.grows and not module.data.plan.growth.with_decay:
        chosen["growth_scaling"] = module.rate.growth_scaling
    if trainer.gradient_clip_val:
        chosen["gradient_clip"] = f"{trainer.gradient_clip_val:g}"
        if trainer.gradient_clip_algorithm is not None:
            chosen["gradient_clip"] += f" by {trainer.gradient_clip_algorithm.value}"
    if trainer.limit_val_batches != 1.0:
        chosen["limit_val_batches"] = trainer.limit_val_batches
    return {name: str(value) for name, value in chosen.items()}


def _device(trainer: Trainer) -> str:
    """Describe what computes, for example `x86_64, 2 cores; 2 processes`."""
    if trainer.strategy.root_device.type == "cuda":
        import torch  # the name of a GPU is torch's to know

        name = torch.cuda.get_device_name(trainer.strategy.root_device)
    else:
        name = collect_provenance().device
    return f"{name}; {trainer.num_nodes} nodes x {trainer.num_devices} processes"

"""MLPerf's training log of a run: `:::MLLOG` lines, as its compliance checker reads them.

Source: mlcommons/logging, rule set 4.0.0, ResNet (the last with ResNet). Here are the events as
they come; what the log says about data, batch and optimizer is in `mlperf_values.py`. A resumed
run's log is one log: it begins with the lines up to the checkpoint.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from lightning.pytorch import Callback, LightningModule, Trainer

from fullscale.callbacks.line_file import LineFile
from fullscale.callbacks.mlperf_values import Value
from fullscale.callbacks.mlperf_values import broken_rules as broken_rules
from fullscale.callbacks.mlperf_values import model_values as model_values
from fullscale.module import Classifier
from models_of_scaling.errors import InputError
from models_of_scaling.provenance import collect_provenance

_EVENTS: Final = {"start": "INTERVAL_START", "stop": "INTERVAL_END"}


class MLPerfLog(Callback):
    """Writes the log on rank zero. It must come before what saves."""

    def __init__(
        self,
        *,
        file: Path | None = None,
        org: str = "",
        platform: str = "",
        division: Literal["closed", "open"] = "closed",
        submission_status: Literal["cloud", "onprem", "preview", "research"] = "research",
        cache_cleared: bool = False,
    ) -> None:
        """Say where to and who submits.

        Args:
            file: of the log; written anew. Without one there is no log.
            org: who submits.
            platform: what it runs on; the device's description when not given.
            division: closed or open.
            submission_status: cloud, onprem, preview or research.
            cache_cleared: whether you have cleared the system's caches before this run.

        Raises:
            InputError: where the log has no submitter.
        """
        if file is not None and not org:
            raise InputError(f"--mlperf_log.org is missing: {file} must say who submits")
        self._file = None if file is None else LineFile(file)
        self._submission: dict[str, Value] = {
            "submission_benchmark": "resnet",
            "submission_division": division,
            "submission_org": org,
            "submission_platform": platform or collect_provenance().device,
            "submission_status": submission_status,
        }
        self._cache_cleared = cache_cleared
        self._init_start_s = time.time()
        self._lines: list[str] = []
        self._block_steps = -1
        self._writes = False
        if file is None:
            # Nothing to do at any step: not even a call.
            vars(self)["on_train_batch_start"] = None

    def prepare_run(self, trainer: Trainer, module: Classifier) -> None:
        """Try the file, before hours are spent.

        Args:
            trainer: rank zero's one writes.
            module: prepared.

        Raises:
            InputError: where the file can't be written, or has no words for the run.
        """
        if self._file is not None:
            if module.data.plan.grows:
                raise InputError(
                    "--mlperf_log.file: its log has one batch size; here the batch grows"
                )
            model_values(module)
        self._writes = (
            self._file is not None
            and trainer.is_global_zero
            and not getattr(trainer, "fast_dev_run", False)
        )
        if self._file is None or not self._writes:
            return
        try:
            self._file.path.parent.mkdir(parents=True, exist_ok=True)
            self._file.path.touch()
        except OSError as error:
            raise InputError(
                f"--mlperf_log.file {self._file.path} can't be written: {error}"
            ) from error

    def state_dict(self) -> dict[str, Any]:
        """Return the lines so far."""
        return {"lines": list(self._lines), "block_steps": self._block_steps} if self._lines else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the log of an earlier part.

        Args:
            state_dict: of that part.
        """
        self._lines = list(state_dict["lines"])
        self._block_steps = state_dict["block_steps"]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Everything is ready and no example was touched: the clock starts."""
        assert isinstance(pl_module, Classifier)
        if self._file is None or not self._writes:
            return
        if not self._lines:
            described = model_values(pl_module)
            for rule in broken_rules(described):
                print(f"warning: {self._file.path}: the closed division refuses {rule}", flush=True)
            # First of all lines: the limit on the time of preparation counts from it.
            self._note("init_start", at_s=self._init_start_s)
            self._note("cache_clear", self._cache_cleared)
            for key, value in (self._submission | described).items():
                self._note(key, value)
            self._note("init_stop")
            self._note("run_start")
            self._begin_block(trainer, pl_module)
        self._file.begin(self._lines)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """After an evaluation: the next block."""
        if self._writes and self._block_steps < 0:
            assert isinstance(pl_module, Classifier)
            written = len(self._lines)
            self._begin_block(trainer, pl_module)
            self._append(written)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The block ends, the evaluation begins."""
        assert isinstance(pl_module, Classifier)
        if not self._writes or trainer.sanity_checking:
            return
        written = len(self._lines)
        self._end_block(pl_module)
        self._note("eval_start", metadata={"epoch_num": _epoch(pl_module, trainer.global_step)})
        self._append(written)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The evaluation ends."""
        assert isinstance(pl_module, Classifier)
        if not self._writes or trainer.sanity_checking or pl_module.evaluation is None:
            return
        written = len(self._lines)
        metadata = {"epoch_num": _epoch(pl_module, trainer.global_step)}
        accuracy = pl_module.evaluation.validation_accuracy
        self._note("eval_accuracy", accuracy, metadata=metadata)
        self._note("eval_stop", metadata=metadata)
        self._append(written)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The clock stops."""
        self._stop(pl_module)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """The run was cut short."""
        self._stop(pl_module)

    def _stop(self, module: LightningModule) -> None:
        assert isinstance(module, Classifier)
        if not self._writes or not self._lines:
            return
        written = len(self._lines)
        self._end_block(module)
        status = "success" if module.status == "reached" else "aborted"
        self._note("run_stop", metadata={"status": status})
        self._append(written)
        self._writes = False

    def _begin_block(self, trainer: Trainer, module: Classifier) -> None:
        plan = module.data.plan
        self._block_steps = trainer.global_step
        steps = min(
            plan.evaluate_every_steps - trainer.global_step % plan.evaluate_every_steps,
            plan.stop_steps - trainer.global_step,
        )
        self._note(
            "block_start",
            metadata={
                "first_epoch_num": _epoch(module, trainer.global_step),
                "epoch_count": _epoch(module, steps),
            },
        )

    def _end_block(self, module: Classifier) -> None:
        if self._block_steps >= 0:
            self._note(
                "block_stop", metadata={"first_epoch_num": _epoch(module, self._block_steps)}
            )
            self._block_steps = -1

    def _note(
        self,
        key: str,
        value: Value | None = None,
        *,
        metadata: Mapping[str, Any] | None = None,
        at_s: float | None = None,
    ) -> None:
        self._lines.append(
            ":::MLLOG "
            + json.dumps({
                "namespace": "",
                "time_ms": round(1000 * (time.time() if at_s is None else at_s)),
                "event_type": _EVENTS.get(key.rpartition("_")[2], "POINT_IN_TIME"),
                "key": key,
                "value": value,
                "metadata": dict(metadata or {}),
            })
        )

    def _append(self, written: int) -> None:
        assert self._file is not None
        self._file.add(self._lines[written:])


def _epoch(module: Classifier, steps: int) -> float:
    """Return passes over the training set, whole ones as whole numbers."""
    plan = module.data.plan
    epochs = round(steps * plan.layout.global_batch_size / plan.num_train_examples, 4)
    return int(epochs) if epochs == int(epochs) else epochs

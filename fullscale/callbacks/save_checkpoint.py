"""Saves a run so that it can go on from any optimizer step, on any number of processes.

A run is one stream of examples, so where it stands in its data is one number, the steps done:
another world size or another per-device batch cuts the same stream anew. Lightning's own checkpoint
counts the forwards of one world size instead, which is why this one is not Lightning's.

Saved: network, optimizer, schedule, the precision's scaler, what the module and every callback
return from `on_save_checkpoint` and `state_dict`, the random state of each rank. Saving happens at
step boundaries only, never inside a signal handler.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer

from fullscale.batch_growth import BatchPhase, BatchPhases
from fullscale.callbacks.run_state import (
    collect_state,
    identity,
    put_back_state,
    set_progress,
)
from fullscale.checkpoints.files import (
    Checkpoint,
    CheckpointError,
    DamagedCheckpointError,
    Header,
    keep_newest,
    list_checkpoints,
    newest_good,
    read_checkpoint,
    steps_of,
    write_checkpoint,
)
from fullscale.checkpoints.identity import first_difference
from fullscale.checkpoints.random_state import draws_random_numbers
from fullscale.durations import Duration
from fullscale.module import Classifier
from fullscale.run_plan import RunPlan
from models_of_scaling.errors import InputError


class RunEndedError(RuntimeError):
    """The checkpoint is that of a run that came to its end: there is nothing to do."""


class SaveCheckpoint(Callback):
    """Saves at a settable rhythm, when told to stop and at the end; resumes at the start.

    It must come after the callbacks that judge and record a step.
    """

    def __init__(
        self,
        *,
        folder: Path | None = None,
        every: str = "1 epochs",
        keep: int = 2,
        resume: str = "auto",
        requeue: Literal["usr1_or_term", "usr1", "never"] = "usr1_or_term",
    ) -> None:
        """Say where to, how often, and from where to go on.

        Args:
            folder: of this run's checkpoints, seen by rank 0; without one nothing is saved.
            every: time between checkpoints, for example "1 epochs" or "100 steps".
            keep: newest checkpoints that are kept, at least 1; with 1 a damaged file leaves none.
            resume: auto goes on from the folder's newest sound checkpoint, or starts where there is
                none; never starts anew; or the path of a checkpoint.
            requeue: under SLURM, the signals after which the job is put back into the queue.

        Raises:
            InputError: where keep is below 1.
        """
        if keep < 1:
            raise InputError(f"--checkpoint.keep {keep} must be at least 1")
        self._folder = folder
        self._every = every
        self._keep = keep
        self._resume = resume
        self.requeue = requeue
        self._every_steps = 0
        self._rhythm = Duration(amount=1, unit="epochs")
        self._identity: dict[str, Any] = {}
        self._found: Checkpoint | None = None
        self._header: Header | None = None
        self._saved_by = 0
        self._at_boundary = True
        self._after_evaluation = False
        self._saved: tuple[int, str] | None = None
        self.path: Path | None = None

    def prepare_run(self, trainer: Trainer, module: Classifier) -> None:
        """Check the flags, choose the checkpoint to go on from, and compare it with the run.

        Only rank zero reads and writes files: the folder need not be shared.

        Args:
            trainer: not yet run.
            module: prepared.

        Raises:
            InputError: where a flag is wrong, the folder can't be written, or the checkpoint is of
                another run.
        """
        plan = module.data.plan
        self._rhythm = Duration.parse(self._every, flag="--checkpoint.every")
        self._every_steps = self._rhythm.to_steps(
            batch_size=plan.layout.global_batch_size, num_train_examples=plan.num_train_examples
        )
        if self._every_steps < 1:
            raise InputError(
                f"--checkpoint.every {self._every!r} must be at least one optimizer step"
            )
        if getattr(trainer, "fast_dev_run", False):
            self._folder, self._resume = None, "never"
        if not trainer.is_global_zero:
            return
        # Now: a strategy may wrap the network and name its tensors anew.
        self._identity = identity(trainer, module)
        self._found = self._choose()
        if self._found is not None:
            differs = first_difference(self._found.header.identity, self._identity)
            if differs is not None:
                raise InputError(
                    f"checkpoint {self._found.path} is of another run: {differs}; give "
                    "another --checkpoint.folder, or the settings of that run"
                )
        if self._folder is not None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=self._folder):
                    pass
            except OSError as error:
                raise InputError(
                    f"--checkpoint.folder {self._folder} can't be written: {error}"
                ) from error

    def _choose(self) -> Checkpoint | None:
        present = list_checkpoints(self._folder) if self._folder is not None else []
        if self._resume == "never":
            if present:
                raise InputError(
                    f"--checkpoint.resume never: --checkpoint.folder {self._folder} holds "
                    f"{present[0].name} already; give an empty folder"
                )
            return None
        if self._resume == "auto":
            found, warnings = newest_good(self._folder) if self._folder else (None, [])
            for line in warnings:
                print(f"warning: {line}", file=sys.stderr)
            return found
        path = Path(self._resume)
        try:
            found = read_checkpoint(path)
        except DamagedCheckpointError as error:
            raise InputError(f"--checkpoint.resume {path} {error}") from error
        if present and steps_of(present[0]) > found.header.steps:
            raise InputError(
                f"--checkpoint.resume {path}: --checkpoint.folder holds a later one, {present[0]}; "
                "move it away or give another folder"
            )
        return found

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let all ranks know where the run goes on, before their data are laid out.

        Raises:
            RunEndedError: where the run had ended by itself.
        """
        assert isinstance(pl_module, Classifier)
        here = None
        if self._found is not None:
            phases = self._found.state["module"].get("phases")
            here = self._found.header, str(self._found.path), phases
        told = trainer.strategy.broadcast(here)
        if told is None:
            return
        self._header, path, phases = told
        if pl_module.data.plan.growth.by_noise:
            decided = (
                BatchPhase(first_step=step, first_example=example, batch_size=size)
                for step, example, size in phases
            )
            pl_module.data.use_phases(BatchPhases(tuple(decided)))
        if self._header.status == "reached" or (
            self._header.steps >= pl_module.data.plan.stop_steps
        ):
            raise RunEndedError(
                f"this run ended before: {self._header.status} after {self._header.steps} steps "
                f"({path}); nothing to do"
            )
        pl_module.data.first_step = self._header.steps

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put everything back."""
        assert isinstance(pl_module, Classifier)
        if self._header is not None:
            state = {} if self._found is None else self._found.state
            self._saved_by = put_back_state(trainer, pl_module, state)
            set_progress(trainer, self._header.steps)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After the lines that say what is run: say from where, and evaluate what was cut off."""
        assert isinstance(pl_module, Classifier)
        if self._header is None:
            return
        if self._found is not None:
            print(f"resumed after step {self._header.steps}, from {self._found.path}", flush=True)
            if self._saved_by != trainer.world_size and draws_random_numbers(pl_module.network):
                print(
                    f"warning: saved by {self._saved_by} processes, resumed by "
                    f"{trainer.world_size}: the network's random draws are others from here on",
                    file=sys.stderr,
                )
        # Host memory of the size of the network and its optimizer.
        self._found = None
        if self._header.evaluation_due:
            trainer.validating = True
            trainer.fit_loop.epoch_loop.val_loop.run()
            trainer.training = True

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """At a step boundary: save where it is time, or where the run was told to stop."""
        assert isinstance(pl_module, Classifier)
        self._at_boundary = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if self._folder is None or not self._at_boundary or pl_module.status == "diverged":
            return
        plan, steps = pl_module.data.plan, trainer.global_step
        evaluated = plan.evaluation_is_due(steps)
        if pl_module.status == "interrupted":
            # StopAtTarget has called this step's evaluation off.
            self._save(trainer, pl_module, evaluation_due=evaluated)
        elif self._is_due(plan, steps) and steps < plan.stop_steps:
            if evaluated:
                self._after_evaluation = True
            else:
                self._save(trainer, pl_module)

    def _is_due(self, plan: RunPlan, steps: int) -> bool:
        if plan.grows:
            return plan.is_due(steps, self._rhythm)
        return steps % self._every_steps == 0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save what was put off, so that a resumed run needs no evaluation again."""
        assert isinstance(pl_module, Classifier)
        if self._after_evaluation:
            self._after_evaluation = False
            if pl_module.status != "reached":
                self._save(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the end, too: the trained network, and a sign that the run is over."""
        assert isinstance(pl_module, Classifier)
        if self._folder is not None and self._at_boundary and pl_module.status != "diverged":
            self._save(trainer, pl_module)
        if pl_module.status == "interrupted" and self.path is not None:
            print(f"saved in {self.path}; the same command goes on from there", flush=True)

    def _save(self, trainer: Trainer, module: Classifier, *, evaluation_due: bool = False) -> None:
        """Gather on all ranks, write on rank zero, fail on all ranks alike."""
        if self._saved == (trainer.global_step, module.status):
            return
        state = collect_state(trainer, module)
        outcome = None
        if trainer.is_global_zero:
            assert self._folder is not None
            header = Header(
                steps=trainer.global_step,
                evaluation_due=evaluation_due,
                status=module.status,
                identity=self._identity,
            )
            try:
                self.path = write_checkpoint(self._folder, header, state)
                keep_newest(self._folder, keep=self._keep, steps=header.steps)
            except (CheckpointError, OSError) as error:
                outcome = str(error)
        outcome = trainer.strategy.broadcast(outcome)
        if outcome is not None:
            raise CheckpointError(outcome)
        self._saved = (trainer.global_step, module.status)

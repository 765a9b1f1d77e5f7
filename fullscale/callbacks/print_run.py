"""Prints what a run is before it starts, each evaluation, and how it ended."""

from lightning.pytorch import Callback, LightningModule, Trainer

from fullscale.callbacks.record_trial import RecordTrial
from fullscale.models import count_parameters
from fullscale.module import Classifier
from models_of_scaling.provenance import collect_provenance


def describe_run(trainer: Trainer, module: Classifier) -> list[str]:
    """Return the first lines of a run.

    Args:
        trainer: about to train.
        module: prepared.

    Returns:
        One statement a line.
    """
    plan, layout, schedule = module.data.plan, module.data.plan.layout, module.schedule
    code = collect_provenance()
    numbers = ", ".join(f"{name} {value:g}" for name, value in module.numbers.items())
    stops = "" if plan.stop_steps == plan.num_train_steps else f", stopped at {plan.stop_steps}"
    return [
        f"batch   {layout.global_batch_size} = {layout.per_device_batch_size} per device"
        f" x {layout.world_size} devices x {layout.accumulate_grad_batches} accumulation"
        + (
            ""
            if layout.per_device_batch_size * layout.world_size * layout.accumulate_grad_batches
            == layout.global_batch_size
            else " (at most; shares differ, each example weighs 1/B)"
        ),
        f"model   {module.name}, {count_parameters(module.network):,} parameters, on"
        f" {module.data.dataset}, {plan.num_train_examples:,} examples",
        f"rate    {module.rule.name} ({numbers}), peak {module.learning_rate:g} after"
        f" {schedule.warmup_steps} warm-up steps, then decay of power {schedule.decay_power:g}",
        f"length  {plan.num_train_steps} steps = {plan.epochs:g} epochs{stops};"
        f" evaluated every {plan.evaluate_every_steps} steps",
        f"target  {module.target}",
        f"seed    {module.data.seed} (data order); commit {code.commit[:12]}"
        + (", with changes" if code.dirty else ""),
    ]


class PrintRun(Callback):
    """Plain lines on standard output, by rank zero."""

    def __init__(self, record: RecordTrial) -> None:
        """Know the recorder.

        Args:
            record: names the file at the end.
        """
        self._record = record

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what is run."""
        assert isinstance(pl_module, Classifier)
        if trainer.is_global_zero:
            print("\n".join(describe_run(trainer, pl_module)), flush=True)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say how it goes."""
        assert isinstance(pl_module, Classifier)
        point = pl_module.evaluation
        if point is None or trainer.sanity_checking or not trainer.is_global_zero:
            return
        plan = pl_module.data.plan
        epochs = point.steps * plan.layout.global_batch_size / plan.num_train_examples
        print(
            f"step {point.steps:6d}  epoch {epochs:7.2f}  train_loss {point.train_loss:.4f}"
            f"  validation_loss {point.validation_loss:.4f}"
            f"  validation_accuracy {point.validation_accuracy:.4f}",
            flush=True,
        )

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say how it ended."""
        self._print_end(trainer, pl_module)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Say that it was cut short, where it had started."""
        if self._record.path is not None:
            self._print_end(trainer, pl_module)

    def _print_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        if trainer.is_global_zero:
            examples = trainer.global_step * pl_module.data.plan.layout.global_batch_size
            where = self._record.path or "not recorded"
            print(
                f"{pl_module.status}: {trainer.global_step} steps, {examples:,} examples; {where}",
                flush=True,
            )

"""Prints what a run is before it starts, each evaluation, and how it ended."""

from lightning.pytorch import Callback, LightningModule, Trainer

from fullscale.batch_norm import has_batch_norm
from fullscale.callbacks.record_trial import RecordTrial
from fullscale.callbacks.throughput import Throughput
from fullscale.models import count_parameters
from fullscale.module import Classifier
from fullscale.schedules import WarmupPolynomial
from models_of_scaling.provenance import collect_provenance


def describe_run(module: Classifier) -> list[str]:
    """Return the first lines of a run.

    Args:
        module: prepared.

    Returns:
        One statement a line.
    """
    plan, layout, schedule = module.data.plan, module.data.plan.layout, module.schedule
    code = collect_provenance()
    numbers = ", ".join(f"{name} {value:g}" for name, value in module.numbers.items())
    stops = "" if plan.stop_steps == plan.num_train_steps else f", stopped at {plan.stop_steps}"
    even = layout.per_device_batch_size * layout.world_size * layout.accumulate_grad_batches
    copies = module.data.copies
    return [
        f"batch   {layout.global_batch_size} = {layout.per_device_batch_size} per device"
        f" x {layout.world_size} devices x {layout.accumulate_grad_batches} accumulation"
        + (f", each on {copies} devices that share the head" if copies > 1 else "")
        + (
            ""
            if even == layout.global_batch_size
            else " (at most; shares differ, each example weighs 1/B)"
        ),
        f"model   {module.name}, {count_parameters(module.network):,} parameters,"
        f" {_describe_batch_norm(module)}; {module.data.dataset},"
        f" {plan.num_train_examples:,} examples",
        f"rate    {module.rule.name} ({numbers}), peak {module.learning_rate:g} after"
        f" {schedule.warmup_steps} warm-up steps, then {_describe_schedule(module)}",
        f"length  {plan.num_train_steps} steps = {plan.epochs:g} epochs{stops}, or to"
        f" {module.target}; evaluated every {plan.evaluate_every_steps} steps",
        *_describe_growth(module),
        f"seed    {module.data.seed} (data order); commit {code.commit[:12]}"
        + (", with changes" if code.dirty else ""),
        f"groups  {module.parameter_groups.describe(module.network)}",
    ]


def _describe_growth(module: Classifier) -> list[str]:
    """Return the line on a batch that grows, where it does."""
    plan = module.data.plan
    if not plan.grows:
        return []
    scale = plan.layout.global_batch_size
    if plan.growth.by_noise:
        words = module.data.noise_growth.get("grow_by_noise", "by measured noise")
        return [f"growth  {words}; steps of the schedule are those of batch size {scale}"]
    phases = ", ".join(
        f"{phase.batch_size} from step {phase.first_step} at rate"
        f" {module.rate_of_step(phase.first_step):g}"
        for phase in plan.phases.phases[1:]
    )
    return [
        f"growth  {phases}; steps of the schedule are those of batch size"
        f" {plan.layout.global_batch_size}"
    ]


def _describe_schedule(module: Classifier) -> str:
    if isinstance(module.schedule, WarmupPolynomial):
        return f"decay of power {module.schedule.decay_power:g}"
    numbers = (
        f"{name} {value:g}" for name, value in module.schedule.shape_numbers.items() if value
    )
    return ", ".join([module.schedule_name.replace("_", " "), *numbers])


def _describe_batch_norm(module: Classifier) -> str:
    layout = module.data.plan.layout
    if not has_batch_norm(module.network):
        return "no batch norm"
    averages = "" if module.batch_norm_moving_averages else ", without moving averages"
    if layout.batch_norm_span is None:
        return f"batch norm over each forward, which changes with the devices{averages}"
    uneven = " or one fewer" if layout.global_batch_size % layout.num_groups else ""
    size = -(-layout.global_batch_size // layout.num_groups)
    ranks = layout.ranks_per_group
    where = f", {ranks} devices together" if ranks > 1 else ""
    return f"batch norm over {size} examples{uneven}{where}{averages}"


class PrintRun(Callback):
    """Plain lines on standard output, by rank zero."""

    def __init__(self, record: RecordTrial, throughput: Throughput) -> None:
        """Know the sources.

        Args:
            record: names the file at the end.
            throughput: knows the speed.
        """
        self._record = record
        self._throughput = throughput

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what is run."""
        assert isinstance(pl_module, Classifier)
        if trainer.is_global_zero:
            print("\n".join(describe_run(pl_module)), flush=True)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say how it goes."""
        assert isinstance(pl_module, Classifier)
        point = pl_module.evaluation
        if point is None or trainer.sanity_checking or not trainer.is_global_zero:
            return
        plan = pl_module.data.plan
        speed = self._throughput.latest
        epochs = plan.examples(point.steps) / plan.num_train_examples
        print(
            f"step {point.steps:6d}  epoch {epochs:7.2f}  train_loss {point.train_loss:.4f}"
            f"  validation_loss {point.validation_loss:.4f}"
            f"  validation_accuracy {point.validation_accuracy:.4f}"
            + (f"  images/s {speed.images_per_s:.0f}" if speed.steps else ""),
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
            examples = pl_module.data.plan.examples(trainer.global_step)
            where = self._record.path or "not recorded"
            speed = self._throughput.total
            if speed.steps:
                print(
                    f"speed   {speed.images_per_s:.0f} images/s, "
                    f"{speed.images_per_s_per_device:.0f} per device; {speed.step_time_s:.3g} s per"
                    f" step (mean of {speed.steps}, without the first"
                    f" {self._throughput.warmup_steps}, evaluations and checkpoints)"
                )
            print(
                f"{pl_module.status}: {trainer.global_step} steps, {examples:,} examples; {where}",
                flush=True,
            )

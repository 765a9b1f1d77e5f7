"""Gives DDP one of torch's communication hooks, and averages weights for post-local SGD."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch.distributed.algorithms.model_averaging.utils import average_parameters
from torch.nn.parallel import DistributedDataParallel

from fullscale.communication import Hook, HookSettings, make_hook
from fullscale.module import Classifier
from models_of_scaling.errors import InputError


class CommunicationHook(Callback):
    """Registers a hook before the first step; Lightning's own flag does so on GPUs only."""

    def __init__(
        self,
        *,
        hook: Hook = "none",
        start_steps: int = 100,
        rank: int = 1,
        averaging_period_steps: int = 4,
        group_size: int = 1,
    ) -> None:
        """Choose; anything but none gives up the exact sum over the global batch.

        Args:
            hook: none, fp16, bf16, powersgd or post_local_sgd.
            start_steps: steps with exact sums before powersgd or post_local_sgd begins.
            rank: of powersgd's approximation.
            averaging_period_steps: steps between two averages of post_local_sgd's weights.
            group_size: processes whose gradients post_local_sgd still averages at each step.
        """
        self.settings = HookSettings(
            hook=hook,
            start_steps=start_steps,
            rank=rank,
            averaging_period_steps=averaging_period_steps,
            group_size=group_size,
        )
        self._steps_seen = 0

    def prepare_run(self, trainer: Trainer, module: Classifier) -> None:
        """Check the hook against the rest of the run.

        Args:
            trainer: not yet run.
            module: prepared.

        Raises:
            InputError: naming the flag, the value and the rule.
        """
        settings, flag = self.settings, f"--comm.hook {self.settings.hook}"
        if settings.hook == "none":
            return
        if not isinstance(trainer.strategy, DDPStrategy):
            raise InputError(f"{flag} needs --trainer.strategy ddp and at least two processes")
        if settings.hook == "bf16" and trainer.strategy.root_device.type != "cuda":
            raise InputError(f"{flag} needs GPUs: torch's hook knows NCCL only; fp16 runs on both")
        module.gradient_hook = settings.choices()
        if settings.hook != "post_local_sgd":
            return
        world_size = trainer.num_nodes * trainer.num_devices
        if world_size % settings.group_size:
            raise InputError(
                f"--comm.group_size {settings.group_size} must divide the {world_size} processes"
            )
        if module.data.plan.grows:
            raise InputError(f"{flag} does not go together with a batch that grows")
        every = module.data.plan.evaluate_every_steps
        if every % settings.averaging_period_steps or (
            settings.start_steps % settings.averaging_period_steps
        ):
            raise InputError(
                f"{flag}: between two averages processes hold different weights, so "
                f"--data.evaluate_every ({every} steps) and --comm.start_steps "
                f"({settings.start_steps}) must be multiples of --comm.averaging_period_steps "
                f"({settings.averaging_period_steps})"
            )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Register, where there is one."""
        chosen = make_hook(self.settings) if self.settings.hook != "none" else None
        if chosen is not None:
            assert isinstance(trainer.strategy.model, DistributedDataParallel)
            trainer.strategy.model.register_comm_hook(*chosen)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        """Average the weights over all processes: every period, and after the last step."""
        settings, steps = self.settings, trainer.global_step
        if settings.hook != "post_local_sgd" or steps == self._steps_seen:
            return
        self._steps_seen = steps
        assert isinstance(pl_module, Classifier)
        last = steps >= pl_module.data.plan.stop_steps
        if steps > settings.start_steps and (last or steps % settings.averaging_period_steps == 0):
            average_parameters(pl_module.network.parameters(), None)  # type: ignore[arg-type]

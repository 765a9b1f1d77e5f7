"""Gives DDP one of torch's communication hooks, and averages weights: post-local SGD and SWAP."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from fullscale.communication import Hook, HookSettings, average_over_processes, make_hook
from fullscale.data.micro_batches import WorkerOrders
from fullscale.module import Classifier
from fullscale.strategies import RunProcesses
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
            hook: none, fp16, bf16, powersgd, post_local_sgd or swap.
            start_steps: steps with exact sums before powersgd, post_local_sgd or swap begins; 0 for
                local SGD from the start.
            rank: of powersgd's approximation.
            averaging_period_steps: steps between two averages of post_local_sgd's weights.
            group_size: processes whose gradients post_local_sgd and swap still average at each
                step.
        """
        self.settings = HookSettings(
            hook=hook,
            start_steps=start_steps,
            rank=rank,
            averaging_period_steps=averaging_period_steps,
            group_size=group_size,
        )
        self._steps_seen = 0
        self._module: Classifier | None = None
        self._own: list[torch.Tensor] | None = None

    def prepare_run(self, processes: RunProcesses, module: Classifier) -> None:
        """Check the hook against the rest of the run.

        Args:
            processes: of the run, also of one that is only planned.
            module: prepared.

        Raises:
            InputError: naming the flag, the value and the rule.
        """
        settings, flag = self.settings, f"--comm.hook {self.settings.hook}"
        if settings.hook == "none":
            return
        if not processes.uses_ddp:
            raise InputError(f"{flag} needs --trainer.strategy ddp and at least two processes")
        if settings.hook == "bf16" and not processes.on_gpu:
            raise InputError(f"{flag} needs GPUs: torch's hook knows NCCL only; fp16 runs on both")
        module.gradient_hook = settings.choices()
        if settings.trains_apart:
            self._check_groups(processes.count, module)
        if settings.hook == "swap":
            module.averages_workers, module.workers_apart_after = True, settings.start_steps
            module.data.worker_orders = WorkerOrders(
                first_step=settings.start_steps, group_size=settings.group_size
            )
        if settings.trains_apart:
            self._check_steps(module)

    def _check_steps(self, module: Classifier) -> None:
        """Refuse evaluations of different weights, and a start that never comes."""
        settings, flag = self.settings, f"--comm.hook {self.settings.hook}"
        every = module.data.plan.evaluate_every_steps
        period = settings.averaging_period_steps if settings.hook == "post_local_sgd" else 1
        if every % period or settings.start_steps % period:
            raise InputError(
                f"{flag}: between two averages processes hold different weights, so "
                f"--data.evaluate_every ({every} steps) and --comm.start_steps "
                f"({settings.start_steps}) must be multiples of --comm.averaging_period_steps "
                f"({period})"
            )
        if settings.start_steps >= module.data.plan.num_train_steps:
            raise InputError(
                f"--comm.start_steps {settings.start_steps} must come before the run's "
                f"{module.data.plan.num_train_steps} steps are over"
            )

    def _check_groups(self, processes: int, module: Classifier) -> None:
        """Refuse what would let groups with different weights work together in a step."""
        flag, size = f"--comm.hook {self.settings.hook}", self.settings.group_size
        if processes % size:
            raise InputError(f"--comm.group_size {size} must divide the {processes} processes")
        plan = module.data.plan
        if plan.grows:
            raise InputError(f"{flag} does not go together with a batch that grows")
        if size % plan.layout.ranks_per_group:
            raise InputError(
                f"{flag}: --model.batch_norm_span {plan.layout.batch_norm_span} is shared by "
                f"{plan.layout.ranks_per_group} processes; --comm.group_size {size} must be a "
                "multiple of that"
            )
        if self.settings.hook == "swap" and plan.layout.global_batch_size % processes:
            raise InputError(
                f"{flag}: --data.global_batch_size {plan.layout.global_batch_size} must divide "
                f"over the {processes} processes: workers whose weights are averaged have equal "
                "batches"
            )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Register, where there is one; a resumed run's hook has seen the steps before."""
        assert isinstance(pl_module, Classifier)
        self._module = pl_module
        if self.settings.hook == "none":
            return
        chosen = make_hook(self.settings, steps_done=pl_module.data.first_step)
        if chosen is not None:
            assert isinstance(trainer.strategy.model, DistributedDataParallel)
            trainer.strategy.model.register_comm_hook(*chosen)

    def _is_apart(self, steps: int) -> bool:
        """Return whether processes may hold different weights after so many steps."""
        return self.settings.trains_apart and steps > self.settings.start_steps

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        """Average post-local SGD's weights: every period, and after the last step."""
        settings, steps = self.settings, trainer.global_step
        if settings.hook != "post_local_sgd" or steps == self._steps_seen:
            return
        self._steps_seen = steps
        assert isinstance(pl_module, Classifier)
        last = steps >= pl_module.data.plan.stop_steps
        if self._is_apart(steps) and (last or steps % settings.averaging_period_steps == 0):
            average_over_processes(pl_module.network)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate the mean of SWAP's workers."""
        assert isinstance(pl_module, Classifier)
        if self.settings.hook == "swap" and self._is_apart(trainer.global_step):
            self._own = [p.detach().clone() for p in pl_module.network.parameters()]
            average_over_processes(pl_module.network)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let SWAP's workers go on from their own weights; at the end the mean is what stays."""
        assert isinstance(pl_module, Classifier)
        if self._own is not None and not (trainer.should_stop or pl_module.status == "reached"):
            with torch.no_grad():
                for parameter, own in zip(pl_module.network.parameters(), self._own, strict=True):
                    parameter.copy_(own)
        self._own = None

    def state_dict(self) -> dict[str, Any]:
        """Return every process's weights and optimizer, on rank zero, where they may differ."""
        module = self._module
        if module is None or not self._is_apart(module.global_step):
            return {}
        ours = {
            "weights": [p.detach().cpu() for p in module.network.parameters()],
            "optimizer": module.trainer.optimizers[0].state_dict(),
        }
        gathered: list[Any] = [None] * distributed.get_world_size()
        distributed.gather_object(ours, gathered if distributed.get_rank() == 0 else None)
        return {"processes": gathered}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Give this process its own weights and optimizer back.

        Args:
            state_dict: of an earlier part of the run.

        Raises:
            InputError: where another number of processes saved it.
        """
        module, saved = self._module, state_dict["processes"]
        assert module is not None
        if len(saved) != distributed.get_world_size():
            raise InputError(
                f"--comm.hook {self.settings.hook}: the checkpoint has the weights of "
                f"{len(saved)} processes that train apart; resume with as many"
            )
        ours = saved[distributed.get_rank()]
        with torch.no_grad():
            for parameter, own in zip(module.network.parameters(), ours["weights"], strict=True):
                parameter.copy_(own)
        module.trainer.optimizers[0].load_state_dict(ours["optimizer"])

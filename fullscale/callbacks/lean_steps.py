"""Takes out of each step what Lightning does around it for nobody.

Lightning calls some fifty hooks a step, nearly all of them empty, each inside a profiler that is
off. That costs more than the step itself where the network is small. Nothing that computes is
changed: a hook that someone has written is called as before.
"""

import contextlib
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import Strategy

# Called at every forward or step, of callbacks and of the module alike.
_HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)
_NOTHING = contextlib.nullcontext()


class NoProfiler(PassThroughProfiler):
    """Lightning's profiler that is off, without a generator for every hook."""

    def profile(self, action_name: str) -> Any:
        """Return a context that does nothing.

        Args:
            action_name: of the hook.
        """
        return _NOTHING


class SkipEmptyHooks(Callback):
    """Keeps Lightning from calling hooks that nobody wrote: it skips what can't be called."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put None where a hook is Lightning's empty one; take its idle profiler out."""
        if type(trainer.profiler) is PassThroughProfiler:  # type: ignore[attr-defined]
            trainer.profiler = NoProfiler()  # type: ignore[attr-defined]
        for hook in _HOOKS:
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if getattr(type(callback), hook) is getattr(Callback, hook):
                    vars(callback).setdefault(hook, None)
            if getattr(type(pl_module), hook) is getattr(LightningModule, hook):
                vars(pl_module).setdefault(hook, None)
        empty = Strategy.on_train_batch_start
        if type(trainer.strategy).on_train_batch_start is empty:
            vars(trainer.strategy)["on_train_batch_start"] = None
        if trainer.gradient_clip_val is None:
            vars(pl_module)["configure_gradient_clipping"] = None

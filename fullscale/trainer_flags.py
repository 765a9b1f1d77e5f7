"""Trainer flags that would change what a step or a run is; standard library only."""

import math
from collections.abc import Mapping
from typing import Any

from models_of_scaling.errors import InputError

_BATCH = "--data.global_batch_size is the only batch input; accumulation follows from it"
_LENGTH = "a run ends at its target or after --model.train_duration"
# Flag: the values that leave a run as it is, and the rule that others break.
_FIXED: dict[str, tuple[tuple[Any, ...], str]] = {
    "accumulate_grad_batches": ((1,), _BATCH),
    "overfit_batches": ((0, 0.0), "which examples a step has depends on seed and position only"),
    "use_distributed_sampler": ((False,), "the data module cuts the batch over processes itself"),
    "reload_dataloaders_every_n_epochs": ((0,), "a run is one stream of examples"),
    "limit_train_batches": ((None, 1.0), "it may cut a step in two; use --trainer.max_steps"),
    "val_check_interval": ((None, 1.0), "use --data.evaluate_every"),
    "check_val_every_n_epoch": ((None, 1), "use --data.evaluate_every"),
    "min_epochs": ((None,), _LENGTH),
    "min_steps": ((None,), _LENGTH),
}


def refuse_conflicting_flags(trainer: Mapping[str, Any]) -> None:
    """Refuse Trainer flags that contradict the project's own, or that Lightning would take as off.

    Args:
        trainer: flag to value, as parsed.

    Raises:
        InputError: naming the flag, the value and the rule.
    """
    for flag, (allowed, rule) in _FIXED.items():
        value = trainer.get(flag, allowed[0])
        # bool is an int: 1 == True, so compare the type of booleans too.
        if value not in allowed or isinstance(value, bool) != isinstance(allowed[0], bool):
            raise InputError(f"--trainer.{flag} {value} is not supported: {rule}")
    clip = trainer.get("gradient_clip_val")
    if clip is not None and not 0 < clip < math.inf:
        raise InputError(f"--trainer.gradient_clip_val {clip:g} must be positive and finite")

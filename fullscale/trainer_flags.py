"""Trainer flags that would change what a step or a run is; standard library only."""

import math
import re
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
    "sync_batchnorm": ((False,), "use --model.batch_norm_span, which is the same on any devices"),
}
_PART_OF_VALIDATION = (
    "which images a part of the validation set has would follow from the devices; name them by "
    "--data.images"
)


def refuse_conflicting_flags(trainer: Mapping[str, Any], *, data_name: str) -> None:
    """Refuse Trainer flags that contradict the project's own, or that Lightning would take as off.

    Args:
        trainer: flag to value, as parsed.
        data_name: of synthetic images a part is as good as the whole.

    Raises:
        InputError: naming the flag, the value and the rule.
    """
    fixed = dict(_FIXED)
    if data_name != "synthetic":
        fixed["limit_val_batches"] = ((None, 1.0), _PART_OF_VALIDATION)
    for flag, (allowed, rule) in fixed.items():
        value = trainer.get(flag, allowed[0])
        # 1 == 1.0 == True, but 1 is one batch, 1.0 all of them and True no number.
        if not any(value == each and type(value) is type(each) for each in allowed):
            raise InputError(f"--trainer.{flag} {value} is not supported: {rule}")
    clip = trainer.get("gradient_clip_val")
    if clip is not None and not 0 < clip < math.inf:
        raise InputError(f"--trainer.gradient_clip_val {clip:g} must be positive and finite")


def check_planned_numbers(trainer: Mapping[str, Any]) -> None:
    """Refuse numbers of a dry run that the Trainer of the run itself would refuse.

    Args:
        trainer: flag to value, as parsed.

    Raises:
        InputError: naming the flag, the value and the rule.
    """
    lowest = {"num_nodes": 1, "max_steps": -1, "max_epochs": -1}
    for flag, least in lowest.items():
        value = trainer.get(flag)
        if isinstance(value, int) and value < least:
            raise InputError(f"--trainer.{flag} {value} must be at least {least}")
    devices = str(trainer.get("devices", "auto"))
    if re.fullmatch(r"-?\d+", devices) and int(devices) < 1 and int(devices) != -1:
        raise InputError(f"--trainer.devices {devices} must be at least 1, or -1 for all")

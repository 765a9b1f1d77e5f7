"""What MLPerf's log says about a run's data, batch and optimizer, and what its checker refuses.

Source: mlcommons/logging, rule set 4.0.0, ResNet: closed_resnet.yaml with its files for sgd and
lars. `model_values` gives the lines, `broken_rules` says which of them the closed division refuses.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType

from fullscale.module import Classifier
from fullscale.schedules import WarmupPolynomial
from models_of_scaling.errors import InputError

Value = str | int | float | bool
# Our optimizers by the checker's two words.
_METHODS = MappingProxyType({
    **dict.fromkeys(("sgd", "momentum", "nesterov"), "sgd"),
    **dict.fromkeys(("lars", "lars_mlperf", "lars_scaled_momentum"), "lars"),
})


def model_values(module: Classifier) -> dict[str, Value]:
    """Return what the log says about data, batch and optimizer.

    Args:
        module: prepared.

    Returns:
        Values by key.

    Raises:
        InputError: where the log has no words for the run's schedule or optimizer.
    """
    data, schedule = module.data, module.schedule
    layout = data.plan.layout
    if not isinstance(schedule, WarmupPolynomial):
        raise InputError(
            "--mlperf_log.file: its rules want --model.schedule polynomial, "
            f"not {module.schedule_name}"
        )
    method = _METHODS.get(module.rule.name)
    if method is None:
        raise InputError(
            f"--mlperf_log.file: its rules know sgd and lars, so --model.optimizer "
            f"{module.rule.name} has no words there: take one of {', '.join(_METHODS)}"
        )
    warmup_epochs = schedule.warmup_steps * layout.global_batch_size / data.plan.num_train_examples
    values: dict[str, Value] = {
        "seed": data.seed,
        "train_samples": data.plan.num_train_examples,
        "eval_samples": data.source.num_validation_examples,
        "global_batch_size": layout.global_batch_size,
        "gradient_accumulation_steps": layout.accumulate_grad_batches,
        "model_bn_span": layout.batch_norm_span or layout.per_device_batch_size,
        "opt_name": method,
        f"{method}_opt_base_learning_rate": module.learning_rate,
        # As it was given: a factor of the peak may be off in the last digit.
        f"{method}_opt_end_learning_rate": float(
            f"{schedule.end_factor * module.learning_rate:.12g}"
        ),
        f"{method}_opt_learning_rate_decay_poly_power": schedule.decay_power,
        f"{method}_opt_learning_rate_decay_steps": (
            schedule.num_train_steps - schedule.warmup_steps
        ),
        f"{method}_opt_momentum": module.numbers.get("momentum", 0.0),
        f"{method}_opt_weight_decay": module.numbers["weight_decay"],
    }
    if method == "lars":
        return values | {
            "lars_opt_learning_rate_warmup_epochs": warmup_epochs,
            "lars_epsilon": module.numbers.get("epsilon", 0.0),
        }
    return values | {"opt_learning_rate_warmup_epochs": warmup_epochs}


def broken_rules(values: Mapping[str, Value]) -> list[str]:
    """Return what the closed division's checker refuses among a run's values.

    Args:
        values: of `model_values`.

    Returns:
        One phrase for each: key, value and rule.
    """
    method = values["opt_name"]
    rules: list[tuple[str, bool, str]] = []

    def hold(key: str, rule: str, *, fulfilled: bool) -> None:
        rules.append((key, fulfilled, rule))

    end, decay = f"{method}_opt_end_learning_rate", f"{method}_opt_weight_decay"
    hold(end, "must be 0.0001", fulfilled=values[end] == 0.0001)
    power = float(values[decay]) / 0.0001
    hold(
        decay,
        "must be 0.0001 times a power of two",
        fulfilled=power > 0 and math.log2(power).is_integer(),
    )
    if method == "lars":
        key = "lars_opt_learning_rate_decay_poly_power"
        hold(key, "must be 2", fulfilled=values[key] == 2)
        hold("lars_epsilon", "must be 0", fulfilled=values["lars_epsilon"] == 0)
    else:
        key = "sgd_opt_base_learning_rate"
        # As the checker computes it.
        hold(
            key, "must be a multiple of 0.001", fulfilled=(float(values[key]) / 0.001).is_integer()
        )
    return [f"{key} {values[key]}: it {rule}" for key, fulfilled, rule in rules if not fulfilled]

"""What a run's settings say of the quantities that published runs record."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fullscale.durations import Duration
from fullscale.recipes.recipe import read_yaml
from models_of_scaling.errors import InputError
from models_of_scaling.published.series import IMAGENET_TRAIN_EXAMPLES
from models_of_scaling.targets import Target

# Flags of --model with their defaults. A test holds them to those of fullscale.module.Classifier,
# which is not imported here since it takes seconds.
MODEL_DEFAULTS: Final[Mapping[str, Any]] = {
    "name": "mlp",
    "optimizer": "momentum",
    "learning_rate": 0.1,
    "momentum": None,
    "weight_decay": None,
    "optimizer_numbers": None,
    "schedule": "polynomial",
    "schedule_numbers": None,
    "no_decay": "norm,bias",
    "no_trust_ratio": "norm,bias",
    "warmup": "0 steps",
    "warmup_start": 0.0,
    "decay_power": 2.0,
    "end_learning_rate": 0.0,
    "train_duration": "20 epochs",
    "adapt_regime_from": None,
    "growth_scaling": "none",
    "label_smoothing": 0.0,
    "confidence_penalty": 0.0,
    "zero_init_last_batch_norm": False,
    "batch_norm_span": None,
    "batch_norm_moving_averages": True,
    "channels_last": False,
    "compile": False,
    "target": "validation_accuracy>=0.95",
    "seed": 0,
}
_POWERS: Final = {"constant": 0.0, "linear": 1.0, "sqrt": 0.5}
# The optimizers whose published rates mean the same: one name for each family.
FAMILIES: Final[Mapping[str, str]] = {
    "momentum": "momentum SGD",
    "nesterov": "momentum SGD",
    "lars": "LARS",
    "lars_mlperf": "LARS",
    "lars_scaled_momentum": "LARS",
    "lamb": "LAMB",
    "rmsprop_to_sgd": "RMSprop to SGD",
}
USUAL_TRUST_COEFFICIENT: Final = 0.001  # LARS in MLPerf's reference program; no log records it
_IMAGE_SETS: Final = frozenset({"image_folder", "tar_shards", "litdata", "uint8_shards"})


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """A run's settings, as far as they can be compared.

    Attributes:
        family: of the optimizer; None for one that no published run here has.
        optimizer: as named.
        batch_size: examples per step.
        is_imagenet_resnet50: whether it is the workload of the published runs.
        quantities: by name: `peak_learning_rate` (for LARS times trust coefficient / 0.001),
            `warmup_epochs`, `weight_decay`, `momentum`, `label_smoothing`, `train_epochs`,
            `decay_power`, `batch_norm_span`; what is not set or does not apply is absent.
        target_top1: validation accuracy that ends the run; None for another metric.
        trust_coefficient: of LARS.
        decays_batch_norm: whether weight decay is on batch norm's scales and offsets too.
        sets_batch_norm_span: whether batch norm's statistics are the same on any devices.
    """

    family: str | None
    optimizer: str
    batch_size: int
    is_imagenet_resnet50: bool
    quantities: Mapping[str, float]
    target_top1: float | None
    trust_coefficient: float
    decays_batch_norm: bool
    sets_batch_norm_span: bool


def in_epochs(duration: str, *, batch_size: int, flag: str = "duration") -> float:
    """Return a length in epochs of ImageNet.

    Args:
        duration: such as "5 epochs" or "500 steps".
        batch_size: examples per step.
        flag: names it in an error.
    """
    length = Duration.parse(str(duration), flag=flag)
    if length.unit == "epochs":
        return length.amount
    examples = length.amount * (batch_size if length.unit == "steps" else 1)
    return examples / IMAGENET_TRAIN_EXAMPLES


def parse_settings(text: str, *, place: str) -> RunSettings:
    """Read a user's file, as strictly as the trainer does with what is compared here.

    Args:
        text: of the YAML file.
        place: its name, for errors.

    Returns:
        What can be compared.

    Raises:
        InputError: where it is no YAML, a section, the batch size or the optimizer is missing or
            unknown, or a value is no number.
    """
    content = read_yaml(text, place=place)
    _check_names(content["model"], place=place)
    from fullscale.optimizer_flags import rule_numbers
    from fullscale.optimizers.registry import get_update_rule  # torch, a second

    try:
        rule = get_update_rule(str(content["model"].get("optimizer", "momentum")))
        found = settings_of(content, place=place, rule_defaults=rule.defaults)
        model = {**MODEL_DEFAULTS, **content["model"]}
        decay = {name: model[name] for name in ("momentum", "weight_decay")}
        rule_numbers(rule, {**decay, **(model["optimizer_numbers"] or {})})
        return found
    except InputError as error:
        words = str(error)
        raise InputError(words if words.startswith(place) else f"{place}: {words}") from error


def _check_names(model: Mapping[str, Any], *, place: str) -> None:
    for name in model:
        if name not in MODEL_DEFAULTS:
            near = difflib.get_close_matches(str(name), MODEL_DEFAULTS, n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise InputError(f"{place}: model.{name} is no flag of the trainer{meant}")


def settings_of(
    content: Mapping[str, Any], *, place: str, rule_defaults: Mapping[str, float] | None = None
) -> RunSettings:
    """Return what a file's content says.

    Args:
        content: sections model and data.
        place: its name, for errors.
        rule_defaults: the optimizer's numbers where the file has none.

    Returns:
        What can be compared.

    Raises:
        InputError: where the batch size is missing or a value is no number.
    """
    model, data = {**MODEL_DEFAULTS, **content["model"]}, content["data"]
    if "global_batch_size" not in data:
        raise InputError(f"{place}: data.global_batch_size is missing: examples per optimizer step")
    batch_size = _batch_size(data["global_batch_size"], f"{place}: data.global_batch_size")
    numbers = {**(rule_defaults or {}), **(model["optimizer_numbers"] or {})}
    for name in ("momentum", "weight_decay"):
        if model[name] is not None:
            numbers[name] = model[name]
    found = {
        "peak_learning_rate": model["learning_rate"],
        "weight_decay": numbers.get("weight_decay"),
        "momentum": numbers.get("momentum"),
        "label_smoothing": model["label_smoothing"],
        "decay_power": model["decay_power"]
        if model["schedule"] == "polynomial"
        else _POWERS.get(str(model["schedule"])),
        "batch_norm_span": model["batch_norm_span"],
    }
    quantities = {
        name: _number(value, f"{place}: model.{name.replace('peak_', '')}")
        for name, value in found.items()
        if value is not None
    }
    for name, flag in (("warmup_epochs", "warmup"), ("train_epochs", "train_duration")):
        quantities[name] = in_epochs(model[flag], batch_size=batch_size, flag=f"model.{flag}")
    if not quantities["warmup_epochs"] < quantities["train_epochs"]:
        raise InputError(
            f"{place}: model.warmup {model['warmup']} must be shorter than model.train_duration "
            f"{model['train_duration']}"
        )
    coefficient = _number(
        numbers.get("trust_coefficient", USUAL_TRUST_COEFFICIENT), f"{place}: trust_coefficient"
    )
    for name, value in (("learning_rate", model["learning_rate"]),
                        ("optimizer_numbers.trust_coefficient", coefficient)):  # fmt: skip
        if _number(value, f"{place}: model.{name}") <= 0:
            raise InputError(f"{place}: model.{name} {value} must be positive")
    quantities["peak_learning_rate"] *= coefficient / USUAL_TRUST_COEFFICIENT
    if model["adapt_regime_from"] is not None:
        _adapt(quantities, model, batch_size=batch_size, place=place)
    target = Target.parse(str(model["target"]))
    return RunSettings(
        family=FAMILIES.get(str(model["optimizer"])),
        optimizer=str(model["optimizer"]),
        batch_size=batch_size,
        is_imagenet_resnet50=model["name"] == "resnet50"
        and data.get("name", "digits") in _IMAGE_SETS
        and data.get("num_classes", 1000) in {None, 1000},
        quantities=quantities,
        target_top1=target.value if target.metric == "validation_accuracy" else None,
        trust_coefficient=coefficient,
        decays_batch_norm="norm" not in [w.strip() for w in str(model["no_decay"]).split(",")],
        sets_batch_norm_span=model["batch_norm_span"] is not None,
    )


def _adapt(
    quantities: dict[str, float], model: Mapping[str, Any], *, batch_size: int, place: str
) -> None:
    """Make rate and lengths those of the run, as `learning_rate.LearningRate` does."""
    before = _batch_size(model["adapt_regime_from"], f"{place}: model.adapt_regime_from")
    quantities["peak_learning_rate"] *= math.sqrt(batch_size / before)
    for name, flag in (("warmup_epochs", "warmup"), ("train_epochs", "train_duration")):
        if Duration.parse(str(model[flag]), flag=f"model.{flag}").unit != "steps":
            quantities[name] *= batch_size / before


def _batch_size(value: Any, place: str) -> int:
    number = _number(value, place)
    if number < 1 or not number.is_integer():
        raise InputError(f"{place} {value} must be a whole number, at least 1")
    return int(number)


def _number(value: Any, place: str) -> float:
    try:
        if not isinstance(value, bool) and math.isfinite(number := float(value)):
            return number
    except (TypeError, ValueError):
        pass
    raise InputError(f"{place} {value!r} must be a finite number")

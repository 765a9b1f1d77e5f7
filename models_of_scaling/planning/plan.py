"""A plan: the settings of one full-scale run, each with the reason why.

The settings are those of `python -m fullscale.fit --config plan.yaml`. What the laws can't know
(network, data, augmentation, the schedule's shape) comes from a base recipe, or from the trials
that were fitted; what they can (batch size, length) from the fit; learning rate and warm-up from
tuned trials, else from the base recipe by a stated rule. Nothing is guessed in silence: a number
that no source gives is refused.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from models_of_scaling.errors import InputError
from models_of_scaling.fit_record import FitRecord
from models_of_scaling.planning.plan_choice import Choice
from models_of_scaling.planning.run_length import DURATION, duration_in_steps
from models_of_scaling.planning.tuned_values import (
    Rule,
    Tuned,
    default_rule,
    numbers_at,
    scaled_rate,
)
from models_of_scaling.targets import Target
from models_of_scaling.wording import interval_in_words

Settings = dict[str, Any]
_OWN_FLAGS: Final = ("learning_rate", "momentum", "weight_decay")
# Names of one family, told apart by their decay power; trials of sweeps with none are constant.
_POLYNOMIALS: Final = frozenset({
    "", "constant", "linear", "polynomial", "sqrt", "warmup_polynomial",
})  # fmt: skip
_SHAPES: Final = ("num_cycles", "cycle_growth", "low_factor", "amplitude_decay")
# Evaluations per predicted run where no recipe says: the target is seen 2 % late at most.
_EVALUATIONS: Final = 50
# A mean over fewer training losses may meet a target by luck of the draw.
_EXAMPLES_OF_A_MEAN: Final = 1024


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where a plan's settings come from.

    Attributes:
        base: settings of a recipe; None where there is none.
        tuned: winners of the trials, batch sizes increasing; empty where no trials were given.
        learning_rate: of the command line; None to derive it.
        warmup: of the command line, as "5 epochs"; None to derive it.
        rule: of the command line, for a rate that must be scaled; None for the optimizer's.
        table: folder of the trials that were fitted, where the run's own trial shall land; or None.
    """

    base: Settings | None
    tuned: Sequence[Tuned]
    learning_rate: float | None = None
    warmup: str | None = None
    rule: Rule | None = None
    table: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run to be written as YAML.

    Attributes:
        settings: sections trainer, model and data; record where the trials' folder is known.
        reasons: sentences, one a paragraph.
        choice: the batch size and length with their predictions.
    """

    settings: Settings
    reasons: tuple[str, ...]
    choice: Choice


def make_plan(fit: FitRecord, choice: Choice, sources: Sources) -> Plan:
    """Return the settings of a run with the reasons for them.

    What no source gives, or two sources give differently, ends in an InputError that names the
    flag.

    Args:
        fit: the record of the laws.
        choice: batch size and length.
        sources: of everything else.

    Returns:
        The plan.
    """
    settings, origin = _structure(fit, sources)
    model, data, place = settings["model"], settings["data"], choice.placement
    settings["trainer"] |= {"devices": place.devices_per_node, "num_nodes": place.nodes}
    base_batch_size = data.get("global_batch_size")
    data["global_batch_size"] = place.batch_size
    data["max_per_device_batch_size"] = (
        place.max_per_device_batch_size or place.per_device_batch_size
    )
    target = _target(fit, model)
    model["target"] = str(target)
    rate = _set_learning_rate(model, place.batch_size, base_batch_size, sources)
    warmup = _set_warmup(model, fit, choice, base_batch_size, sources)
    length = _set_length(model, data, fit, choice, target)
    reasons = [*choice.reasons, rate, warmup, length, origin]
    if sources.table is not None and sources.table.is_dir():
        settings["record"] = {"folder": str(sources.table), "workload": fit.workload}
        reasons.append("Record: among the fitted trials; fitted again, they say what came of it.")
    return Plan(settings=settings, reasons=tuple(reasons), choice=choice)


def _structure(fit: FitRecord, sources: Sources) -> tuple[Settings, str]:
    """Return a copy of the settings that the laws say nothing about, and where they are from."""
    tuned = sources.tuned[0] if sources.tuned else None
    if sources.base is None and tuned is None:
        raise InputError(
            "plan: the fit knows neither network nor data nor learning rate; give "
            "--base-config RECIPE.yaml (`python -m fullscale.recipes` lists some), or --table with "
            "the folder of trials that was fitted"
        )
    if sources.base is None:
        assert tuned is not None
        settings: Settings = {
            "trainer": {"accelerator": "auto"},
            "model": {"name": tuned.model, "optimizer": tuned.optimizer},
            "data": {"name": tuned.dataset},
        }
        return settings, "Network, data and optimizer: those of the trials."
    settings = copy.deepcopy(sources.base)
    for section in ("trainer", "model", "data"):
        if not isinstance(settings.setdefault(section, {}), dict):
            raise InputError(f"--base-config: {section} must be a mapping of settings")
    known = [("model", "optimizer", fit.optimizer)]
    if tuned is not None:
        known += [("model", "name", tuned.model), ("data", "name", tuned.dataset)]
    for section, name, value in known:
        given = settings[section].get(name)
        if value and given is not None and given != value:
            raise InputError(
                f"--base-config: {section}.{name} {given!r} is not that of the fit, {value!r}"
            )
    return settings, "Everything else: that of the base recipe."


def _target(fit: FitRecord, model: Settings) -> Target:
    given = model.get("target")
    if fit.target:
        return Target.parse(fit.target)
    if given is None:
        raise InputError(
            "plan: neither the fit nor --base-config says which target the steps are to; add "
            "model.target to the base config"
        )
    return Target.parse(str(given))


def _set_learning_rate(
    model: Settings, batch_size: int, base_batch_size: object, sources: Sources
) -> str:
    """Set the optimizer's numbers; return the reason."""
    rule = sources.rule or default_rule(str(model.get("optimizer", "")))
    if sources.tuned:
        numbers, how = numbers_at(sources.tuned, batch_size, rule=rule)
        model |= {name: numbers[name] for name in _OWN_FLAGS if name in numbers}
        others = {name: x for name, x in numbers.items() if name not in _OWN_FLAGS}
        if others:
            model["optimizer_numbers"] = others
        text = f"Learning rate {model['learning_rate']:.4g}, momentum and the like: {how}."
    elif sources.learning_rate is None:
        rate = model.get("learning_rate")
        if not isinstance(rate, int | float) or not isinstance(base_batch_size, int):
            raise InputError(
                "--base-config: model.learning_rate and data.global_batch_size must be numbers, "
                "so that the rate can be carried to another batch size; or give --learning-rate"
            )
        scaled, how = scaled_rate(
            float(rate), from_batch_size=base_batch_size, to_batch_size=batch_size, rule=rule
        )
        model["learning_rate"] = float(f"{scaled:.6g}")
        if model.get("end_learning_rate"):
            end = model["end_learning_rate"] * scaled / rate
            model["end_learning_rate"] = float(f"{end:.6g}")
        text = f"Learning rate {scaled:.4g}: {how} (base recipe)."
    if sources.learning_rate is not None:
        model["learning_rate"] = sources.learning_rate
        text = f"Learning rate {sources.learning_rate:.4g}: given by --learning-rate."
    return text


def _set_warmup(
    model: Settings,
    fit: FitRecord,
    choice: Choice,
    base_batch_size: object,
    sources: Sources,
) -> str:
    """Set warm-up and, for tuned trials, the schedule's shape; return the reason."""
    batch_size = choice.placement.batch_size
    if sources.tuned and (sources.base is None or sources.tuned[0].schedule):
        reason = _schedule_of_trials(model, batch_size, sources.tuned)
    else:
        reason = _warmup_of_recipe(model, base_batch_size, batch_size)
    if sources.warmup is not None:
        model["warmup"] = sources.warmup
        reason = f"Warm-up {sources.warmup}: given by --warmup."
    steps = duration_in_steps(
        str(model.get("warmup", "0 steps")), batch_size, fit.num_train_examples
    )
    if steps is not None and steps >= choice.length_steps:
        raise InputError(
            f"plan: a warm-up of {model['warmup']} is {steps} steps at batch size {batch_size} "
            f"and the run is {choice.length_steps} steps long; give a shorter --warmup"
        )
    return reason


def _schedule_of_trials(model: Settings, batch_size: int, tuned: Sequence[Tuned]) -> str:
    nearest = min(tuned, key=lambda each: abs(math.log(each.batch_size / batch_size)))
    schedule = nearest.schedule
    for name in ("end_learning_rate", "warmup_start", "label_smoothing"):
        if schedule.get(name):
            model[name] = schedule[name]
    warmup_steps = schedule.get("warmup_steps", 0.0)
    model["warmup"] = f"{warmup_steps * nearest.batch_size:.15g} examples"
    if nearest.schedule_name not in _POLYNOMIALS:
        model["schedule"] = nearest.schedule_name
        model["schedule_numbers"] = {name: schedule[name] for name in _SHAPES if name in schedule}
        return (
            f"Warm-up {model['warmup']} and schedule {nearest.schedule_name}: as in the trials "
            f"of batch size {nearest.batch_size:,}, the warm-up counted in examples."
        )
    model["decay_power"] = schedule.get("decay_power", 0.0)
    if not warmup_steps and not model["decay_power"]:
        model["warmup"] = "0 steps"
        return (
            "Warm-up none and rate constant: as in the trials, to which the predicted steps belong."
        )
    return (
        f"Warm-up {model['warmup']} and decay power {model['decay_power']:g}: as in the trials "
        f"of batch size {nearest.batch_size:,}, the warm-up counted in examples."
    )


def _warmup_of_recipe(model: Settings, base_batch_size: object, batch_size: int) -> str:
    text = str(model.get("warmup", "0 steps"))
    match = DURATION.fullmatch(text)
    if match and match[2] == "step" and float(match[1]) > 0 and base_batch_size != batch_size:
        if not isinstance(base_batch_size, int):
            raise InputError(
                f"--base-config: model.warmup {text!r} is in steps of an unknown batch size; "
                "give data.global_batch_size, or --warmup"
            )
        model["warmup"] = f"{float(match[1]) * base_batch_size:.15g} examples"
        return f"Warm-up {model['warmup']}: the base recipe's {text} of {base_batch_size:,}."
    words = f"Warm-up {text}: the base recipe's, counted in examples and so not by batch size"
    grown = isinstance(base_batch_size, int) and batch_size > base_batch_size
    if grown and match and float(match[1]) == 0:
        words += (
            "; Goyal et al. 2017 warm up for 5 epochs where the rate was scaled up: consider "
            "--warmup '5 epochs'"
        )
    elif grown:
        words += " (Goyal et al. 2017 keep 5 epochs; MLPerf's LARS points lengthen it with B)"
    return words + "."


def _set_length(
    model: Settings, data: Settings, fit: FitRecord, choice: Choice, target: Target
) -> str:
    """Set the evaluation interval and the length; return the reason."""
    batch_size = choice.placement.batch_size
    # The training loss that the trainer compares is the mean over the interval before.
    lag = 1 if target.metric == "train_loss" else 0
    if "evaluate_every" not in data:
        mean = min(_EXAMPLES_OF_A_MEAN, fit.num_train_examples or math.inf)
        least = math.ceil(lag * mean / batch_size)
        data["evaluate_every"] = (
            f"{max(1, least, round(choice.steps.estimate / _EVALUATIONS))} steps"
        )
    every = duration_in_steps(str(data["evaluate_every"]), batch_size, fit.num_train_examples)
    steps = choice.length_steps
    if every is not None:
        steps = (math.ceil(steps / every) + lag) * every
    model["train_duration"] = f"{steps} steps"
    text = (
        f"Length {steps:,} steps: a new study's steps lie below {choice.length_steps:,} with "
        f"probability {choice.probability:g} (predicted {interval_in_words(choice.steps)}), "
        f"rounded up to whole evaluations (every {data['evaluate_every']})"
    )
    if lag:
        text += ", and one more because the trainer's training loss is the mean since the last one"
    if model.get("decay_power", 2.0) > 0:
        text += (
            ". The rate decays over this length: a longer run decays later and may reach its "
            "target later than the law says"
        )
    return text + ". The run ends at its target, not at its length."

"""Which ingredients a recipe has over the baseline, and what of it a surrogate can't have.

The baseline is an optimizer at a constant rate without weight decay. Learning rate and momentum are
no ingredients: they are tuned anew at every rung, as are the rule's own searched numbers.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from fullscale.durations import Duration
from fullscale.recipes.run_settings import MODEL_DEFAULTS
from models_of_scaling.errors import InputError
from models_of_scaling.published.series import IMAGENET_TRAIN_EXAMPLES
from surrogate.ingredients import Ingredients
from surrogate.protocol_flags import RunChoice
from surrogate.run_schedule import RunSchedule

_IMAGENET_CLASSES: Final = 1000  # its recipes alone give lengths in two units
# Polynomials by their power, as the sweep's schedules have them.
_POWERS: Final = {0.0: "constant", 0.5: "sqrt", 1.0: "linear", 2.0: "polynomial"}
# Of a recipe, besides `trainer` and `data`: what no small run has, or what is tuned or asked anew.
_TUNED: Final = frozenset({"learning_rate", "momentum"})
_ASKED: Final = frozenset({"name", "train_duration", "target", "seed", "optimizer"})
_USED: Final = frozenset({
    "schedule", "decay_power", "warmup", "weight_decay",
    "label_smoothing", "confidence_penalty", "no_decay", "no_trust_ratio",
})  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a rung trains.

    Attributes:
        optimizer: by name.
        run: everything else that a sweep's flags say.
    """

    optimizer: str
    run: RunChoice


@dataclass(frozen=True, kw_only=True)
class Ingredient:
    """One step from the baseline to the recipe.

    Attributes:
        name: of the flag.
        words: for the table, for example "warm-up over 28 % of the run".
        value: in the terms of the sweep's flags.
    """

    name: str
    words: str
    value: float | str

    def added_to(self, settings: Settings) -> Settings:
        """Return settings with this ingredient."""
        run, value = settings.run, self.value
        if self.name == "optimizer":
            return replace(settings, optimizer=str(value))
        if self.name == "schedule":
            changed = replace(run, schedule=replace(run.schedule, name=str(value)))
        elif self.name == "warmup":
            changed = replace(run, schedule=replace(run.schedule, warmup_share=float(value)))
        elif self.name == "weight_decay":
            changed = replace(run, weight_decay=f"{value:g}")
        else:
            # The fields of `Ingredients` have the recipe's names.
            chosen: dict[str, Any] = {self.name: value}
            changed = replace(run, ingredients=replace(run.ingredients, **chosen))
        return replace(settings, run=changed)


@dataclass(frozen=True, kw_only=True)
class IngredientList:
    """What a recipe is made of.

    Attributes:
        baseline: where the comparison starts.
        ingredients: in the order in which they are added.
        left_out: in words, what the recipe has and a small run can't have.
    """

    baseline: Settings
    ingredients: tuple[Ingredient, ...]
    left_out: tuple[str, ...]

    def settings_of(self, names: frozenset[str]) -> Settings:
        """Return the settings of the rung that has these ingredients."""
        settings = self.baseline
        for ingredient in self.ingredients:
            if ingredient.name in names:
                settings = ingredient.added_to(settings)
        return settings


def read_ingredients(
    recipe: Mapping[str, Any], baseline: str, run: RunChoice, *, where: str
) -> IngredientList:
    """Tell a recipe's ingredients.

    Args:
        recipe: content of a YAML file for `fullscale.fit`, with its sections.
        baseline: optimizer of the baseline.
        run: length of the runs; everything else of it is the default.
        where: the file, for messages.

    Returns:
        Optimizer, schedule, warm-up, weight decay, label smoothing, confidence penalty and groups,
        as far as the recipe has them.

    Raises:
        InputError: where the recipe adds nothing, or a value breaks its rule.
    """
    model = recipe["model"]
    found = [
        _optimizer(str(model.get("optimizer") or MODEL_DEFAULTS["optimizer"]), baseline),
        _schedule(model, where),
        _warmup(model, recipe["data"], where),
        _plain("weight_decay", _number(model, "weight_decay", where), "weight decay"),
        _plain("label_smoothing", _number(model, "label_smoothing", where), "label smoothing"),
        _plain("confidence_penalty", _number(model, "confidence_penalty", where), "penalty"),
        _group("no_decay", model, "weight decay"),
        _group("no_trust_ratio", model, "trust ratio"),
    ]
    ingredients = tuple(each for each in found if each is not None)
    if not ingredients:
        raise InputError(f"{where}: adds nothing to {baseline} at a constant rate")
    return IngredientList(
        baseline=Settings(optimizer=baseline, run=replace(
            run, schedule=RunSchedule(), weight_decay=None, ingredients=Ingredients()
        )),
        ingredients=ingredients,
        left_out=_left_out(recipe, model),
    )  # fmt: skip


def _number(model: Mapping[str, Any], name: str, where: str) -> float:
    value = model.get(name)
    if value is None:
        return 0.0
    try:
        if not isinstance(value, bool) and math.isfinite(number := float(value)):
            return number
    except (TypeError, ValueError):
        pass
    raise InputError(f"{where}: model.{name} {value!r} must be a finite number")


def _plain(name: str, value: float, words: str) -> Ingredient | None:
    return Ingredient(name=name, words=f"{words} {value:g}", value=value) if value else None


def _optimizer(name: str, baseline: str) -> Ingredient | None:
    return None if name == baseline else Ingredient(name="optimizer", words=name, value=name)


def _schedule(model: Mapping[str, Any], where: str) -> Ingredient | None:
    name = str(model.get("schedule") or MODEL_DEFAULTS["schedule"])
    words = f"{name} decay"
    if name == "polynomial":
        power = _number({**MODEL_DEFAULTS, **model}, "decay_power", where)
        if power not in _POWERS:
            known = ", ".join(f"{each:g}" for each in _POWERS)
            raise InputError(f"{where}: model.decay_power {power:g} is not one of {known}")
        name, words = _POWERS[power], f"decay to the power {power:g}"
    return None if name == "constant" else Ingredient(name="schedule", words=words, value=name)


def _warmup(model: Mapping[str, Any], data: Mapping[str, Any], where: str) -> Ingredient | None:
    """The share of the run, which is what carries over to a run of another length."""
    warmup, whole = (
        Duration.parse(str(model.get(name) or MODEL_DEFAULTS[name]))
        for name in ("warmup", "train_duration")
    )
    if not warmup.amount:
        return None
    amounts = warmup.amount, whole.amount
    if warmup.unit != whole.unit:
        size = data.get("global_batch_size")
        if data.get("num_classes") != _IMAGENET_CLASSES or not isinstance(size, int):
            raise InputError(
                f"{where}: model.warmup {warmup} and model.train_duration {whole} must have one "
                "unit, so that the share of the warm-up is known"
            )
        steps = [
            each.to_steps(batch_size=size, num_train_examples=IMAGENET_TRAIN_EXAMPLES)
            for each in (warmup, whole)
        ]
        amounts = float(steps[0]), float(steps[1])
    if not amounts[0] < amounts[1]:
        raise InputError(
            f"{where}: model.warmup {warmup} must be shorter than model.train_duration {whole}"
        )
    share = amounts[0] / amounts[1]
    return Ingredient(
        name="warmup", words=f"warm-up over {100 * share:.3g} % of the run", value=share
    )


def _group(name: str, model: Mapping[str, Any], what: str) -> Ingredient | None:
    """A choice of tensors other than the usual one, which the baseline has too."""
    words = model.get(name, MODEL_DEFAULTS[name])
    if words == MODEL_DEFAULTS[name]:
        return None
    return Ingredient(
        name=name,
        words=f"no {what}: {words}" if words else f"{what} on every tensor",
        value=str(words),
    )


def _left_out(recipe: Mapping[str, Any], model: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what of the recipe has no counterpart in a small run, in words."""
    known = _TUNED | _ASKED | _USED
    mine = [
        f"{name} {value}"
        for name, value in model.items()
        if name not in known and value != MODEL_DEFAULTS.get(name, object())
    ]
    precision = (recipe.get("trainer") or {}).get("precision")
    return (*mine, *([f"precision {precision}"] if precision else []))

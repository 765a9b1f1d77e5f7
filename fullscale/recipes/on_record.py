"""What is on record: the settings of published full-scale runs, each with its source and outcome.

From the recipes (a reference point of two rule sets once), and from every log of MLPerf's closed
division whose batch size and rate are known (v0.6 ... v4.0; v0.5 had another target). Logs of one
submission with the same settings are one entry. A submission in several rounds counts in each.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fullscale.recipes.catalogue import all_recipes
from fullscale.recipes.recipe import Recipe
from fullscale.recipes.run_settings import settings_of
from models_of_scaling.published.csv_files import Row, read_published

_LOGS: Final = "mlperf_results_resnet_runs.csv"
_POINTS: Final = "mlperf_rcp_resnet_summary.csv"
_LOG_FAMILIES: Final = {"lars": "LARS", "sgd": "momentum SGD"}
_LOG_QUANTITIES: Final = {
    "peak_learning_rate": "base_lr",
    "warmup_epochs": "warmup_epochs",
    "weight_decay": "weight_decay",
    "momentum": "momentum",
    "label_smoothing": "label_smoothing",
    "decay_power": "poly_power",
    "batch_norm_span": "bn_span",
}
# Their `decay_steps` is left out: whether it counts the warm-up, no log says.


@dataclass(frozen=True, kw_only=True)
class PublishedSetting:
    """One published setting.

    Attributes:
        source: table and lines, or recipe and source.
        family: of the optimizer, as `run_settings.FAMILIES` names it.
        batch_size: examples per step.
        num_runs: with this setting; None where the source does not say.
        quantities: those recorded, by the names of `run_settings.RunSettings.quantities`.
        outcome: in words.
        fewest_epochs_to_target: to 75.9 % top-1, of any of its runs; None where none is recorded.
    """

    source: str
    family: str
    batch_size: int
    num_runs: int | None
    quantities: Mapping[str, float]
    outcome: str
    fewest_epochs_to_target: float | None

    @property
    def citation(self) -> str:
        """The source and how many runs it is of."""
        runs = "number of runs not said" if self.num_runs is None else f"n = {self.num_runs}"
        return f"{self.source}, {runs}"


@functools.cache
def settings_on_record() -> Sequence[PublishedSetting]:
    """Return every published setting: recipes first, then logs, in their order."""
    return [*map(_of_recipe, _recipes_that_count()), *_of_logs()]


def _recipes_that_count() -> Iterator[Recipe]:
    """Yield recipes of published runs, none of them twice."""
    seen: set[tuple[str, int] | None] = {None}
    for name, recipe in all_recipes().items():
        newer = name.removesuffix("_1.0.0")
        stands_again = newer != name and newer in all_recipes()
        if recipe.row in seen or stands_again or _LOGS in recipe.fields["Source"]:
            continue
        seen.add(recipe.row)
        yield recipe


def _of_recipe(recipe: Recipe) -> PublishedSetting:
    settings = settings_of(recipe.settings, place=recipe.name)
    assert settings.family is not None
    file, line = recipe.row or ("", 0)
    fewest = None
    if file == _POINTS:
        fewest = float(read_published(file)[line - 2]["min_epochs"])
    return PublishedSetting(
        source=f"{file} line {line}",
        family=settings.family,
        batch_size=settings.batch_size,
        num_runs=recipe.num_seeds,
        quantities=settings.quantities,
        outcome=recipe.result,
        fewest_epochs_to_target=fewest,
    )


def _of_logs() -> Iterator[PublishedSetting]:
    rows = list(enumerate(read_published(_LOGS), start=2))
    # Some logs of an open submission say that they are of the closed division.
    is_open = {_system(row) for _, row in rows if row["division"] == "open"}
    groups: dict[tuple[str, ...], list[tuple[int, Row]]] = {}
    for line, row in rows:
        known = row["batch_size"] and row["base_lr"] and not row["batch_note"]
        if not known or row["optimizer"] not in _LOG_FAMILIES or row["round"] == "v0.5":
            continue
        if _system(row) in is_open:
            continue
        numbers = tuple(row[column] for column in _LOG_QUANTITIES.values())
        key = (*_system(row), row["batch_size"], row["optimizer"], *numbers)
        groups.setdefault(key, []).append((line, row))
    for group in groups.values():
        yield _of_group(group)


def _system(row: Row) -> tuple[str, str, str]:
    return row["round"], row["submitter"], row["system"]


def _of_group(group: Sequence[tuple[int, Row]]) -> PublishedSetting:
    lines, row = [line for line, _ in group], group[0][1]
    met = sorted(
        float(each["epoch_first_eval_at_or_above_target"])
        for _, each in group
        if each["epoch_first_eval_at_or_above_target"]
    )
    if met:
        epochs = f"{met[0]:g}" if met[0] == met[-1] else f"{met[0]:g} ... {met[-1]:g}"
        outcome = f"{len(met)} of {len(group)} runs met 75.9 % after {epochs} epochs"
    else:
        outcome = f"none of {len(group)} runs met 75.9 %"
    return PublishedSetting(
        source=f"{_LOGS} {_lines_in_words(lines)} ({row['submitter']}, {row['round']})",
        family=_LOG_FAMILIES[row["optimizer"]],
        batch_size=int(float(row["batch_size"])),
        num_runs=len(group),
        quantities={
            name: float(row[column]) for name, column in _LOG_QUANTITIES.items() if row[column]
        },
        outcome=outcome,
        fewest_epochs_to_target=met[0] if met else None,
    )


def _lines_in_words(lines: Sequence[int]) -> str:
    """Return "line 7" or "lines 587, 589-591"."""
    starts = [line for line in lines if line - 1 not in lines]
    ends = [line for line in lines if line + 1 not in lines]
    ranges = [f"{a}-{b}" if b > a else f"{a}" for a, b in zip(starts, ends, strict=True)]
    return f"line{'s' if len(lines) > 1 else ''} {', '.join(ranges)}"

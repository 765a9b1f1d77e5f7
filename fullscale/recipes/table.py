"""The list of recipes as text: two tables that Markdown reads too."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, Final

from fullscale.recipes.catalogue import PAPERS, PublishedResult
from fullscale.recipes.recipe import Recipe
from fullscale.recipes.run_settings import in_epochs

_RECIPE_COLUMNS: Final = (
    "recipe", "batch size", "optimizer", "peak rate", "warm-up", "epochs", "published result",
    "runs", "row",
)  # fmt: skip
_RESULT_COLUMNS: Final = (
    "published",
    "batch size",
    "optimizer",
    "top-1 %",
    "line",
    "why no recipe",
)
_SHORT_FILES: Final = {
    "mlperf_rcp_resnet_summary.csv": "reference points",
    "lars_90_epochs_table.csv": "LARS at 90 epochs",
    "goyal2017_tables.csv": "Goyal 2017",
    PAPERS: "papers",
}


def recipe_rows(recipes: Iterable[Recipe]) -> list[dict[str, Any]]:
    """Return what the list says of each recipe, by column.

    Args:
        recipes: in the order wanted.
    """
    rows = []
    for recipe in recipes:
        model, row = recipe.model, recipe.row
        rows.append({
            "recipe": recipe.name,
            "batch_size": recipe.batch_size,
            "optimizer": model["optimizer"],
            "peak_learning_rate": model["learning_rate"],
            "warmup": model["warmup"],
            "train_duration": model["train_duration"],
            "result": recipe.result,
            "num_seeds": recipe.num_seeds,
            "row": list(row) if row else None,
        })
    return rows


def list_in_words(recipes: Sequence[Recipe], results: Sequence[PublishedResult]) -> str:
    """Return both tables.

    Args:
        recipes: all.
        results: published rows that are no recipe.
    """
    first = [
        (
            row["recipe"],
            f"{row['batch_size']:,}",
            row["optimizer"],
            f"{row['peak_learning_rate']:g}",
            _epochs(row["warmup"], recipe),
            _epochs(row["train_duration"], recipe),
            row["result"],
            str(row["num_seeds"] or "?"),
            f"{_SHORT_FILES[row['row'][0]]} {row['row'][1]}" if row["row"] else "ours",
        )
        for row, recipe in zip(recipe_rows(recipes), recipes, strict=True)
    ]
    second = [
        (
            each.paper,
            each.batch_size or "?",
            each.optimizer or "?",
            each.top1_percent,
            str(each.line),
            each.reason,
        )
        for each in results
    ]
    files = "; ".join(f"{short} are {file}" for file, short in _SHORT_FILES.items())
    note = textwrap.fill(
        "Warm-up is in epochs. The last column names a published table and its line (the header is "
        f"line 1), all in models_of_scaling/published: {files}. \"?\" is what the source does not "
        "say.",
        98, break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return "\n".join([
        *_table(_RECIPE_COLUMNS, first), "", note, "",
        f"Published rows that are no recipe ({PAPERS}):", "",
        *_table(_RESULT_COLUMNS, second),
    ])  # fmt: skip


def _epochs(duration: str, recipe: Recipe) -> str:
    """A length in epochs with three digits; a recipe in steps is one of ImageNet."""
    length = in_epochs(duration, batch_size=recipe.batch_size)
    return f"{length:.3g}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    lines = [columns, ["-" * width for width in widths], *rows]
    return [
        f"| {' | '.join(f'{cell:{n}}' for cell, n in zip(line, widths, strict=True))} |"
        for line in lines
    ]

"""All recipes by name, and the published rows that are no recipe, each with its reason."""

import difflib
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fullscale.recipes.from_rows import recipes_from_rows
from fullscale.recipes.recipe import Recipe, parse_recipe, read_file
from models_of_scaling.errors import InputError
from models_of_scaling.published.csv_files import read_published

FOLDER: Final = Path(__file__).parent
PAPERS: Final = "imagenet_resnet50_published.csv"

_NO_BATCH_SIZE: Final = "result only: no batch size is recorded"
_NO_NUMBERS: Final = "result only: its hyper-parameters are not recorded"
_KFAC: Final = "needs K-FAC; its hyper-parameters are not recorded"
_ADVERSARIAL: Final = "needs concurrent adversarial training; its hyper-parameters are not recorded"
# By line of PAPERS (the header is line 1). Lines of recipes are in their comments.
NO_RECIPE: Final[Mapping[int, str]] = {
    2: f"{_NO_NUMBERS}; resnet50_nesterov_256_goyal2017 is the nearest",
    4: _NO_BATCH_SIZE,
    5: _NO_BATCH_SIZE,
    6: _NO_BATCH_SIZE,
    7: _NO_BATCH_SIZE,
    9: _NO_BATCH_SIZE,
    10: "needs a batch that grows in the run; no batch size is recorded",
    11: "needs a batch that grows in the run, and Inception-ResNet-V2",
    12: _NO_NUMBERS,
    13: _NO_NUMBERS,
    14: "needs batch-size control; no batch size is recorded",
    15: _NO_BATCH_SIZE,
    **dict.fromkeys(range(16, 18), _KFAC),
    **dict.fromkeys(range(18, 24), f"{_KFAC}, and its network is ResNet-50-D"),
    26: _NO_NUMBERS,
    27: _ADVERSARIAL,
    28: _ADVERSARIAL,
}


@dataclass(frozen=True, kw_only=True)
class PublishedResult:
    """A row of a paper that is no recipe.

    Attributes:
        line: of `PAPERS`.
        paper: who.
        batch_size: as the row has it; "" where it is not recorded.
        optimizer: likewise.
        top1_percent: likewise.
        reason: why it is no recipe.
    """

    line: int
    paper: str
    batch_size: str
    optimizer: str
    top1_percent: str
    reason: str


@functools.cache
def all_recipes() -> Mapping[str, Recipe]:
    """Return every recipe by name, by batch size and then by name."""
    stored = [parse_recipe(path.stem, read_file(path)) for path in FOLDER.glob("*.yaml")]
    found = sorted([*stored, *recipes_from_rows()], key=lambda each: (each.batch_size, each.name))
    return {recipe.name: recipe for recipe in found}


def get_recipe(name: str) -> Recipe:
    """Return the recipe of this name.

    Args:
        name: as the list has it.

    Raises:
        InputError: where there is none; the nearest names are said.
    """
    recipes = all_recipes()
    if name in recipes:
        return recipes[name]
    near = difflib.get_close_matches(name.removesuffix(".yaml"), recipes, n=3, cutoff=0.4)
    meant = f"; did you mean {' or '.join(near)}?" if near else ""
    raise InputError(
        f"recipe {name!r} is none of the {len(recipes)} that `python -m fullscale.recipes` "
        f"lists{meant}"
    )


def results_without_recipe() -> list[PublishedResult]:
    """Return the papers' rows that are no recipe, in their order."""
    columns = ("paper", "batch_size", "optimizer", "top1_percent")
    rows = dict(enumerate(read_published(PAPERS), start=2))
    return [
        PublishedResult(line=line, reason=reason, **{name: rows[line][name] for name in columns})
        for line, reason in NO_RECIPE.items()
    ]

"""Published runs as recipes: python -m fullscale.recipes [list | show NAME | lint FILE] [--json].

Without a word it lists. `show NAME > my.yaml` makes a file for `python -m fullscale.fit --config`;
`lint my.yaml` says what is unusual in it beside published runs at that batch size.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from fullscale.recipes.catalogue import all_recipes, get_recipe, results_without_recipe
from fullscale.recipes.recipe import read_file
from fullscale.recipes.table import list_in_words, recipe_rows
from models_of_scaling.command_line import OneLineParser, run_command


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m fullscale.recipes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="the list as JSON")
    words = parser.add_subparsers(dest="word", metavar="WORD")
    # The word's own default must not overwrite a --json before it.
    listing = words.add_parser("list", help="all recipes (the same without a word)")
    listing.add_argument("--json", action="store_true", default=argparse.SUPPRESS)
    words.add_parser("show", help="print one").add_argument("name", metavar="NAME")
    lint = words.add_parser("lint", help="compare a file with published runs")
    lint.add_argument("file", metavar="FILE", type=Path, help="a recipe, plan.yaml or your own")
    lint.add_argument("--json", action="store_true", default=argparse.SUPPRESS)
    return parser


def _run(argv: Sequence[str] | None) -> None:
    given = _parser().parse_args(argv)
    if given.word == "show":
        print(get_recipe(given.name).text, end="")
    elif given.word == "lint":
        from fullscale.recipes.lint_words import lint_file  # seconds

        print(lint_file(read_file(given.file), place=str(given.file), as_json=given.json))
    else:
        recipes, results = list(all_recipes().values()), results_without_recipe()
        both = {"recipes": recipe_rows(recipes), "no_recipe": [vars(each) for each in results]}
        print(json.dumps(both, indent=2) if given.json else list_in_words(recipes, results))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command: 0 also where something is unusual, 2 where the input is wrong."""
    return run_command(lambda: _run(argv))


if __name__ == "__main__":
    sys.exit(main())

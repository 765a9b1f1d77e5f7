"""What a recipe is: a YAML file for the trainer whose first lines say what it claims.

The comment at the top has a title and then fields, each on one line or more:

    # Row:    published table and line that it was made from; left out where there is none
    # Source: who says so
    # Expect: the result, shortest form first, up to the first semicolon
    # Differs from the source: ...
    # Cost:   time and hardware of the source, or of ours
    # Run:    the command
"""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from models_of_scaling.errors import InputError

FIELDS: Final = ("Row", "Source", "Seeds", "Expect", "Differs from the source", "Cost", "Run")
# Each but these two must be there.
_OPTIONAL: Final = frozenset({"Row", "Seeds"})
_START: Final = re.compile(rf"({'|'.join(FIELDS)}): *(.*)")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One published claim.

    Attributes:
        name: by which the command knows it.
        text: of the file, as `fullscale.fit --config` reads it.
        title: its first line.
        fields: what the comment says, by `FIELDS`, each as one line.
        settings: the YAML's content.
    """

    name: str
    text: str
    title: str
    fields: Mapping[str, str]
    settings: Mapping[str, Any]

    @property
    def model(self) -> Mapping[str, Any]:
        """Flags of --model."""
        found: Mapping[str, Any] = self.settings["model"]
        return found

    @property
    def batch_size(self) -> int:
        """Examples per optimizer step."""
        return int(self.settings["data"]["global_batch_size"])

    @property
    def result(self) -> str:
        """The expected result in its shortest form."""
        return self.fields["Expect"].partition(";")[0].rstrip(".")

    @property
    def row(self) -> tuple[str, int] | None:
        """Published table and line (the header is line 1) that it was made from."""
        file, _, line = self.fields.get("Row", "").partition(" line ")
        return (file, int(line)) if line else None

    @property
    def num_seeds(self) -> int | None:
        """Runs behind the expected result; None where the source does not say."""
        return int(self.fields["Seeds"]) if "Seeds" in self.fields else None


def parse_recipe(name: str, text: str) -> Recipe:
    """Read a recipe's text.

    Args:
        name: of the recipe.
        text: comment and YAML.

    Returns:
        The recipe.

    Raises:
        InputError: where a field is missing or the rest is no YAML with model and data.
    """
    lines = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    comment = [line[1:].strip() for line in lines]
    title, fields, field = (comment or [""])[0], dict[str, str](), ""
    for line in comment[1:]:
        if match := _START.match(line):
            field, line = match.groups()
            fields[field] = ""
        if field:
            fields[field] = f"{fields[field]} {line}".strip()
    missing = [each for each in FIELDS if each not in fields and each not in _OPTIONAL]
    if missing:
        raise InputError(f"recipe {name}: its comment has no field {', '.join(missing)}")
    return Recipe(
        name=name, text=text, title=title, fields=fields, settings=read_yaml(text, place=name)
    )


def read_yaml(text: str, *, place: str) -> Mapping[str, Any]:
    """Read settings for the trainer.

    Args:
        text: of a YAML file.
        place: names the file in an error.

    Returns:
        Its sections; model and data are there and are mappings.

    Raises:
        InputError: where it is no YAML, or a section is missing.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{place}: not a YAML file: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{place}: must hold sections trainer, model and data")
    for section in ("model", "data"):
        if not isinstance(content.get(section), dict):
            raise InputError(f"{place}: section {section} is missing, or holds no settings")
    return content


def read_file(path: Path) -> str:
    """Return a file's text.

    Args:
        path: of the file.

    Raises:
        InputError: where it can't be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: can't be read: {reason}") from error

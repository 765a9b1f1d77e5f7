"""A user's own update rule in a sweep, `--optimizer my_package.my_rules.MY_RULE`.

The rule is an `UpdateRule` of `fullscale.optimizers.update_rule`; beside it in the same module
stands `MY_RULE_SPACE`, the `SearchSpace` that says between what its numbers are searched. The
digest of the module's source is a part of the space, and so of the study's name: after any change
of that file a sweep is a new study. docs/workloads.md has a whole example.
"""

import hashlib
import importlib
from dataclasses import dataclass, fields
from pathlib import Path

from models_of_scaling.errors import InputError
from surrogate.search_space import SearchSpace
from surrogate.user_workload_checks import check_space, in_one_line


@dataclass(frozen=True, kw_only=True)
class UserSearchSpace(SearchSpace):
    """A search space that knows from which source it is.

    Attributes:
        source: eight digits of the sha256 of the module's file.
    """

    source: str


def user_space(path: str) -> UserSearchSpace:
    """Return the search space that stands beside a user's own rule.

    Args:
        path: of the rule, words joined by dots.

    Returns:
        The space.

    Raises:
        InputError: where the module can't be imported or has no such space, or where the rule
            can't take it.
    """
    module_name, _, rule = path.rpartition(".")
    where = f"--optimizer {path}: {rule}_SPACE"
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise InputError(
            f"--optimizer {path}: importing {module_name} failed: {in_one_line(error)} (looked for "
            f"in {Path.cwd()} and on PYTHONPATH)"
        ) from error
    if module.__file__ is None or not hasattr(module, f"{rule}_SPACE"):
        raise InputError(
            f"{where} is missing in {module.__file__}: a SearchSpace that says between what the "
            "rule's numbers are searched (docs/workloads.md has an example)"
        )
    space = check_space(getattr(module, f"{rule}_SPACE"), path, where=where)
    given = {each.name: getattr(space, each.name) for each in fields(SearchSpace)}
    return UserSearchSpace(**given, source=_digest(module.__file__))


def check_same_source(path: str, space: SearchSpace) -> None:
    """Refuse to run a study's rule where another version of its file lies.

    Args:
        path: of the rule.
        space: of the study; of a rule that is not a user's there is nothing to check.

    Raises:
        InputError: naming both versions.
    """
    if not isinstance(space, UserSearchSpace):
        return
    here = user_space(path).source
    if here != space.source:
        raise InputError(
            f"--optimizer {path}: its file is {here} here: another version than the one that the "
            f"study began with, {space.source}"
        )


def _digest(file: str) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:8]

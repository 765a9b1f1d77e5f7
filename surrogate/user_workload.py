"""A user's own workload by its class path, `--workload my_package.MyWorkload`.

The class is made without arguments, and has the methods of `WorkloadClass`; docs/workloads.md has a
whole example. Its module is found as any import is: in the folder where the command runs and on
PYTHONPATH, in worker processes too.

A study names the workload `my_package.MyWorkload@IDENTITY`. IDENTITY is the class's own `version`,
a short string, or where it has none a hash of its module's source: after any change of that file
the sweep is a new study, and a worker that sees another file than the one who planned refuses.
"""

import functools
import hashlib
import importlib
import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from models_of_scaling.errors import InputError
from models_of_scaling.targets import Target
from surrogate.search_space import SearchSpace
from surrogate.user_workload_checks import (
    called,
    check_arrays,
    check_network,
    check_space,
    in_one_line,
)
from surrogate.workload import Workload

if TYPE_CHECKING:
    from torch import nn

    from fullscale.data.image_arrays import ImageArrays

# A word after a dot begins with a letter: noisy_quadratic_curvature1.2 is no path.
_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+(@[\w.]+)?")
METHODS = ("data", "network", "target", "batch_sizes", "budget")


class WorkloadClass(Protocol):
    """What a user's class must have; it may have `search_spaces` and `version` besides."""

    def data(self) -> "ImageArrays":
        """Return the examples; the same ones at every call and in every process."""
        ...

    def network(self) -> "nn.Module":
        """Return a new network, freshly initialised from torch's random state.

        The caller has set that state, so the start depends on a run's seed.
        """
        ...

    def target(self) -> str:
        """Return the default target, such as `train_loss<=0.1`."""
        ...

    def batch_sizes(self) -> Sequence[int]:
        """Return the default batch sizes, increasing, at most the number of training examples."""
        ...

    def budget(self) -> tuple[int, int]:
        """Return (floor_steps, budget_examples): a run may take their sum, in steps."""
        ...


def is_class_path(name: str) -> bool:
    """Return whether a workload's name is the path of a class: words joined by dots."""
    return _PATH.fullmatch(name) is not None


def user_workload(name: str, spaces: Mapping[str, SearchSpace]) -> Workload:
    """Return the workload that a class describes.

    Args:
        name: path of the class, with or without `@IDENTITY`.
        spaces: search spaces where the class has none of its own.

    Returns:
        The workload, named with its identity.

    Raises:
        InputError: where the class is not found, lacks a method, one returns another thing than
            it should, or the identity is another one.
    """
    path, _, wanted = name.partition("@")
    user, identity = _instance(path)
    if wanted and wanted != identity:
        raise InputError(
            f"--workload {name}: here {path} is {identity}: another version of its file than the "
            "one that the study began with"
        )
    target = _answer(path, user, "target", str, "a str such as 'train_loss<=0.1'")
    sizes = _whole_numbers(path, user, "batch_sizes", at_least=2)
    floor_steps, budget_examples = _whole_numbers(path, user, "budget", at_least=2)[:2]
    arrays = _data(path)
    if sizes != tuple(sorted(set(sizes))) or sizes[-1] > arrays.num_train_examples:
        raise InputError(
            f"--workload {path}: batch_sizes() returned {list(sizes)}: they must increase, to at "
            f"most the {arrays.num_train_examples} training examples"
        )
    return Workload(
        name=f"{path}@{identity}",
        dataset=arrays.name,
        model=path,
        target=called(path, "target", lambda: Target.parse(target)),
        batch_sizes=sizes,
        quick_batch_sizes=sizes,
        max_batch_size=arrays.num_train_examples,
        spaces=_spaces(path, user, spaces),
        floor_steps=floor_steps,
        budget_examples=budget_examples,
        load=functools.partial(_data, path),
        check_data=functools.partial(_check_network, path),
        make_network=functools.partial(_network, path),
    )


@functools.cache
def _instance(path: str) -> tuple[Any, str]:
    """Return the class's instance and its identity; once a process."""
    module_name, _, class_name = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # A module that the user's own one imports is missing: that is the user's to see as such.
        if not (error.name and f"{module_name}.".startswith(f"{error.name}.")):
            raise InputError(
                f"--workload {path}: importing {module_name} failed: {error}"
            ) from error
        raise InputError(
            f"--workload {path}: no module {error.name!r} in {Path.cwd()} nor on PYTHONPATH; "
            "a workload is a name of docs/workloads.md or MODULE.CLASS"
        ) from error
    except (Exception, SystemExit) as error:
        raise InputError(
            f"--workload {path}: importing {module_name} failed: {in_one_line(error)}"
        ) from error
    if not hasattr(module, class_name):
        raise InputError(f"--workload {path}: {module.__file__} has no {class_name}")
    made = getattr(module, class_name)
    if not inspect.isclass(made):
        raise InputError(f"--workload {path}: {class_name} is no class but {type(made).__name__}")
    for method in METHODS:
        if not callable(getattr(made, method, None)):
            raise InputError(
                f"--workload {path}: has no method {method}(); it needs {', '.join(METHODS)}"
            )
    return called(path, "__init__", made), _identity(path, made)


def _identity(path: str, made: type) -> str:
    version = getattr(made, "version", None)
    if version is not None:
        if not isinstance(version, str) or not re.fullmatch(r"[\w.]{1,32}", version):
            raise InputError(
                f"--workload {path}: version {version!r} must be 1 to 32 letters, digits, _ or ."
            )
        return version
    file = sys.modules[made.__module__].__file__
    if file is None:
        raise InputError(f"--workload {path}: has no source file; give the class a version")
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:8]


def _answer(path: str, user: Any, method: str, kind: type, rule: str) -> Any:
    value = called(path, method, getattr(user, method))
    if not isinstance(value, kind):
        raise InputError(
            f"--workload {path}: {method}() returned {type(value).__name__}, not {rule}"
        )
    return value


def _whole_numbers(path: str, user: Any, method: str, *, at_least: int) -> tuple[int, ...]:
    values = tuple(_answer(path, user, method, Sequence, "a tuple of whole numbers"))
    if len(values) < at_least or not all(type(each) is int and each > 0 for each in values):
        raise InputError(
            f"--workload {path}: {method}() returned {values!r}, not at least {at_least} positive "
            "whole numbers"
        )
    return values


def _spaces(path: str, user: Any, default: Mapping[str, SearchSpace]) -> Mapping[str, SearchSpace]:
    if not hasattr(user, "search_spaces"):
        return default
    spaces: Mapping[str, SearchSpace] = _answer(
        path, user, "search_spaces", Mapping, "a dict of SearchSpace by optimizer"
    )
    if not spaces:
        raise InputError(f"--workload {path}: search_spaces() returned none")
    for optimizer, space in spaces.items():
        check_space(space, optimizer, where=f"--workload {path}: search_spaces()")
    return spaces


@functools.cache
def _data(path: str) -> "ImageArrays":
    """Return the user's data, checked; once a process."""
    from fullscale.data.image_arrays import ImageArrays

    user, _ = _instance(path)
    arrays: ImageArrays = _answer(path, user, "data", ImageArrays, "ImageArrays")
    check_arrays(path, arrays)
    return arrays


def _network(path: str, seed: int) -> "nn.Module":
    """Return a new network; the caller's random state is left as it was."""
    import torch

    user, _ = _instance(path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: torch.nn.Module = _answer(path, user, "network", torch.nn.Module, "a nn.Module")
    return network


def _check_network(path: str) -> None:
    check_network(path, functools.partial(_network, path), _data(path))

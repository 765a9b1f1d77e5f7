"""Plans as YAML files that the trainer reads, reasons as comments at the top; recipes read back."""

import shlex
import textwrap
from pathlib import Path

import yaml

from models_of_scaling.atomic_write import whole_file
from models_of_scaling.errors import InputError
from models_of_scaling.planning.plan import Plan, Settings

_WIDTH = 98


def read_settings(path: Path) -> Settings:
    """Read a recipe.

    Args:
        path: of a YAML file with sections trainer, model and data.

    Returns:
        Its content.

    Raises:
        InputError: where it can't be read or is no mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"--base-config {path}: no such file; `python -m fullscale.recipes` lists recipes, and "
            "with `show NAME` prints one as a file"
        ) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"--base-config {path}: not a readable YAML file: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"--base-config {path}: must hold sections trainer, model and data")
    return content


def launch_line(plan: Plan, path: Path) -> str:
    """Return the command that runs a plan.

    Args:
        plan: what is run.
        path: of its file.
    """
    place, file = plan.choice.placement, shlex.quote(str(path))
    if place.nodes == 1:
        return f"python -m fullscale.fit --config {file}"
    return (
        f"torchrun --nnodes {place.nodes} --nproc-per-node {place.devices_per_node} "
        f"--node-rank N --master-addr HOST_OF_NODE_0 -m fullscale.fit --config {file}"
    )


def plan_text(plan: Plan, path: Path, *, source: str) -> str:
    """Return the file's content.

    Args:
        plan: what to write.
        path: where it will stand.
        source: what it was made from, in words.
    """
    lines = [f"# Planned by python -m models_of_scaling plan from {source}."]
    for reason in plan.reasons:
        lines += textwrap.wrap(
            reason, _WIDTH, initial_indent="# - ", subsequent_indent="#   ",
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
    if plan.choice.placement.nodes > 1:
        lines.append(f"# Run on each node N = 0 ... {plan.choice.placement.nodes - 1}:")
    else:
        lines.append("# Run:")
    lines.append(f"#   {launch_line(plan, path)}")
    body: str = yaml.safe_dump(plan.settings, sort_keys=False, width=_WIDTH)
    return "\n".join(lines) + "\n" + body


def write_plan(path: Path, text: str) -> None:
    """Write a plan, whole or not at all.

    Args:
        path: of the YAML file.
        text: its content.
    """
    with whole_file(path) as stream:
        stream.write(text.encode())

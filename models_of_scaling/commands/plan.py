"""`plan`: a YAML that the trainer runs unchanged, and why it is as it is."""

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from models_of_scaling.commands.machine_choice import add_machine_choice, machine_choice
from models_of_scaling.errors import InputError
from models_of_scaling.output_file import check_out

if TYPE_CHECKING:
    from models_of_scaling.fit_record import FitRecord
    from models_of_scaling.planning.plan import Plan
    from models_of_scaling.planning.tuned_values import Tuned

HELP: Final = "write a YAML that fullscale.fit runs, with the reasons"
EXAMPLE: Final = "fit.json --nodes 8 --devices-per-node 8 --base-config recipe.yaml --out plan.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's words.

    Args:
        parser: of this command.
    """
    parser.add_argument("fit", type=Path, metavar="FIT.JSON", help="what `fit` wrote")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="PLAN.YAML", help="for fullscale.fit --config"
    )
    parser.add_argument(
        "--objective",
        choices=("fastest", "cheapest", "balanced"),
        default="balanced",
        help="least time, least device hours, or the least product of both (default: balanced); "
        "without a step time: least steps, examples, product",
    )
    parser.add_argument(
        "--probability",
        type=float,
        default=0.95,
        help="share of new runs that reach the target within the planned length (default: 0.95)",
    )
    parser.add_argument(
        "--base-config",
        type=Path,
        metavar="RECIPE.YAML",
        help="network, data and all else that the fit can't know; `python -m fullscale.recipes` "
        "has some",
    )
    parser.add_argument(
        "--table",
        type=Path,
        metavar="TRIALS",
        help="the sweep's folder of trials that was fitted, for their tuned values",
    )
    parser.add_argument("--learning-rate", type=float, help="peak rate, not a derived one")
    parser.add_argument(
        "--learning-rate-rule",
        choices=("linear", "sqrt"),
        help="for a rate carried to another batch size (default: linear for momentum, else sqrt)",
    )
    parser.add_argument("--warmup", help="instead of a derived one, for example '5 epochs'")
    add_machine_choice(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object, nothing else")


def run(arguments: argparse.Namespace) -> None:
    """Write the plan and print its reasons.

    Args:
        arguments: what `add_arguments` asked for.

    Raises:
        InputError: where a word is wrong or something is missing.
    """
    from models_of_scaling.fit_record import read_fit
    from models_of_scaling.planning.plan import Sources, make_plan
    from models_of_scaling.planning.plan_choice import choose_run
    from models_of_scaling.planning.plan_file import (
        launch_line,
        plan_text,
        read_settings,
        write_plan,
    )

    check_out(arguments.out, inputs=(arguments.fit, arguments.base_config, arguments.table))
    rate = arguments.learning_rate
    if rate is not None and not 0 < rate < math.inf:
        raise InputError(f"--learning-rate {rate} must be positive and finite")
    fit = read_fit(arguments.fit)
    base = None if arguments.base_config is None else read_settings(arguments.base_config)
    words = machine_choice(arguments, fit, device_limit=_device_limit(base))
    sources = Sources(
        base=base,
        tuned=[] if arguments.table is None else _tuned(arguments.table, fit),
        learning_rate=rate,
        warmup=arguments.warmup,
        rule=arguments.learning_rate_rule,
        table=arguments.table,
    )
    choice = choose_run(
        fit,
        words.belief,
        words.machines,
        words.batch_sizes,
        objective=arguments.objective,
        probability=arguments.probability,
    )
    plan = make_plan(fit, choice, sources)
    source = f"{arguments.fit}"
    if arguments.base_config is not None:
        source += f" and {arguments.base_config}"
    write_plan(arguments.out, plan_text(plan, arguments.out, source=source))
    if arguments.json:
        print(json.dumps(_as_json(plan, arguments.out), allow_nan=False))
        return
    print("\n".join(plan.reasons))
    print(f"Written: {arguments.out}. Run: {launch_line(plan, arguments.out)}")


def _device_limit(base: "dict[str, Any] | None") -> int | None:
    data = (base or {}).get("data")
    limit = data.get("max_per_device_batch_size") if isinstance(data, dict) else None
    if limit is not None and not (isinstance(limit, int) and limit >= 1):
        raise InputError(
            f"--base-config: data.max_per_device_batch_size {limit!r} must be a whole number of "
            "at least 1"
        )
    return limit


def _tuned(path: Path, fit: "FitRecord") -> "list[Tuned]":
    from models_of_scaling.planning.tuned_values import tuned_values
    from models_of_scaling.study_source import TableChoice, choose_trials, is_trials
    from models_of_scaling.targets import Target
    from models_of_scaling.trials import read_trials

    if not path.exists():
        raise InputError(f"--table {path}: no such file or folder")
    if not is_trials(path):
        raise InputError(
            f"--table {path}: is no folder of trials; a table of steps has no learning rates"
        )
    if not fit.target:
        raise InputError(f"--table {path}: the fit does not say to which target; fit the trials")
    choice = TableChoice(workload=fit.workload or None, optimizer=fit.optimizer or None)
    table = choose_trials(read_trials(path), choice, where=str(path))
    return tuned_values(table, Target.parse(fit.target), where=str(path))


def _as_json(plan: "Plan", path: Path) -> dict[str, Any]:
    choice, place = plan.choice, plan.choice.placement
    option = choice.option
    return {
        "path": str(path),
        "batch_size": place.batch_size,
        "nodes": place.nodes,
        "devices_per_node": place.devices_per_node,
        "per_device_batch_size": place.per_device_batch_size,
        "accumulate_grad_batches": place.accumulate_grad_batches,
        "learning_rate": plan.settings["model"]["learning_rate"],
        "warmup": plan.settings["model"].get("warmup", "0 steps"),
        "train_duration": plan.settings["model"]["train_duration"],
        "probability": choice.probability,
        "steps": choice.steps.estimate,
        "steps_low": choice.steps.low,
        "steps_high": choice.steps.high,
        "time_s": option and option.time_s.estimate,
        "time_s_low": option and option.time_s.low,
        "time_s_high": option and option.time_s.high,
        "device_hours": option and option.device_hours,
        "reasons": list(plan.reasons),
        "settings": plan.settings,
    }

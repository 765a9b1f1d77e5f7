"""What each step of a recipe gains: python -m surrogate.ablate --recipe FILE --workload digits.

The baseline (SGD with momentum at a constant rate) gets the recipe's ingredients one after the
other, and the whole recipe loses each of them in turn. Every rung is tuned anew with the same
number of trials and seeds. With --epochs the question is accuracy at their end, else steps to the
target. docs/ablation.md says what the intervals hold.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from models_of_scaling.ablation import Scale
from models_of_scaling.atomic_write import whole_file
from models_of_scaling.command_line import OneLineParser, run_command
from models_of_scaling.commands.picture_file import add_picture_file, check_picture_file
from models_of_scaling.errors import InputError
from models_of_scaling.intervals import check_level
from models_of_scaling.targets import Target
from surrogate.ablation.ingredient_list import IngredientList, read_ingredients
from surrogate.ablation.rungs import Comparison, plan_comparison, run_rungs, runs_of
from surrogate.ablation.table import Table, make_table, table_in_words
from surrogate.executors import SweepFailedError
from surrogate.protocol_flags import RunChoice
from surrogate.run_sweep import SweepSettings
from surrogate.rungs import add_workload_arguments, pop_workload
from surrogate.workloads import get_workload


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m surrogate.ablate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--recipe", required=True, help="a file for fullscale.fit, or a recipe's name")
    add_workload_arguments(parser)
    add(
        "--out",
        required=True,
        type=Path,
        metavar="DIR",
        help="trials go to DIR/trials, the table to DIR",
    )
    add(
        "--batch-size",
        type=int,
        metavar="B",
        help="examples per step (default: the whole training set)",
    )
    add(
        "--epochs",
        type=float,
        metavar="E",
        help="ask for accuracy after so many, not steps to the target",
    )
    add("--target", help="such as 'validation_loss<=0.2' (default: the workload's)")
    add(
        "--order",
        metavar="LIST",
        help="of the ingredients, such as schedule,warmup,optimizer (default: the recipe's)",
    )
    add(
        "--trials",
        type=int,
        default=32,
        metavar="N",
        help="runs searched at each rung (default: 32)",
    )
    add(
        "--repeats",
        type=int,
        default=5,
        metavar="N",
        help="fresh seeds of each winner (default: 5)",
    )
    add(
        "--searches",
        type=int,
        default=3,
        metavar="N",
        help="independent ones at each rung (default: 3)",
    )
    add("--level", type=float, default=0.9, help="share that intervals shall hold (default: 0.9)")
    add("--seed", type=int, default=0, help="of the first search (default: 0)")
    add("--workers", type=int, default=0, metavar="N", help="processes (default: all cores)")
    add("--dry-run", action="store_true", help="name the rungs and their runs; run none")
    add("--json", action="store_true", help="print JSON")
    add_picture_file(parser)
    return parser


def _read_recipe(text: str) -> tuple[str, Any]:
    from fullscale.recipes.catalogue import get_recipe
    from fullscale.recipes.recipe import read_file, read_yaml

    path = Path(text)
    if path.suffix in {".yaml", ".yml"} or path.exists():
        return text, read_yaml(read_file(path), place=text)
    return text, get_recipe(text).settings


def _ordered(found: IngredientList, order: str | None) -> IngredientList:
    """Return the ingredients in the order asked for; those not named keep theirs, after it."""
    if order is None:
        return found
    by_name = {each.name: each for each in found.ingredients}
    names = order.split(",")
    for name in names:
        if name not in by_name or names.count(name) > 1:
            raise InputError(f"--order: {name!r} is not, once, one of {', '.join(by_name)}")
    rest = [name for name in by_name if name not in names]
    return replace(found, ingredients=tuple(by_name[name] for name in (*names, *rest)))


def _plan(arguments: dict[str, Any]) -> tuple[Comparison, IngredientList, Scale, str]:
    recipe, content = _read_recipe(arguments["recipe"])
    baseline, epochs, target = (arguments[name] for name in ("optimizer", "epochs", "target"))
    workload = get_workload(pop_workload(arguments))
    if workload.engine != "population":
        raise InputError(f"--workload {workload.name}: a simulator has none of the ingredients")
    size = arguments["batch_size"]
    size = workload.max_batch_size if size is None else size
    found = _ordered(
        read_ingredients(content, baseline, RunChoice(epochs=epochs), where=recipe),
        arguments["order"],
    )
    if arguments["searches"] < 1:
        raise InputError(f"--searches {arguments['searches']} must be at least 1")
    settings = SweepSettings(
        workload=workload.name,
        out=arguments["out"],
        optimizer=baseline,
        batch_sizes=(size,),
        target=None if target is None else Target.parse(target),
        trials=arguments["trials"],
        repeats=arguments["repeats"],
        seed=arguments["seed"],
        workers=arguments["workers"],
        run=found.baseline.run,
    )
    comparison = plan_comparison(settings, found, searches=arguments["searches"])
    scale: Scale = "steps" if epochs is None else "accuracy"
    asked = f"steps to {settings.plan.target}" if epochs is None else f"{epochs:g} epochs"
    question = (
        f"{workload.name}, batch size {size:,}, {asked}: {arguments['searches']} searches of "
        f"{arguments['trials']} trials, {arguments['repeats']} fresh seeds each"
    )
    return comparison, found, scale, question


def _run(argv: Sequence[str] | None) -> int:
    arguments = vars(_parser().parse_args(argv))
    level, picture = check_level(arguments["level"]), arguments.pop("plot")
    picture_format = check_picture_file(picture)
    comparison, found, scale, question = _plan(arguments)
    if arguments["dry_run"]:
        print(_dry_run_in_words(comparison, question))
        return 0
    try:
        run_rungs(comparison)
    except SweepFailedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    table = make_table(
        [runs_of(rung, scale) for rung in comparison.ladder],
        [runs_of(rung, scale) for rung in comparison.without.values()],
        scale=scale,
        level=level,
        question=question,
        left_out=found.left_out,
    )
    with whole_file(arguments["out"] / "ablation.json") as stream:
        stream.write(json.dumps(table.as_json(), indent=1).encode())
    if picture is not None:
        _draw(table, picture, picture_format)
    print(json.dumps(table.as_json()) if arguments["json"] else table_in_words(table))
    return 0


def _draw(table: Table, picture: Path, picture_format: str) -> None:
    from models_of_scaling.plots.ablation import ablation_picture

    steps = [(row.label, row.mean, row.gain) for row in table.rows]
    with whole_file(picture) as stream:
        stream.write(ablation_picture(steps, scale=table.scale, picture_format=picture_format))


def _dry_run_in_words(comparison: Comparison, question: str) -> str:
    sweeps = comparison.sweeps
    runs = sum(sweep.plan.protocol.planned_trials for sweep in sweeps)
    [size] = sweeps[0].sizes
    longest = max(sweep.plan.budget.steps(size) for sweep in sweeps)
    lines = [question, "", *(f"  {rung.label}" for rung in comparison.ladder)]
    lines += [f"  {rung.label}" for rung in list(comparison.without.values())[:-1]]
    lines += ["", f"{len(sweeps)} sweeps, {runs:,} runs of at most {longest:,} steps each"]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `--help`."""
    return run_command(lambda: _run(argv))


if __name__ == "__main__":
    sys.exit(main())

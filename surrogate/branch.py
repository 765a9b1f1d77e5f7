"""Critical batch size by branching: python -m surrogate.branch --workload digits --out DIR.

From checkpoints of a tuned run, branches at 2x, 4x, 8x ... its batch size process the same
examples; where they lose loss is the critical batch size there, beside the noise scale and the one
from steps to target. Without --trials a quick sweep is run first.
"""

import csv
import io
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from models_of_scaling.atomic_write import whole_file
from models_of_scaling.branch_table import CheckpointRow, checkpoint_row, row_cells, table_in_words
from models_of_scaling.command_line import run_command
from models_of_scaling.fit_record import FitRecord
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.planning.tuned_values import tuned_values
from models_of_scaling.provenance import collect_provenance
from models_of_scaling.study_source import TableChoice, choose_trials, read_measurements
from models_of_scaling.targets import Target
from models_of_scaling.trials import read_trials
from surrogate.branching.branch_choice import BranchChoice, branch_choice, branch_parser
from surrogate.branching.plan import choose_base, plan_branches
from surrogate.run_sweep import SweepFailedError, SweepSettings, run_sweep
from surrogate.training.training_device import device_name

if TYPE_CHECKING:
    from surrogate.branching.plan import BranchPlan, Checkpoint


def branch(asked: BranchChoice) -> tuple[FitRecord, "BranchPlan", "list[Checkpoint]"]:
    """Fit steps to target, choose the base run, and train it and its branches.

    Args:
        asked: of the command line.

    Returns:
        The fit, the plan and each checkpoint.
    """
    workload, trials = asked.workload, asked.trials
    if trials is None:
        settings = SweepSettings(
            workload=workload.name,
            optimizer=asked.optimizer,
            out=asked.out / "sweep",
            quick=True,
            workers=asked.workers,
        )
        trials = run_sweep(settings, progress=True).trials_folder
    choice = TableChoice(workload=workload.name, optimizer=asked.optimizer)
    fit = fit_laws(read_measurements(trials, choice), FitChoice())
    table = choose_trials(read_trials(trials), choice, where=str(trials))
    tuned = tuned_values(table, Target.parse(str(fit.target)), where=str(trials))
    base = choose_base(tuned, fit, asked.batch_size)
    plan = plan_branches(
        base,
        fit,
        max_batch_size=min(asked.max_batch_size or math.inf, workload.max_batch_size),
        checkpoints=asked.checkpoints,
        rules=asked.rules,
        seeds=asked.seeds,
    )
    if workload.engine == "population":
        return fit, plan, _train(asked, base.batch_size, plan)
    return fit, plan, _simulate(asked, base.batch_size, plan)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _simulate(asked: BranchChoice, base_batch_size: int, plan: "BranchPlan") -> "list[Checkpoint]":
    from surrogate.branching.simulated_runs import SimulatedBranches
    from surrogate.simulator.methods import METHODS

    assert asked.workload.spectrum is not None
    simulated = SimulatedBranches(
        asked.workload.spectrum(),
        METHODS[asked.optimizer],
        plan,
        base_batch_size=base_batch_size,
    )
    return simulated.run(_say)


def _train(asked: BranchChoice, base_batch_size: int, plan: "BranchPlan") -> "list[Checkpoint]":
    # torch, and the data, are loaded when all arguments have been found good.
    from fullscale.optimizers.registry import get_update_rule
    from surrogate.branching.runs import run_branches
    from surrogate.training.population_trials import prepare_torch
    from surrogate.training.task import Task
    from surrogate.training.training_device import training_device

    workload = asked.workload
    prepare_torch()
    assert workload.load is not None
    task = Task(
        data=workload.load(),
        model=workload.model,
        make_network=workload.make_network,
        rule=get_update_rule(asked.optimizer),
        batch_size=base_batch_size,
        device=training_device(),
    )
    return run_branches(task, plan, say=_say)


def _run(argv: Sequence[str] | None) -> int:
    asked = branch_choice(branch_parser((__doc__ or "").splitlines()[0]).parse_args(argv))
    try:
        fit, plan, checkpoints = branch(asked)
    except SweepFailedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    rows = [
        checkpoint_row(
            c.branches, c.noise, curvature_noise=c.curvature_noise, tolerance=asked.tolerance
        )
        for c in checkpoints
    ]
    base = checkpoints[0].branches.base_batch_size
    title = f"{asked.workload.name}, {asked.optimizer}, branches from batch size {base}"
    _write(asked.out, rows, checkpoints, fit=fit, plan=plan, title=title)
    print(title)
    print(table_in_words(rows, fit.critical_batch_size))
    return 0


def _write(
    out: Path,
    rows: "Sequence[CheckpointRow]",
    checkpoints: "Sequence[Checkpoint]",
    *,
    fit: FitRecord,
    plan: "BranchPlan",
    title: str,
) -> None:
    from models_of_scaling.plots.branching import branching_picture  # matplotlib, once it is needed

    picture = branching_picture(
        rows, fit.critical_batch_size, largest_branch=plan.batch_sizes[-1], title=title
    )
    provenance = collect_provenance(device=device_name())
    record = {
        "title": title,
        "target": fit.target,
        "steps_to_target_critical_batch_size": vars(fit.critical_batch_size),
        "plan": vars(plan),
        "commit": provenance.commit,
        "dirty": provenance.dirty,
        "versions": provenance.versions,
        "device": provenance.device,
        "start_time": provenance.start_time.isoformat(),
    }
    for name, content in (
        ("critical_batch_size.csv", _csv([row_cells(row) for row in rows])),
        ("branches.csv", _csv(_losses(checkpoints))),
        ("branching.json", json.dumps(record, indent=1).encode()),
        ("branching.svg", picture),
    ):
        with whole_file(out / name) as stream:
            stream.write(content)


def _losses(checkpoints: "Sequence[Checkpoint]") -> list[dict[str, float | str]]:
    """Return each branch's loss, one row a seed, rule and batch size; the base run's as rule ''."""
    rows: list[dict[str, float | str]] = []
    for checkpoint in checkpoints:
        branches = checkpoint.branches
        end = int((branches.base_examples_N <= branches.branch_examples).sum()) - 1
        runs = [("", branches.base_batch_size, branches.base_loss_RN[1.0][:, end])]
        runs += [
            (rule, size, losses)
            for rule, loss_RM in branches.loss_RM.items()
            for size, losses in zip(branches.batch_sizes, loss_RM.T, strict=True)
        ]
        rows += [
            {
                "examples": branches.examples,
                "branch_examples": branches.branch_examples,
                "rule": rule,
                "batch_size": size,
                "seed": seed,
                "train_loss": float(loss),
            }
            for rule, size, losses in runs
            for seed, loss in enumerate(losses)
        ]
    return rows


def _csv(rows: "Sequence[dict[str, float]] | Sequence[dict[str, float | str]]") -> bytes:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `--help`.

    Args:
        argv: the arguments; those of the process when None.

    Returns:
        The exit code.
    """
    return run_command(lambda: _run(argv))


if __name__ == "__main__":
    sys.exit(main())

"""Test accuracy of a sweep's tuned runs, once: python -m surrogate.final_test DIR --out test.csv.

A sweep with `--holdout N` chooses on held-out training images and never reads the test split. When
all choices are made, this command trains the repeats of every study of the folder again, from the
same seeds with the same numbers, and evaluates them at their end on the official test split. That
they are the same runs is checked: the training loss must be the one on record.
"""

import argparse
import csv
import io
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from models_of_scaling.atomic_write import whole_file
from models_of_scaling.command_line import OneLineParser, run_command
from models_of_scaling.errors import InputError
from models_of_scaling.output_file import check_out
from models_of_scaling.trials import Trial
from surrogate.data_root import add_data_root_argument
from surrogate.protocol import Plan
from surrogate.shortlist import winner_of
from surrogate.study_record import read_study_records
from surrogate.trial_parts import finished_trials
from surrogate.workloads import get_workload

# Of a training loss: another processor or release of torch rounds otherwise, and a run of a few
# hundred steps carries that on; another seed or rate is off by far more.
_SAME_RUN = 0.02


@dataclass(frozen=True, kw_only=True)
class FinalRun:
    """One repeat, on the test split.

    Attributes:
        study: its name.
        workload: its workload.
        optimizer: its optimizer.
        batch_size: examples per step.
        seed: of the run.
        steps: optimizer steps done.
        status: how it ended.
        validation_accuracy: at its end, as recorded; nothing here was chosen by the others.
        test_accuracy: share of right answers on the test split at its end.
        test_loss: mean cross entropy there.
        num_test_examples: images in it.
    """

    study: str
    workload: str
    optimizer: str
    batch_size: int
    seed: int
    steps: int
    status: str
    validation_accuracy: float
    test_accuracy: float
    test_loss: float
    num_test_examples: int


def tuned_repeats(plan: Plan, trials: Sequence[Trial]) -> list[Trial]:
    """Return the repeats that answer a study's question at one batch size.

    Args:
        plan: the study.
        trials: of the batch size, of any phase.
    """
    repeats = [trial for trial in trials if trial.phase == "repeat"]
    if not repeats:
        return []
    winner = winner_of(plan, repeats[0].batch_size, trials, plan.questions[0])
    if winner is None:
        return []
    return [trial for trial in repeats if trial.hyper_parameters == winner.hyper_parameters]


def tested_runs(plan: Plan, trials: Sequence[Trial]) -> Iterator[FinalRun]:
    """Train repeats again and evaluate them on the test split.

    Args:
        plan: the study; its workload has a `load_test`.
        trials: repeats of one batch size.

    Yields:
        In the order given.

    Raises:
        InputError: where a run is not the one on record.
    """
    from surrogate.protocol import Candidate
    from surrogate.training.members import StopRule
    from surrogate.training.population_trials import member_of, prepare_torch, task_of
    from surrogate.training.train_population import train_population

    prepare_torch()
    batch_size = trials[0].batch_size
    task = task_of(plan, batch_size, on_test=True)
    stop_rule = StopRule(
        # The runs as they were: nothing on the test split may end one.
        target=None,
        max_steps=max(trial.steps for trial in trials),
        stop_at_target=False,
    )
    ends = {trial.steps for trial in trials}

    def next_end(step: int) -> int:
        return min((end for end in ends if end > step), default=stop_rule.max_steps)

    members = [
        member_of(
            Candidate(
                phase=trial.phase,
                hyper_parameters=trial.hyper_parameters,
                settings=trial.settings,
                seed=trial.seed,
            )
        )
        for trial in trials
    ]
    results = sorted(
        (
            result
            for left in train_population(task, members, stop_rule, grid=next_end)
            for result in left
        ),
        key=lambda result: result.member,
    )
    for trial, result in zip(trials, results, strict=True):
        at = result.curve.steps.index(trial.steps)
        recorded, again = trial.curve_train_loss[-1], result.curve.train_loss[at]
        if not math.isclose(recorded, again, rel_tol=_SAME_RUN):
            raise InputError(
                f"{plan.study}, batch size {batch_size}, seed {trial.seed}: training loss "
                f"{again:.6g} after {trial.steps} steps, {recorded:.6g} on record: not the same "
                "run; use the release that made it"
            )
        yield FinalRun(
            study=plan.study,
            workload=plan.workload,
            optimizer=plan.optimizer,
            batch_size=batch_size,
            seed=trial.seed,
            steps=trial.steps,
            status=trial.status,
            validation_accuracy=float(trial.curve_validation_accuracy[-1]),
            test_accuracy=result.curve.validation_accuracy[at],
            test_loss=result.curve.validation_loss[at],
            num_test_examples=len(task.data.validation_labels),
        )


def tested_folder(folder: Path) -> Iterator[FinalRun]:
    """Yield the tested runs of every study of a sweep's folder.

    Args:
        folder: that the sweep was given as --out.

    Raises:
        InputError: where no study has repeats and a test split of its own.
    """
    records = read_study_records(folder)
    if not records:
        raise InputError(f"{folder}: no study of a sweep is recorded here")
    any_run = False
    for record in records.values():
        plan = record.plan(folder)
        if plan is None:
            raise InputError(f"{folder}: this release would plan {record.study} otherwise")
        if get_workload(plan.workload).load_test is None:
            print(f"{record.study}: no test split kept apart; left out", file=sys.stderr)
            continue
        for batch_size in record.batch_sizes:
            trials = finished_trials(plan, batch_size, folder)
            # A run that diverged has no accuracy to report; its row on record says so.
            repeats = [t for t in tuned_repeats(plan, trials) if t.status != "diverged"]
            if repeats:
                any_run = True
                yield from tested_runs(plan, repeats)
    if not any_run:
        raise InputError(
            f"{folder}: no study with --holdout has repeats; only their test split is untouched"
        )


def as_csv(runs: Sequence[FinalRun]) -> str:
    """Return runs as CSV.

    Args:
        runs: of `tested_folder`.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(FinalRun))
    writer.writerows(
        [f"{value:.6g}" if isinstance(value, float) else value for value in astuple(run)]
        for run in runs
    )
    return text.getvalue()


def _run(argv: Sequence[str] | None) -> int:
    parser = OneLineParser(
        prog="python -m surrogate.final_test",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="OUT of the sweep")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="TEST.CSV", help="table of test results"
    )
    add_data_root_argument(parser)
    arguments = parser.parse_args(argv)
    check_out(arguments.out)
    text = as_csv(list(tested_folder(arguments.folder)))
    with whole_file(arguments.out) as stream:
        stream.write(text.encode())
    return 0


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

"""From nothing to a verdict: python -m surrogate.study --out study.

For each workload: sweep every batch size, fit the laws to the smaller ones only, predict the two
largest, compare with what was measured there, write the page and say how far the batch size pays.
Running it again goes on where it was stopped; a finished study is only fitted and printed again.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from models_of_scaling.command_line import OneLineParser, run_command
from models_of_scaling.commands.fit import summary
from models_of_scaling.fit_record import FitRecord, write_fit
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.limit import judge
from models_of_scaling.limit_words import verdict_in_words
from models_of_scaling.prediction import predict
from models_of_scaling.prediction_tables import prediction_table
from models_of_scaling.report import write_report, write_steps_figure
from models_of_scaling.study_source import TableChoice, read_measurements
from models_of_scaling.trials import read_trials
from models_of_scaling.wording import interval_in_words
from surrogate.run_sweep import SweepFailedError, SweepSettings, run_sweep

# Real images last, so that their verdict stands at the end of the output.
WORKLOADS = ("noisy_quadratic", "digits")
_HELD_OUT = 2  # batch sizes: doublings that the fit does not see


@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """What a workload's study found and where it stands.

    Attributes:
        blind: the fit to the smaller batch sizes, which holds the largest ones for comparison.
        whole: the fit to everything measured.
        report: path of the page.
    """

    blind: FitRecord
    whole: FitRecord
    report: Path


def study_workload(settings: SweepSettings) -> StudyResult:
    """Sweep, fit the smaller batch sizes, compare with the largest, and write the page.

    Args:
        settings: of the sweep; records go to its folder.

    Returns:
        The fits, and where the page stands.
        Errors are those of `run_sweep` and `fit_laws`.
    """
    swept = run_sweep(settings, progress=True)
    print(swept.in_words(), file=sys.stderr)
    choice = TableChoice(
        workload=settings.workload, optimizer=settings.optimizer, target=settings.target
    )
    measured = read_measurements(swept.trials_folder, choice)
    boundary = settings.sizes[-_HELD_OUT - 1]
    blind = fit_laws(measured, FitChoice(holdout_above=boundary))
    whole = fit_laws(measured, FitChoice())
    write_fit(settings.out / "fit_small_batches.json", blind)
    write_fit(settings.out / "fit.json", whole)
    trials = read_trials(swept.trials_folder)
    report = settings.out / "report.html"
    write_report(blind, measured, trials.filter(pc.field("study") == swept.study), report)
    write_steps_figure(blind, settings.out / "steps_to_target.svg")
    return StudyResult(blind=blind, whole=whole, report=report)


def result_in_words(result: StudyResult) -> str:
    """Return what was found: steps, law, blind prediction beside measurement, verdict."""
    blind, whole = result.blind, result.whole
    title = f"{blind.workload}, {blind.optimizer}, to {blind.target}"
    predictions = predict(blind, sorted(set(blind.held_out.batch_size)))
    inside = sum(bool(each.is_inside) for each in predictions)
    return "\n".join([
        "",
        title,
        "=" * len(title),
        _steps_in_words(whole),
        "",
        f"Fit to batch sizes up to {blind.largest_batch_size:,} only, the larger ones unseen:",
        summary(blind),
        "",
        "Prediction beside what was then measured:",
        prediction_table(blind, predictions),
        f"{inside} of {len(predictions)} measurements lie in their "
        f"{100 * blind.level:g} % interval.",
        "",
        f"Verdict from batch sizes up to {blind.largest_batch_size:,}:",
        verdict_in_words(judge(blind)),
        "",
        f"Verdict with everything measured, up to {whole.largest_batch_size:,} "
        f"(critical batch size {interval_in_words(whole.critical_batch_size)}):",
        verdict_in_words(judge(whole)),
        "",
        f"The page: {result.report}",
    ])


def _steps_in_words(fit: FitRecord) -> str:
    """Return the measured steps to target, one line a batch size."""
    lines = ["batch size   steps to target, one figure a run"]
    for size in sorted(set(fit.measured.batch_size)):
        runs = [
            f"{steps:,.0f}" if reached else f"more than {steps:,.0f}"
            for at, steps, reached in zip(
                fit.measured.batch_size, fit.measured.steps, fit.measured.reached, strict=True
            )
            if at == size
        ]
        lines.append(f"{size:>10,}   {', '.join(runs)}")
    return "\n".join(lines)


def _run(argv: Sequence[str] | None) -> int:
    parser = OneLineParser(prog="python -m surrogate.study", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("study"), help="folder (default: study)")
    parser.add_argument(
        "--quick", action="store_true", help="fewer batch sizes and trials: about a minute"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the sweeps (default: 0)")
    parser.add_argument("--workers", type=int, default=0, help="processes (default: all cores)")
    arguments = parser.parse_args(argv)
    started = time.monotonic()
    try:
        results = [
            study_workload(
                SweepSettings(
                    workload=name,
                    out=arguments.out / name,
                    quick=arguments.quick,
                    seed=arguments.seed,
                    workers=arguments.workers,
                )
            )
            for name in WORKLOADS
        ]
    except SweepFailedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for result in results:
        print(result_in_words(result))
    print(f"\nDone in {time.monotonic() - started:.0f} s.")
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

"""`fit`: laws fitted to a table, the record of the fit, a summary of it and the verdict."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from models_of_scaling.commands.table_choice import add_table_choice, table_choice
from models_of_scaling.errors import InputError
from models_of_scaling.output_file import check_out

if TYPE_CHECKING:
    from models_of_scaling.fit_record import FitRecord
    from models_of_scaling.knee_evidence import KneeEvidence

HELP: Final = "fit laws to a table of measurements or trials; ends with the verdict"
EXAMPLE: Final = "my_runs.csv --out fit.json"
LAWS: Final = (
    "auto",
    "hyperbola",
    "power_with_floor",
    "p_norm_knee",
    "smoothly_broken_power",
    "knee_with_upturn",
    "gaussian_process",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's words.

    Args:
        parser: of this command.
    """
    parser.add_argument(
        "table",
        type=Path,
        metavar="TABLE",
        help="CSV or parquet file with batch_size and one of steps, examples, epochs, optionally "
        "reached; or a sweep's folder of trials",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FIT.JSON",
        help="record of the fit, which the other commands read",
    )
    add_table_choice(parser)
    parser.add_argument(
        "--holdout-above",
        type=int,
        metavar="B",
        help="leave batch sizes above B out of the fit, to compare with predictions "
        "(default: none)",
    )
    parser.add_argument(
        "--law",
        choices=LAWS,
        default="auto",
        help="fit this one alone (default: auto, which fits all and averages by held-out error)",
    )
    group = parser.add_argument_group(
        "evidence beside the rows", "of a gradient noise scale, a surrogate ladder or experience"
    )
    group.add_argument(
        "--critical-batch-size",
        type=float,
        metavar="B",
        help="an estimate of B_crit (where S = 2 S_min) from elsewhere, examples",
    )
    group.add_argument(
        "--knee-factor",
        type=float,
        metavar="F",
        help="90 %% sure that B_crit lies within this factor of --critical-batch-size",
    )
    parser.add_argument(
        "--replicates",
        type=int,
        default=1000,
        metavar="R",
        help="draws that the intervals are made of (default: 1000)",
    )
    parser.add_argument(
        "--level", type=float, default=0.9, help="share that intervals shall hold (default: 0.9)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")


def run(arguments: argparse.Namespace) -> None:
    """Fit laws to a table, write the record and print a summary and the verdict.

    Args:
        arguments: what `add_arguments` asked for.
    """
    from models_of_scaling.fit_record import write_fit
    from models_of_scaling.full_scale_runs import full_scale_runs
    from models_of_scaling.law_fit import FitChoice, fit_laws
    from models_of_scaling.limit import judge
    from models_of_scaling.limit_words import verdict_in_words
    from models_of_scaling.study_source import read_measurements

    choice = FitChoice(
        laws=() if arguments.law == "auto" else (arguments.law,),
        replicates=arguments.replicates,
        level=arguments.level,
        holdout_above=arguments.holdout_above,
        seed=arguments.seed,
        knee=_knee(arguments),
    )
    check_out(arguments.out, inputs=(arguments.table,))
    fit = fit_laws(read_measurements(arguments.table, table_choice(arguments)), choice)
    write_fit(arguments.out, fit)
    print(f"{summary(fit, alone=False)}\n\n{verdict_in_words(judge(fit))}\n")
    if fit.source["kind"] == "trials":
        for each in full_scale_runs(arguments.table, fit):
            print(each.in_words())
    print(f"Written: {arguments.out}")


def _knee(arguments: argparse.Namespace) -> "KneeEvidence | None":
    from models_of_scaling.knee_evidence import KneeEvidence

    batch_size, factor = arguments.critical_batch_size, arguments.knee_factor
    if batch_size is None and factor is None:
        return None
    if factor is None:
        raise InputError(
            f"--critical-batch-size {batch_size:g}: how sure is that? Say --knee-factor F too"
        )
    if batch_size is None:
        raise InputError(f"--knee-factor {factor:g}: is for --critical-batch-size B only")
    return KneeEvidence(critical_batch_size=batch_size, factor=factor)


def summary(fit: "FitRecord", *, alone: bool = True) -> str:
    """Return what a fit found, several lines.

    Args:
        fit: the record.
        alone: False where the verdict follows, which has fewest steps, critical batch size, code
            and advice.
    """
    from models_of_scaling.advice import code_in_words
    from models_of_scaling.wording import interval_in_words

    rows = f"{fit.num_reached} reached the target, {fit.num_censored} did not (censored)"
    if fit.source["kind"] == "trials":
        rows += f"; from {fit.source['num_rows']:,} trials, {fit.source['num_diverged']:,} diverged"
    if fit.held_out.batch_size:
        rows += f"; {len(fit.held_out.batch_size)} rows held out above {fit.holdout_above:,}"
    best = fit.best
    error = (
        "too few batch sizes to hold any out"
        if best.held_out_error is None
        else f"error {100 * best.held_out_error:.1f} % on {best.num_held_out} held-out batch sizes"
    )
    sizes = len(set(fit.measured.batch_size))
    what = ", ".join(word for word in (fit.workload, fit.optimizer, fit.target) if word)
    lines = [
        f"Fitted{f' ({what})' if what else ''}: {len(fit.measured.batch_size)} rows at {sizes} "
        f"batch sizes, {min(fit.measured.batch_size):,} to {fit.largest_batch_size:,}: {rows}.",
        f"Best law: {best.name} (weight {best.weight:.2f}; {error}).",
        f"Noise: one batch size's steps lie about {100 * best.noise:.1f} % off the curve (standard "
        "deviation).",
    ]
    if fit.knee is not None:
        lines.append(
            f"Known beside the rows: B_crit {fit.knee.critical_batch_size:,.0f}, 90 % sure within "
            f"{fit.knee.factor:g}x."
        )
    if not alone:
        return "\n".join(lines)
    floor = (
        [
            f"Fewest steps, S_min: {interval_in_words(fit.min_steps)}.",
            f"Critical batch size, B_crit: {interval_in_words(fit.critical_batch_size)}.",
        ]
        if any(law.curves.has_floor for law in fit.laws)
        else ["Neither fewest steps nor a critical batch size: this law has no floor."]
    )
    return "\n".join([*lines, *floor, code_in_words(fit.code), *fit.advice])

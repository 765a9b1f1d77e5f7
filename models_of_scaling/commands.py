"""The commands of `python -m models_of_scaling`: read, call, write; heavy imports stay inside."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from models_of_scaling.errors import InputError

if TYPE_CHECKING:
    from models_of_scaling.fit_record import FitRecord
    from models_of_scaling.prediction import Prediction
    from models_of_scaling.study_source import TableChoice


def run_fit(arguments: argparse.Namespace) -> None:
    """Fit laws to a table, write the record and print a summary.

    Args:
        arguments: of `parser.build_parser`.
    """
    from models_of_scaling.fit_record import write_fit
    from models_of_scaling.law_fit import FitChoice, fit_laws
    from models_of_scaling.laws import LAW_NAMES
    from models_of_scaling.study_source import read_measurements

    choice = FitChoice(
        laws=LAW_NAMES if arguments.law == "auto" else (arguments.law,),
        replicates=arguments.replicates,
        level=arguments.level,
        holdout_above=arguments.holdout_above,
        seed=arguments.seed,
    )
    _check_out(arguments.out)
    fit = fit_laws(read_measurements(arguments.table, _table_choice(arguments)), choice)
    write_fit(arguments.out, fit)
    print(summary(fit))
    print(f"Written: {arguments.out}")


def _table_choice(arguments: argparse.Namespace) -> "TableChoice":
    from models_of_scaling.study_source import TableChoice
    from models_of_scaling.targets import Target

    count = arguments.num_train_examples
    if count is not None and count < 1:
        raise InputError(f"--num-train-examples {count} must be at least 1")
    return TableChoice(
        workload=arguments.workload,
        optimizer=arguments.optimizer,
        target=None if arguments.target is None else Target.parse(arguments.target),
        num_train_examples=count,
    )


def _check_out(path: Path) -> None:
    """Refuse a place that can't be written before minutes of work, not after."""
    if path.is_dir():
        raise InputError(f"--out {path}: is a folder; name a file")


def summary(fit: "FitRecord") -> str:
    """Return what a fit found, several lines.

    Args:
        fit: the record.
    """
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
        f"batch sizes, {fit.smallest_batch_size:,} to {fit.largest_batch_size:,}: {rows}.",
        f"Best law: {best.name} (weight {best.weight:.2f}; {error}).",
        f"Fewest steps, S_min: {interval_in_words(fit.min_steps)}.",
        f"Critical batch size, B_crit: {interval_in_words(fit.critical_batch_size)}.",
        f"Noise of one batch size's estimate: about {100 * best.noise:.1f} %.",
        f"Result code: {fit.code}.",
    ]
    return "\n".join([*lines, *fit.advice])


def run_predict(arguments: argparse.Namespace) -> None:
    """Print predictions, as a table or as the JSON array that scripts rely on.

    Args:
        arguments: of `parser.build_parser`.
    """
    from models_of_scaling.fit_record import read_fit
    from models_of_scaling.prediction import SILLY_EXTRAPOLATION, predict

    fit = read_fit(arguments.fit)
    predictions = predict(fit, arguments.batch_size, level=arguments.level)
    for prediction in predictions:
        if prediction.extrapolation > SILLY_EXTRAPOLATION:
            print(
                f"warning: batch size {prediction.batch_size:,} is "
                f"{prediction.extrapolation:,.0f}x the largest fitted one "
                f"({fit.largest_batch_size:,}): the interval holds only if one of the fitted laws "
                "goes on that far",
                file=sys.stderr,
            )
    if arguments.json:
        print(json.dumps([_as_json(prediction) for prediction in predictions], allow_nan=False))
    else:
        print(prediction_table(fit, predictions))


def _as_json(prediction: "Prediction") -> dict[str, float]:
    return {
        "batch_size": prediction.batch_size,
        "steps": prediction.steps.estimate,
        "steps_low": prediction.steps.low,
        "steps_high": prediction.steps.high,
        "examples": prediction.examples,
        "efficiency": prediction.efficiency,
    }


def prediction_table(fit: "FitRecord", predictions: "list[Prediction]") -> str:
    """Return predictions as aligned lines with a note each.

    Args:
        fit: the record.
        predictions: at least one.
    """
    from models_of_scaling.wording import number_in_words

    level = predictions[0].steps.level
    rows = [("batch size", "steps", f"{100 * level:g} % interval", "examples", "efficiency", "")]
    for each in predictions:
        low, high = number_in_words(each.steps.low), number_in_words(each.steps.high)
        rows.append((
            f"{each.batch_size:,}",
            number_in_words(each.steps.estimate),
            f"{low} to {high}",
            number_in_words(each.examples),
            f"{each.efficiency:.3f}",
            _note(fit, each),
        ))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [
        "  ".join([
            *(cell.rjust(width) for cell, width in zip(row[:5], widths, strict=True)),
            row[5],
        ])
        for row in rows
    ]
    legend = (
        "Interval: for what a new study, tuned alike, would measure. "
        f"Efficiency: examples needed at batch size {fit.smallest_batch_size:,} over those "
        "needed here."
    )
    return "\n".join([*(line.rstrip() for line in lines), legend])


def _note(fit: "FitRecord", prediction: "Prediction") -> str:
    from models_of_scaling.wording import number_in_words

    notes = []
    if prediction.extrapolation > 1:
        notes.append(f"extrapolated {number_in_words(prediction.extrapolation)}x")
    elif prediction.batch_size < fit.smallest_batch_size:
        notes.append("below the smallest batch size fitted")
    if prediction.measured is not None:
        place = "inside" if prediction.is_inside else "OUTSIDE"
        value = (
            f"not reached in {number_in_words(prediction.measured_at_least or 0)}"
            if prediction.measured == float("inf")
            else number_in_words(prediction.measured)
        )
        notes.append(f"measured (held out): {value}, {place} the interval")
    if fit.num_train_examples and prediction.batch_size > fit.num_train_examples:
        notes.append(f"more than the training set ({fit.num_train_examples:,})")
    return "; ".join(notes)


def run_limit(arguments: argparse.Namespace) -> None:
    """Print the verdict in words or as JSON.

    Args:
        arguments: of `parser.build_parser`.
    """
    from models_of_scaling.fit_record import read_fit
    from models_of_scaling.limit import judge, verdict_as_json, verdict_in_words

    verdict = judge(
        read_fit(arguments.fit),
        saving=arguments.saving,
        stop_saving=arguments.stop_saving,
        level=arguments.level,
    )
    if arguments.json:
        print(json.dumps(verdict_as_json(verdict), allow_nan=False))
    else:
        print(verdict_in_words(verdict))


def run_report(arguments: argparse.Namespace) -> None:
    """Write the HTML page.

    Args:
        arguments: of `parser.build_parser`.
    """
    from models_of_scaling import report
    from models_of_scaling.fit_record import read_fit
    from models_of_scaling.study_source import choose_trials, is_trials, read_measurements
    from models_of_scaling.trials import read_trials

    fit = read_fit(arguments.fit)
    _check_out(arguments.out)
    measurements, trials_table = None, None
    if arguments.table is not None:
        choice = _table_choice(arguments)
        measurements = read_measurements(arguments.table, choice)
        if is_trials(arguments.table):
            trials_table = choose_trials(
                read_trials(arguments.table), choice, where=str(arguments.table)
            )
    report.write_report(fit, measurements, trials_table, arguments.out)
    print(f"Written: {arguments.out}")


def run_backtest(arguments: argparse.Namespace) -> None:
    """Predict held-out parts of the published series and print how well that went.

    Args:
        arguments: of `parser.build_parser`.
    """
    from models_of_scaling.backtest import back_test, check_forecasters
    from models_of_scaling.backtest_table import back_test_as_json, score_table
    from models_of_scaling.forecast_scores import scores
    from models_of_scaling.published.loader import choose_series

    replicates, level = arguments.replicates, arguments.level
    forecasters = check_forecasters(arguments.law)
    series = choose_series(arguments.series)
    outcomes = back_test(series, forecasters=forecasters, replicates=replicates, level=level)
    summary_of_all = scores(outcomes)
    if arguments.json:
        answer = back_test_as_json(
            series, outcomes, summary_of_all, replicates=replicates, level=level
        )
        print(json.dumps(answer, allow_nan=False))
        return
    tested = len({outcome.series for outcome in outcomes})
    print(
        f"{len(series)} published series of steps to target; {tested} are long and wide enough "
        "to hold a batch size out.\n"
    )
    print(score_table(summary_of_all, level=level))

"""One self-contained page for a fit: pictures, verdict, prediction beside measurement, provenance.

The page needs no network: pictures are inline SVG with their letters drawn as paths. Numbers come
from the fit record alone, but for the heat map of the search, which needs the trials.
"""

import io
import re
from importlib import resources
from pathlib import Path

import jinja2
import numpy as np
import pyarrow as pa
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

from models_of_scaling.atomic_write import whole_file
from models_of_scaling.errors import InputError
from models_of_scaling.fit_record import FitRecord
from models_of_scaling.intervals import weighted_quantile
from models_of_scaling.limit import LimitVerdict, judge, verdict_in_words
from models_of_scaling.measurements import Measurements
from models_of_scaling.mixture import mixed
from models_of_scaling.plots.steps_to_target import (
    MeasuredSteps,
    SearchPoints,
    StepsCurve,
    draw_learning_rates,
    draw_saving_per_doubling,
    draw_steps_to_target,
)
from models_of_scaling.prediction import estimated_steps, predictive_interval
from models_of_scaling.quantities import Floats
from models_of_scaling.report_tables import (
    measured_rows,
    prediction_rows,
    provenance_rows,
    quantity_rows,
    score_rows,
)
from models_of_scaling.steps_to_target import trial_outcomes
from models_of_scaling.targets import Target

_CURVE_POINTS = 60


def write_report(
    fit: FitRecord,
    measurements: Measurements | None,
    trials_table: pa.Table | None,
    out: Path,
) -> None:
    """Write the page; a reader sees the old file or the new one, never half of it.

    Args:
        fit: the record.
        measurements: the fitted table's rows again, for their search; None to leave it out.
        trials_table: the trials of this workload and optimizer; None leaves the heat map out.
        out: of the HTML file; its folder is made when missing.

    Raises:
        InputError: where it can't be written there.
    """
    page = report_page(fit, trials_table)
    try:
        with whole_file(out) as stream:
            stream.write(page.encode())
    except OSError as error:
        raise InputError(f"--out {out}: can't be written: {error}") from error


def report_page(fit: FitRecord, trials_table: pa.Table | None = None) -> str:
    """Return the page's HTML.

    Args:
        fit: the record.
        trials_table: the trials of this workload and optimizer; None leaves the heat map out.

    Returns:
        A whole document that refers to nothing outside itself.
    """
    verdict = judge(fit)
    sentences = verdict_in_words(verdict).splitlines()
    plain = len(sentences) - len(verdict.advice) - len(verdict.notes)
    search = _search_points(fit, trials_table)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(
        resources.files("models_of_scaling").joinpath("templates/report.html").read_text("utf-8")
    )
    name = fit.workload or Path(fit.source["path"]).name
    return template.render(
        title=f"How far can the batch size be raised? {name}",
        subtitle=_subtitle(fit),
        verdict=sentences[:plain],
        warnings=sentences[plain:],
        level=f"{100 * fit.level:g} %",
        steps_figure=_svg(_steps_figure(fit), "Steps to target against batch size"),
        steps_caption=_steps_caption(fit),
        predictions=prediction_rows(fit),
        saving_figure=_saving_figure(fit, verdict),
        saving_caption=(
            "What doubling the batch size divides the steps by: 2 is perfect scaling, 1 no gain. "
            "The band is the interval over the fitted laws' replicates."
        ),
        quantities=quantity_rows(fit),
        score_names=("weight", "held-out error", "log evidence", "noise"),
        scores=score_rows(fit),
        selection_note=(
            "Laws are weighed by how well they predict larger batch sizes that they were not "
            "fitted to; predictions average over them by weight. Held-out error: root mean squared "
            "log error on the next one to three larger ones. Noise: of one study's estimate at one "
            "batch size."
        ),
        search_figure=_search_figure(search) if search is not None else None,
        search_caption=(
            "Colour: fewest steps found in the cell over the fewest at that batch size. Grey: no "
            "trial there reached the target. White: no trial there. The lines show where linear "
            "and square-root scaling would put the best learning rate."
        ),
        measured=measured_rows(fit),
        provenance=provenance_rows(fit),
    )


def _subtitle(fit: FitRecord) -> str:
    parts = [
        f"optimizer {fit.optimizer}" if fit.optimizer else "",
        f"target {fit.target}" if fit.target else "",
        f"{fit.num_train_examples:,} training examples" if fit.num_train_examples else "",
        f"{fit.num_reached + fit.num_censored} rows fitted, {fit.num_censored} of them censored",
        f"batch sizes {fit.smallest_batch_size:,} to {fit.largest_batch_size:,}",
    ]
    return "; ".join(part for part in parts if part)


def _curve_range(fit: FitRecord) -> Floats:
    """Return batch sizes from the smallest fitted to four doublings past all that was measured."""
    largest = max((*fit.measured.batch_size, *fit.held_out.batch_size))
    beyond = 4.0 if not fit.held_out.batch_size else 2.0
    return np.geomspace(fit.smallest_batch_size, beyond * largest, _CURVE_POINTS)


def _steps_curve(fit: FitRecord) -> StepsCurve:
    # The largest fitted batch size is a point of its own, where the line turns dashed.
    sizes = np.union1d(_curve_range(fit), [float(fit.largest_batch_size)])
    intervals = [predictive_interval(fit, size, level=fit.level) for size in sizes]
    return StepsCurve(
        batch_size=sizes,
        steps=np.array([estimated_steps(fit, size) for size in sizes]),
        steps_low=np.array([interval.low for interval in intervals]),
        steps_high=np.array([interval.high for interval in intervals]),
    )


def measured_steps(fit: FitRecord) -> MeasuredSteps:
    """Return the fitted and the held-out rows of a record, for a picture."""
    rows = (fit.measured, fit.held_out)
    return MeasuredSteps(
        batch_size=np.array([size for part in rows for size in part.batch_size], dtype=float),
        steps=np.array([steps for part in rows for steps in part.steps]),
        reached=np.array([reached for part in rows for reached in part.reached], dtype=bool),
        held_out=np.array([part is fit.held_out for part in rows for _ in part.steps], dtype=bool),
    )


def write_steps_figure(fit: FitRecord, out: Path) -> None:
    """Write the picture of steps to target alone, for a slide or a paper.

    Args:
        fit: the record.
        out: its ending says the format: svg, pdf or png.
    """
    with whole_file(out) as stream, rc_context({"svg.hashsalt": "steps to target"}):
        _steps_figure(fit).savefig(stream, format=out.suffix[1:], metadata={"Date": None})


def _steps_figure(fit: FitRecord) -> Figure:
    figure = Figure(figsize=(8.2, 5.0), layout="constrained")
    critical = fit.critical_batch_size
    draw_steps_to_target(
        figure.add_subplot(),
        measured_steps(fit),
        _steps_curve(fit),
        largest_fitted=fit.largest_batch_size,
        critical_batch_size=(critical.estimate, critical.low, critical.high),
        level=fit.level,
    )
    return figure


def _steps_caption(fit: FitRecord) -> str:
    censored = sum(not reached for reached in (*fit.measured.reached, *fit.held_out.reached))
    arrows = (
        f" {censored} rows did not reach the target; the arrow starts at the steps they were given."
        if censored
        else ""
    )
    return (
        "Points: measured rows. Line: the laws' average. Band: where a new study, tuned with the "
        f"same effort, would land with {100 * fit.level:g} % probability.{arrows}"
    )


def _saving_figure(fit: FitRecord, verdict: LimitVerdict) -> Markup:
    sizes = _curve_range(fit)
    ends = [_saving_ends(fit, size) for size in sizes]
    figure = Figure(figsize=(8.2, 3.6), layout="constrained")
    draw_saving_per_doubling(
        figure.add_subplot(),
        StepsCurve(
            batch_size=sizes,
            steps=np.array([
                estimated_steps(fit, size) / estimated_steps(fit, 2 * size) for size in sizes
            ]),
            steps_low=np.array([low for low, _ in ends]),
            steps_high=np.array([high for _, high in ends]),
        ),
        largest_measured=fit.largest_batch_size,
        thresholds=(
            (verdict.saving, f"still pays: {verdict.saving:g}"),
            (verdict.stop_saving, f"has stopped paying: {verdict.stop_saving:g}"),
        ),
    )
    return _svg(figure, "Steps saved by doubling the batch size")


def _saving_ends(fit: FitRecord, batch_size: float) -> tuple[float, float]:
    """Return both ends of the interval of S(B) / S(2B) over all laws' replicates."""
    values, weights = mixed(
        fit.laws,
        lambda law: law.replicate_steps(batch_size) / law.replicate_steps(2 * batch_size),
    )
    tail = (1 - fit.level) / 2
    low, high = weighted_quantile(values, weights, (tail, 1 - tail))
    return float(low), float(high)


def _search_points(fit: FitRecord, table: pa.Table | None) -> SearchPoints | None:
    """Return the search's trials with their effective learning rates, or None without any."""
    if table is None or not fit.target:
        return None
    outcomes = trial_outcomes(table, Target.parse(fit.target))
    numbers = [dict(row) for row in table["hyper_parameters"].to_pylist()]
    rows = [
        place
        for place, (phase, row) in enumerate(zip(table["phase"].to_pylist(), numbers, strict=True))
        if phase == "search" and "learning_rate" in row
    ]
    if not rows or not outcomes.reached[rows].any():
        return None
    return SearchPoints(
        batch_size=np.array(table["batch_size"].to_pylist(), dtype=float)[rows],
        learning_rate=np.array([
            numbers[at]["learning_rate"] / (1 - numbers[at].get("momentum", 0.0)) for at in rows
        ]),
        steps=np.where(outcomes.reached, outcomes.steps, np.inf)[rows],
    )


def _search_figure(points: SearchPoints) -> Markup:
    figure = Figure(figsize=(8.2, 4.4), layout="constrained")
    draw_learning_rates(figure.add_subplot(), points)
    return _svg(figure, "Steps to target by learning rate and batch size")


def _svg(figure: Figure, name: str) -> Markup:
    """Return a figure as SVG that stands in a page: no prolog, letters as paths, stable ids."""
    stream = io.StringIO()
    with rc_context({"svg.fonttype": "path", "svg.hashsalt": name}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Title": name})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    # Ids are unique within a figure only; on one page they must differ between figures.
    mark = re.sub(r"\W", "", name)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{mark}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{mark}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{mark}-\1)", text)
    return Markup(text)

"""One self-contained page for a fit: pictures, verdict, prediction beside measurement, provenance.

The page needs no network: pictures are inline SVG with their letters drawn as paths. Numbers come
from the fit record alone, but for the heat map of the search, which needs the trials.
"""

import io
import re
from dataclasses import dataclass
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
from models_of_scaling.limit import judge
from models_of_scaling.limit_claims import difference_in_words
from models_of_scaling.limit_words import verdict_in_words
from models_of_scaling.measurements import Measurements
from models_of_scaling.plots.learning_rates import SearchPoints
from models_of_scaling.plots.report_figures import (
    definitions_figure,
    examples_figure,
    residuals_figure,
    saving_figure,
    search_figure,
    steps_figure,
)
from models_of_scaling.plots.run_page import run_figure
from models_of_scaling.plots.sweep_page import sweep_figure
from models_of_scaling.report_tables import (
    definition_rows,
    law_rows,
    measured_rows,
    prediction_rows,
    provenance_rows,
    quantity_rows,
    tuning_rows,
)
from models_of_scaling.residuals import OUTLIER, batch_size_residuals, noise_of_one
from models_of_scaling.steps_to_target import trial_outcomes
from models_of_scaling.targets import Target
from models_of_scaling.tuning_cost import tuning_cost_of_table


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """What callbacks measured along one run: files; or along a sweep's runs: folders.

    Attributes:
        metrics: a run's metrics.csv.
        walk: of the diffusion callback.
        sharpness: of the sharpness callback.
    """

    metrics: Path | None = None
    walk: Path | None = None
    sharpness: Path | None = None

    @property
    def are_folders(self) -> bool:
        """Whether they are of a sweep's runs."""
        return any(each is not None and each.is_dir() for each in vars(self).values())


_NO_RUN = RunFiles()


def write_report(
    fit: FitRecord,
    measurements: Measurements | None,
    trials_table: pa.Table | None,
    out: Path,
    *,
    run_files: RunFiles | None = None,
) -> None:
    """Write the page; a reader sees the old file or the new one, never half of it.

    Args:
        fit: the record.
        measurements: the fitted table's rows again, for their search; None to leave it out.
        trials_table: the trials of this workload and optimizer; None leaves the heat map out.
        out: of the HTML file; its folder is made when missing.
        run_files: what was measured along one run; None leaves its pictures out.
    """
    page = report_page(fit, trials_table, run_files or RunFiles())
    with whole_file(out) as stream:
        stream.write(page.encode())


def report_page(
    fit: FitRecord, trials_table: pa.Table | None = None, run_files: RunFiles = _NO_RUN
) -> str:
    """Return the page's HTML.

    Args:
        fit: the record.
        trials_table: the trials of this workload and optimizer; None leaves the heat map out.
        run_files: what was measured along one run.

    Returns:
        A whole document that refers to nothing outside itself.
    """
    verdict = judge(fit)
    sentences = verdict_in_words(verdict).splitlines()
    plain = len(sentences) - len(verdict.advice) - len(verdict.notes)
    search = search_points(fit, trials_table)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(
        resources.files("models_of_scaling").joinpath("templates/report.html").read_text("utf-8")
    )
    name = fit.workload or Path(fit.source["path"]).name
    residuals = batch_size_residuals(fit)
    return template.render(
        title=f"How far can the batch size be raised? {name}",
        subtitle=_subtitle(fit),
        verdict=sentences[:plain],
        warnings=sentences[plain:],
        level=f"{100 * fit.level:g} %",
        steps_figure=_svg(steps_figure(fit), "Steps to target against batch size"),
        steps_caption=_steps_caption(fit),
        predictions=prediction_rows(fit),
        definitions_figure=_svg(definitions_figure(fit, verdict), "Definitions of the limit"),
        definitions=definition_rows(verdict),
        difference=difference_in_words(verdict.definitions),
        examples_figure=_svg(examples_figure(fit), "Examples and efficiency"),
        saving_figure=_svg(saving_figure(fit, verdict), "Steps saved by doubling the batch size"),
        residuals_figure=_svg(residuals_figure(fit), "Residuals of each batch size"),
        noise=f"{100 * noise_of_one(fit):.1f} %",
        outlier=f"{OUTLIER:g}",
        outliers=[each.in_words() for each in residuals if each.is_outlier],
        laws=law_rows(fit),
        quantities=quantity_rows(fit),
        search_figure=_svg(search_figure(search), "Steps to target by learning rate")
        if search is not None
        else None,
        tuning=[] if trials_table is None else tuning_rows(tuning_cost_of_table(trials_table)),
        measured=measured_rows(fit, residuals),
        provenance=provenance_rows(fit),
        run_figure=None if run_files == _NO_RUN else _along(run_files),
        run_title="Along a sweep's runs" if run_files.are_folders else "Along one run",
    )


def _along(files: RunFiles) -> str:
    """Return the picture of one run's files, or of the folders of a sweep's runs."""
    given = {"walk": files.walk, "sharpness": files.sharpness, "metrics": files.metrics}
    folders = {name for name, path in given.items() if path is not None and path.is_dir()}
    if not folders:
        return _svg(run_figure(**given), "One run")
    for name, path in given.items():
        if path is not None and name not in folders:
            other = min(folders)
            raise InputError(f"--{name} {path}: must be a folder, as --{other} {given[other]} is")
    return _svg(sweep_figure(**given), "A sweep's runs")


def _subtitle(fit: FitRecord) -> str:
    parts = [
        f"optimizer {fit.optimizer}" if fit.optimizer else "",
        f"target {fit.target}" if fit.target else "",
        f"{fit.num_train_examples:,} training examples" if fit.num_train_examples else "",
        f"{fit.num_reached + fit.num_censored} rows fitted, {fit.num_censored} of them censored",
        f"batch sizes {fit.smallest_batch_size:,} to {fit.largest_batch_size:,}",
    ]
    return "; ".join(part for part in parts if part)


def write_steps_figure(fit: FitRecord, out: Path, *, up_to: float = 0.0) -> None:
    """Write the picture of steps to target alone, for a slide or a paper.

    Args:
        fit: the record.
        out: its ending says the format: svg, pdf or png.
        up_to: a batch size that the picture must reach.
    """
    kind = out.suffix[1:].lower()
    # The same bytes each time; PNG has no date, and PDF another name for it than SVG.
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    with whole_file(out) as stream, rc_context({"svg.hashsalt": "steps to target"}):
        figure = steps_figure(fit, each_law=False, up_to=up_to)
        figure.savefig(stream, format=kind, metadata=metadata)


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


def search_points(fit: FitRecord, table: pa.Table | None) -> SearchPoints | None:
    """Return the search's trials with their effective learning rates, for the heat map.

    Args:
        fit: the record, for its target.
        table: the trials of its workload and optimizer, or None.

    Returns:
        The points; None without trials of a search that have a learning rate, or where none of
        them reached the target.
    """
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

"""The page: whole, self-contained, and it shows what the fit record says."""

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from models_of_scaling.errors import InputError
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.laws import LAW_NAMES
from models_of_scaling.limit import judge
from models_of_scaling.limit_claims import difference_in_words
from models_of_scaling.plots.report_figures import (
    definitions_figure,
    examples_figure,
    residuals_figure,
    steps_figure,
)
from models_of_scaling.plots.run_page import run_figure
from models_of_scaling.plots.sweep_page import sweep_figure
from models_of_scaling.report import RunFiles, report_page, write_report, write_steps_figure
from models_of_scaling.study_source import TableChoice, read_measurements
from models_of_scaling.wording import number_in_words

VOID = {"meta", "br", "path", "use", "rect", "link", "img"}


@pytest.fixture(scope="module")
def fit(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "steps.csv"
    rng = np.random.default_rng(3)
    sizes = [16, 32, 64, 128, 256, 512, 1024, 2048]
    rows = [f"{size},{200 * (1 + 300 / size) * rng.lognormal(0, 0.02):.1f},true" for size in sizes]
    # One run that was stopped too early: censored, and among the fitted rows.
    path.write_text("batch_size,steps,reached\n" + "\n".join(rows) + "\n256,150,false\n")
    measurements = read_measurements(path, TableChoice())
    return fit_laws(measurements, FitChoice(replicates=200, holdout_above=512))


@pytest.fixture(scope="module")
def page(fit):
    return report_page(fit)


class Tags(HTMLParser):
    """Checks that every element that opens closes, and collects attributes."""

    def __init__(self):
        super().__init__()
        self.open, self.attributes = [], []

    def handle_starttag(self, tag, attrs):
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += attrs

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


def test_the_page_refers_to_nothing_outside_itself(page):
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    for name, value in tags.attributes:
        if name in {"src", "href", "xlink:href"}:
            assert value.startswith("#"), (name, value)
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_every_reference_inside_the_page_has_exactly_one_place(page):
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)


def test_the_page_shows_the_verdict_and_the_held_out_batch_sizes(page, fit):
    pays = judge(fit).pays_up_to.batch_size
    assert f"{number_in_words(pays.estimate)} (90 % interval" in page
    cells = re.findall(r"<td>([\d,]+)</td><td>[\d.]+x</td>", page)
    assert cells == ["1,024", "2,048"]
    assert "1 rows did not reach the target" in page


def test_the_definitions_stand_in_one_table_with_their_sources_and_how_far_they_differ(page, fit):
    verdict = judge(fit)
    table = page[page.index("The limit, by each definition") :]
    table = table[table.index("<table>") : table.index("</table>")]
    names = re.findall(r'<td class="text name">([^<]+)</td><td>([^<]+)</td>', table)
    assert names == [
        (claim.name, number_in_words(claim.batch_size.estimate)) for claim in verdict.definitions
    ]
    assert "arXiv:2410.21676" in table and "arXiv:1812.06162" in table
    assert difference_in_words(verdict.definitions) in page


def test_every_law_has_its_weight_its_own_curve_and_its_parameters(page, fit):
    (ax,) = steps_figure(fit).axes
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    for law in fit.laws:
        weight = f"{100 * law.weight:.0f} %"
        title = law.name.replace("_", " ").replace("p norm", "p-norm")
        assert f"{title}, weight {weight}" in labels
        assert re.search(rf"<td>{title}( \(named\))?</td><td>{weight}</td>", page)
    own = {line.get_label(): line.get_ydata() for line in ax.get_lines()}
    first = fit.laws[0]
    at = steps_figure(fit, each_law=False).axes[0].get_lines()  # the average, in two parts
    assert not any("weight" in line.get_label() for line in at)
    smallest = np.median(first.replicate_steps(fit.smallest_batch_size))
    assert own[f"hyperbola, weight {100 * first.weight:.0f} %"][0] == pytest.approx(smallest)
    assert "<td>sharpness</td>" in page.replace(' class="text"', "")


def test_examples_and_efficiency_are_the_steps_times_the_batch_size(fit):
    examples, efficiency = examples_figure(fit).axes
    steps = steps_figure(fit, each_law=False).axes[0]
    (line,) = [line for line in steps.get_lines() if line.get_label() == "law, fitted"]
    (product,) = [line for line in examples.get_lines() if line.get_label() == "fitted"]
    np.testing.assert_allclose(product.get_ydata(), line.get_xdata() * line.get_ydata())
    (share,) = [line for line in efficiency.get_lines() if line.get_label() == "fitted"]
    assert share.get_ydata()[0] == 1.0
    # Medians over draws of a ratio and of its parts differ a little.
    np.testing.assert_allclose(
        share.get_ydata(), product.get_ydata()[0] / product.get_ydata(), rtol=0.03
    )


def test_a_badly_tuned_batch_size_is_marked_in_the_picture_the_text_and_the_table(fit):
    rows = fit.measured
    worse = [1.6 if size == 64 else 1.0 for size in rows.batch_size]
    changed = dataclasses.replace(
        fit,
        measured=dataclasses.replace(
            rows,
            **{
                name: tuple(a * b for a, b in zip(getattr(rows, name), worse, strict=True))
                for name in ("steps", "steps_low", "steps_high")
            },
        ),
    )
    assert "outlier" not in report_page(fit)
    page = report_page(changed)
    assert re.search(r"<strong>Outlier.</strong> Batch size 64 needed \d+ % more steps", page)
    assert len(re.findall(r"<td>\+[\d.]+ outlier</td>", page)) == 1
    (ax,) = residuals_figure(changed).axes
    assert [text.get_text()[:4] for text in ax.texts if text.get_text()] == ["64: "]


@pytest.mark.parametrize("law", LAW_NAMES)
def test_every_law_alone_makes_a_whole_page(fit, tmp_path, law):
    path = tmp_path / "steps.csv"
    lines = [
        f"{size},{steps},{reached}"
        for size, steps, reached in zip(
            fit.measured.batch_size, fit.measured.steps, fit.measured.reached, strict=True
        )
    ]
    path.write_text("batch_size,steps,reached\n" + "\n".join(lines) + "\n4096,900,false\n")
    choice = FitChoice(laws=(law,), replicates=60)
    alone = fit_laws(read_measurements(path, TableChoice()), choice)
    tags = Tags()
    page = report_page(alone)
    tags.feed(page)
    assert tags.open == []
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", page)
    assert not any("nan" in cell.split() for cell in cells)
    assert ("infinite by definition" in page) == (law == "smoothly_broken_power")
    assert ("fastest batch size" in page) == (law == "knee_with_upturn")
    names = [label.get_text() for label in definitions_figure(alone, judge(alone)).axes[0].texts]
    assert len(names) == len(judge(alone).definitions)


def test_a_runs_walk_stands_on_the_page_where_it_is_given(fit, page, tmp_path):
    walk = tmp_path / "walk.csv"
    walk.write_text("steps,distance\n" + "".join(f"{t},{t**0.4!r}\n" for t in range(1, 20)))
    with_run = report_page(fit, run_files=RunFiles(walk=walk))
    assert "Along one run" in with_run
    assert "Along one run" not in page
    # One picture more: of one panel.
    assert with_run.count("<svg") == page.count("<svg") + 1


METRICS = (
    "steps,batch_size,train_loss,validation_loss,gradient_noise_scale,gradient_noise_scale_low,"
    "gradient_noise_scale_high,gradient_noise_scale_valid\n"
)


def metrics_file(path, batch_size):
    path.write_text(
        METRICS
        + f"10,{batch_size},2.0,2.1,,,,0\n"
        + f"100,{batch_size},1.0,1.2,40,20,inf,0\n"
        + f"200,{batch_size},0.5,0.8,80,60,110,1\n"
    )


def test_a_runs_losses_and_noise_scale_are_drawn_with_their_interval(fit, page, tmp_path):
    path = tmp_path / "run.metrics.csv"
    metrics_file(path, 64)
    figure = run_figure(walk=None, sharpness=None, metrics=path)
    losses, noise = figure.axes[:2]
    assert [line.get_label() for line in losses.lines] == ["train loss", "validation loss"]
    valid, hollow = noise.lines
    assert list(valid.get_ydata()) == [80] and list(hollow.get_ydata()) == [40]
    with_run = report_page(fit, run_files=RunFiles(metrics=path))
    assert "Along one run" in with_run
    assert with_run.count("<svg") == page.count("<svg") + 1


def test_a_sweeps_runs_stand_against_their_batch_size(fit, tmp_path):
    metrics, walks = tmp_path / "metrics", tmp_path / "walks"
    metrics.mkdir()
    walks.mkdir()
    for size, power in ((16, 0.45), (64, 0.4), (256, 0.35)):
        metrics_file(metrics / f"b{size}.metrics.csv", size)
        rows = "".join(f"{t},{t**power!r},{size}\n" for t in range(1, 20))
        (walks / f"b{size}.csv").write_text("steps,distance,batch_size\n" + rows)
    figure = sweep_figure(walk=walks, sharpness=None, metrics=metrics)
    losses, noise, exponents = figure.axes
    assert list(losses.lines[0].get_xdata()) == [16, 256, 64]  # files in the order of their names
    assert noise.get_yscale() == "log"
    middles = [float(each.lines[0].get_ydata()[0]) for each in exponents.containers]
    np.testing.assert_allclose(middles, [0.45, 0.4, 0.35], atol=0.01)
    assert "Along a sweep&#39;s runs" in report_page(
        fit, run_files=RunFiles(metrics=metrics, walk=walks)
    )


def test_a_file_beside_folders_and_a_folder_without_runs_are_refused(fit, tmp_path):
    path = tmp_path / "run.metrics.csv"
    metrics_file(path, 64)
    with pytest.raises(InputError, match="--metrics .*must be a folder, as --walk"):
        report_page(fit, run_files=RunFiles(metrics=path, walk=tmp_path))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="--metrics .*empty: holds no file"):
        report_page(fit, run_files=RunFiles(metrics=empty))
    path.write_text(METRICS + "1,2,much,1,1,1,1,1\n")
    with pytest.raises(InputError, match="row 1 .line 2., column train_loss: much must be"):
        report_page(fit, run_files=RunFiles(metrics=path))


def test_the_page_names_its_source_by_digest(page, fit):
    assert fit.source["sha256"] in page
    assert fit.provenance["commit"] in page


def test_a_hostile_workload_name_is_text_and_not_markup(fit):
    page = report_page(dataclasses.replace(fit, workload="<script>alert(1)</script>"))
    assert "<script>" not in page


def test_a_page_that_cannot_be_written_leaves_nothing(fit, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FileExistsError, match="file"):
        write_report(fit, None, None, tmp_path / "file" / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_picture_alone_is_the_same_bytes_every_time(fit, tmp_path):
    for name in ("one.svg", "two.svg"):
        write_steps_figure(fit, tmp_path / name)
    first, second = ((tmp_path / name).read_bytes() for name in ("one.svg", "two.svg"))
    assert first.startswith(b"<?xml")
    assert first == second


def test_the_picture_reaches_the_batch_size_that_is_asked_for(fit):
    (ax,) = steps_figure(fit, up_to=2.0**20).axes
    assert max(np.max(line.get_xdata()) for line in ax.lines) == 2.0**20

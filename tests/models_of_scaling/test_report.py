"""The page: whole, self-contained, and it shows what the fit record says."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from models_of_scaling.errors import InputError
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.limit import judge
from models_of_scaling.report import report_page, write_report, write_steps_figure
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


def test_the_page_names_its_source_by_digest(page, fit):
    assert fit.source["sha256"] in page
    assert fit.provenance["commit"] in page


def test_a_hostile_workload_name_is_text_and_not_markup(fit):
    import dataclasses

    page = report_page(dataclasses.replace(fit, workload="<script>alert(1)</script>"))
    assert "<script>" not in page


def test_a_page_that_cannot_be_written_is_wrong_input_and_leaves_nothing(fit, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="--out .*can't be written"):
        write_report(fit, None, None, tmp_path / "file" / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_picture_alone_is_the_same_bytes_every_time(fit, tmp_path):
    for name in ("one.svg", "two.svg"):
        write_steps_figure(fit, tmp_path / name)
    first, second = ((tmp_path / name).read_bytes() for name in ("one.svg", "two.svg"))
    assert first.startswith(b"<?xml")
    assert first == second

"""What is typed in paper.typ: no digit of ours, only figures and sources that are there."""

import importlib
import json
import re

import pytest

from models_of_scaling.errors import InputError
from paper.build import GENERATED, build
from paper.figures.style import look, svg_of
from paper.numbers.reproduction import FIGURES
from paper.numbers.study import PAPER, RESULTS

TEXT = (PAPER / "paper.typ").read_text(encoding="utf-8")
# Words of the pages, not numbers of ours: widths in per cent of a column or page.
ALLOWED = {"100%"}


def typed_numbers(text):
    """Numbers of three digits or more outside code that sets the page."""
    return re.findall(r"(?<![\w.@-])\d[\d,]{2,}(?:\.\d+)?%?|(?<![\w.@-])\d+\.\d{2,}(?!\w)", text)


def test_no_number_of_three_digits_is_typed_into_the_paper():
    settings = re.compile(r"^(#set|#show|#let (rule|thin|picture)).*$", re.MULTILINE)
    assert set(typed_numbers(settings.sub("", TEXT))) <= ALLOWED


def test_the_search_for_typed_numbers_finds_them():
    found = typed_numbers("about 8,200 examples, 121 of 0.93 and 100%, not @you2020 or 9.4pt")
    assert found == ["8,200", "121", "0.93", "100%"]


def test_every_figure_of_the_paper_is_in_the_reproduction_table_and_has_its_script():
    drawn = set(re.findall(r'picture\("(\w+)"\)', TEXT))
    assert drawn == {figure.name for figure in FIGURES}
    scripts = {path.stem for path in (PAPER / "figures").glob("*.py")} - {"style"}
    assert scripts == drawn


def test_every_source_that_is_cited_is_in_the_bibliography():
    known = set(re.findall(r"@\w+\{(\w+),", (PAPER / "refs.bib").read_text(encoding="utf-8")))
    labels = set(re.findall(r"<([\w-]+)>", TEXT))
    cited = set(re.findall(r"(?<!\w)@([\w-]+)", TEXT))
    assert cited <= known | labels
    assert known <= cited, "sources that nobody cites"


def test_batch_sizes_stand_on_a_log2_axis_with_their_unit(study):
    with look():
        figure = importlib.import_module("paper.figures.steps_to_target").draw(study)
    (ax,) = figure.axes
    assert ax.get_xscale() == "log"
    assert ax.xaxis.get_transform().base == 2
    assert ax.get_xlabel() == "batch size (examples)"


@pytest.mark.parametrize("name", ["noise_scale", "batch_growth", "back_test"])
def test_a_figure_is_the_same_bytes_each_time_and_carries_no_date(study, name):
    module = importlib.import_module(f"paper.figures.{name}")
    with look():
        first, second = (svg_of(module.draw(study)) for _ in range(2))
    assert first == second
    assert b"<dc:date>" not in first


def test_a_record_that_is_not_what_the_dictionary_says_stops_the_build(tmp_path):
    (tmp_path / "README.md").write_text("| `gone.csv` | 1 | `" + "0" * 64 + "` |\n")
    with pytest.raises(InputError, match=r"gone\.csv: listed, not there"):
        build(tmp_path, tmp_path / "out")


@pytest.fixture(scope="module")
def pdf():
    pytest.importorskip("typst")
    return build(RESULTS, GENERATED / "test")


@pytest.mark.slow
def test_the_whole_paper_is_built_from_the_committed_records(pdf):
    content = pdf.read_bytes()
    assert content.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", content)) >= 5
    assert {path.stem for path in pdf.parent.glob("*.svg")} == {f.name for f in FIGURES}


def quoted_in(numbers):
    """Every number of the paper with its interval and what it rests on."""
    if isinstance(numbers, dict):
        own = {numbers["full"]} if isinstance(numbers.get("full"), str) else set()
        return own.union(*map(quoted_in, numbers.values()))
    return set().union(*map(quoted_in, numbers)) if isinstance(numbers, list) else set()


@pytest.mark.slow
@pytest.mark.parametrize(("page", "fewest"), [("docs/findings.md", 10), ("README.md", 3)])
def test_every_number_that_a_page_quotes_of_the_study_is_one_of_the_papers(pdf, page, fewest):
    known = quoted_in(json.loads((pdf.parent / "numbers.json").read_text(encoding="utf-8")))
    text = (PAPER.parent / page).read_text(encoding="utf-8")
    section = text.split("# What our own study found")[1].split("\n## ")[0]
    said = re.findall(r"\S+(?: %)? \([^()]*; n = [^()]*\)", " ".join(section.split()))
    assert len(said) >= fewest
    assert [each for each in said if each not in known] == []


def test_the_paper_is_a_leaf_of_short_files_that_nobody_imports():
    for package in ("models_of_scaling", "fullscale", "surrogate"):
        for path in (PAPER.parent / package).rglob("*.py"):
            imports = re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), re.MULTILINE)
            assert "paper" not in imports, path
    for path in PAPER.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert text.startswith(('"""', 'r"""')), path
        assert len(text.splitlines()) <= 300, path

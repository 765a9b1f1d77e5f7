"""Every link of the pages leads somewhere, every flag exists, and examples print what they show."""

import re
import shlex
from pathlib import Path

import pytest

from models_of_scaling.__main__ import build_parser, main

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path.relative_to(ROOT)
    for pattern in ("*.md", "docs/*.md", "notebooks/*.md", "paper/results/*.md")
    for path in ROOT.glob(pattern)
)
# An example is stale where its words differ, or a number by more than a quarter: laws and priors
# move figures by less than a reader acts on, and the draws by less still.
STALE = 0.25


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def without_code(text):
    return re.sub(r"```.*?```|`[^`\n]*`|^ {4}.*?$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors_of(page):
    """Return the anchors that a hosting site makes of a page's headings."""
    text = re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)
    found = set()
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        found.add(re.sub(r"[^\w\- ]", "", words).replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_relative_link_of_a_page_leads_to_a_file_and_a_heading(page):
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(text_of(page))):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        if not (ROOT / target).exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    assert broken == []


def test_every_page_is_reached_from_the_readme():
    text = text_of("README.md")
    unreached = [str(page) for page in PAGES if page.parent.name == "docs"]
    assert [page for page in unreached if f"({page}" not in text] == []


def law_flags():
    commands = build_parser()._actions[-1].choices  # noqa: SLF001 - argparse has no public list
    return {
        name: {flag for action in parser._actions for flag in action.option_strings}  # noqa: SLF001
        for name, parser in commands.items()
    }


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_flag_of_a_law_command_on_a_page_exists(page):
    flags, text = law_flags(), text_of(page).replace("\\\n", " ")
    for words in re.findall(r"-m models_of_scaling ([\w-]+ [^`\n|#]*)", text):
        command, *rest = words.split()
        given = {word.rstrip(".,;)") for word in rest if word.startswith("--")}
        assert given <= flags[command], words


def sessions(page):
    """Return the (command, output shown) pairs of a page's blocks, in order."""
    found = []
    for block in re.findall(r"^```\n(.*?)^```", text_of(page), re.MULTILINE | re.DOTALL):
        if not block.startswith("$ "):
            continue
        for part in re.split(r"^\$ ", block.replace("\\\n", " "), flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            found.append((" ".join(command.split()), shown.strip("\n")))
    return found


def numbers_and_words(text):
    """Return the numbers of a text, and the text with # for each; line breaks are spaces."""
    joined = " ".join(text.split())
    number = r"(?<![\w.])\d[\d,]*(?:\.\d+)?"
    values = [float(each.replace(",", "")) for each in re.findall(number, joined)]
    return values, re.sub(number, "#", joined)


def assert_still_printed(shown, printed):
    """Check the lines shown against those printed; "..." stands for the rest."""
    if shown.endswith("..."):
        shown = shown.removesuffix("...").rstrip()
    values, words = numbers_and_words(shown)
    printed_values, printed_words = numbers_and_words(printed)
    assert printed_words.startswith(words)
    assert printed_values[: len(values)] == pytest.approx(values, rel=STALE)


@pytest.mark.parametrize("page", ["README.md", "docs/cluster.md", "docs/transfer.md"])
def test_the_example_of_a_page_prints_what_the_page_shows(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fullscale").symlink_to(ROOT / "fullscale")
    table = next(shown for command, shown in sessions("README.md") if "cat my_runs" in command)
    (tmp_path / "my_runs.csv").write_text(f"{table}\n", encoding="utf-8")
    compared = 0
    for command, shown in sessions(page):
        if match := re.fullmatch(r"cat (\S+)", command):
            Path(match[1]).write_text(f"{shown}\n", encoding="utf-8")
            continue
        match = re.fullmatch(r"\S*python -m models_of_scaling (.*)", command)
        if match is None or "study/digits" in command:  # that needs `make study`
            continue
        capsys.readouterr()
        assert main(shlex.split(match[1])) == 0
        if shown:
            assert_still_printed(shown, capsys.readouterr().out)
            compared += 1
    assert compared

"""The help of every command says what a flag means and what holds without it."""

import argparse
import importlib
import shlex
import sys

import pytest

from models_of_scaling.__main__ import _COMMANDS, build_parser

MODULES = (
    "surrogate.ablate",
    "surrogate.branch",
    "surrogate.compare_methods",
    "surrogate.final_test",
    "surrogate.ladder_rows",
    "surrogate.measure_spectrum",
    "surrogate.simulate",
    "surrogate.status",
    "surrogate.study",
    "surrogate.sweep",
    "surrogate.try_targets",
)


class _Asked(BaseException):
    def __init__(self, parser):
        super().__init__()
        self.parser = parser


def parser_of(module, monkeypatch):
    """Return the parser that a module's `main` builds."""

    def ask(self, *args, **kwargs):
        raise _Asked(self)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", ask)
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(_Asked) as asked:
        importlib.import_module(module).main()
    return asked.value.parser


def actions_of(parser):
    return parser._actions  # noqa: SLF001 - argparse has no public list of what was added


def unsaid(parser):
    """Return flags without help, and those whose default the help does not name."""
    found = []
    for action in actions_of(parser):
        name = "/".join(action.option_strings) or action.dest
        if not action.help:
            found.append(f"{name}: no help")
        has_default = action.default not in (None, False, "", [], argparse.SUPPRESS)
        if has_default and action.option_strings and "default" not in action.help:
            found.append(f"{name}: default {action.default} is not said")
    return found


@pytest.mark.parametrize("name", _COMMANDS)
def test_the_help_of_a_law_command_says_all_and_its_example_parses(name):
    parser = build_parser()
    command = actions_of(parser)[-1].choices[name]
    assert unsaid(command) == []
    assert command.description and command.epilog
    parser.parse_args([name, *shlex.split(_COMMANDS[name].EXAMPLE)])


@pytest.mark.parametrize("module", MODULES)
def test_the_help_of_a_module_says_all(module, monkeypatch):
    parser = parser_of(module, monkeypatch)
    assert unsaid(parser) == []
    assert parser.description and "python -m " in parser.prog

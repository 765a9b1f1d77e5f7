"""Benchmarks run alone: another test on the second core would be in their timings."""

from pathlib import Path

import pytest

import fullscale  # noqa: F401 - its guard must be there before lightning is imported


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(item.path).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.alone)

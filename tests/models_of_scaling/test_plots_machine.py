"""The machine pictures say what they show: axes, front, intervals, what is extrapolated."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from models_of_scaling.intervals import Interval
from models_of_scaling.machine.cluster import Placement
from models_of_scaling.machine.time_to_target import OBJECTIVES, Option, choose, mark_pareto
from models_of_scaling.plots.machine import (
    draw_time_against_batch_size,
    draw_time_against_cost,
    draw_time_against_nodes,
    machine_picture,
)

SIZES = (64, 256, 1024)
NODES = (1, 2, 4, 8, 16)


def interval(value):
    return Interval(estimate=value, low=0.8 * value, high=1.3 * value, level=0.9, method="")


def option(batch_size, nodes):
    seconds = (100 + 20_000 / batch_size) * (batch_size / nodes + 10) / 100
    return Option(
        placement=Placement(batch_size=batch_size, nodes=nodes, devices_per_node=2),
        steps=interval(100.0),
        seconds_per_step=interval(1.0),
        time_s=interval(seconds),
        extrapolation=batch_size / 512,
        notes=("beyond",) if nodes > 8 else (),
    )


@pytest.fixture
def options():
    return mark_pareto([option(size, nodes) for nodes in NODES for size in SIZES])


@pytest.fixture
def ax():
    return Figure().add_subplot()


def lines(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def test_time_against_cost_draws_the_front_and_the_best_of_each_objective(ax, options):
    chosen = {objective: choose(options, objective) for objective in OBJECTIVES}
    draw_time_against_cost(ax, options, chosen)
    assert ax.get_xlabel() == "device hours to target"
    assert ax.get_ylabel() == "time to target"
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    front = lines(ax)["Pareto front"]
    wanted = sorted(each.device_hours for each in options if each.is_pareto)
    np.testing.assert_array_equal(front.get_xdata(), wanted)
    assert (np.diff(front.get_ydata()) < 0).all()
    for objective in OBJECTIVES:
        assert lines(ax)[objective].get_ydata()[0] == chosen[objective].time_s.estimate
    assert "90% interval of the time" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_the_axis_of_time_is_labelled_in_seconds_minutes_and_hours(ax, options):
    draw_time_against_cost(ax, options, {})
    format_time = ax.yaxis.get_major_formatter()
    assert [format_time(value) for value in (30, 600, 7200)] == ["30 s", "10 min", "2 h"]


def test_time_against_nodes_takes_the_best_batch_size_and_opens_what_is_extrapolated(ax, options):
    draw_time_against_nodes(ax, options, useful_nodes=4)
    assert ax.get_xlabel() == "nodes" and ax.get_xscale() == "log"
    best = lines(ax)["shortest time, best batch size"]
    assert best.get_xdata().tolist() == list(NODES)
    for nodes, seconds in zip(NODES, best.get_ydata(), strict=True):
        assert seconds == min(
            each.time_s.estimate for each in options if each.placement.nodes == nodes
        )
    assert 16 in lines(ax)["extrapolated"].get_xdata()
    assert lines(ax)["extrapolated"].get_markerfacecolor() == "white"
    perfect = lines(ax)["perfect scaling: half the time per doubling"].get_ydata()
    np.testing.assert_allclose(perfect[:-1] / perfect[1:], 2, rtol=1e-12)
    assert lines(ax)["largest that still helps"].get_xdata()[0] == 4


def test_time_against_batch_size_has_a_log2_axis_and_a_line_per_number_of_nodes(ax, options):
    draw_time_against_batch_size(ax, options)
    assert ax.get_xlabel() == "batch size (examples)"
    assert ax.get_xscale() == "log"
    assert [tick.get_text() for tick in ax.get_xticklabels()] == [
        "64",
        "128",
        "256",
        "512",
        "1,024",
    ]
    assert list(lines(ax)) == ["1 node", "2 nodes", "8 nodes", "16 nodes"]


@pytest.mark.parametrize(("picture_format", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_the_picture_is_a_file_of_the_format_asked_for(options, picture_format, start):
    picture = machine_picture(
        options,
        {objective: choose(options, objective) for objective in OBJECTIVES},
        useful_nodes=None,
        picture_format=picture_format,
    )
    assert picture.startswith(start) and len(picture) > 5000

"""Branching: exact answers on planted losses, intervals from seeds, bounds instead of numbers."""

import math
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from models_of_scaling.branch_table import (
    agreement_in_words,
    checkpoint_row,
    row_cells,
    table_in_words,
)
from models_of_scaling.branching import (
    Branches,
    answer_with_interval,
    best_rules,
    critical_batch_size,
    efficiencies,
    efficiencies_by,
    lossless_batch_size,
)
from models_of_scaling.intervals import Interval
from models_of_scaling.noise_scale import NoiseScale
from models_of_scaling.plots.branching import branching_picture, draw_critical_batch_sizes

BASE, LENGTH, SIZES = 16, 4096, (32, 64, 128, 256, 512)


def loss_after(examples, batch_size, critical):
    """A loss that falls as a power of the examples that count, 1 / (1 + x / B_crit) of them."""
    return (1000 + examples / (1 + batch_size / critical)) ** -0.7


def planted(critical=100.0, *, seeds=6, noise=0.0, slow_rule=1.0, seed=0):
    """Branches whose efficiency is the law's; the rule `none` has it, `sqrt` less of it."""
    rng = np.random.default_rng(seed)
    at = np.linspace(0, 2 * LENGTH, 49)

    def runs(values):
        values = np.broadcast_to(values, (seeds, *np.shape(values)))
        return values * np.exp(noise * rng.standard_normal(values.shape))

    branch = np.array([loss_after(LENGTH, size, critical) for size in SIZES])
    return Branches(
        examples=1024,
        base_batch_size=BASE,
        branch_examples=LENGTH,
        base_examples_N=at,
        # The base run's own rate is best at half of what it was.
        base_loss_RN={
            1.0: runs(1.1 * loss_after(at, BASE, critical)),
            0.5: runs(loss_after(at, BASE, critical)),
        },
        batch_sizes=SIZES,
        loss_RM={"none": runs(branch), "sqrt": runs(branch * slow_rule)},
    )


def best_critical(branches):
    found = efficiencies_by(branches, best_rules(branches))
    return critical_batch_size(branches.batch_sizes, found, base_batch_size=BASE)


def critical_by(rule):
    def answer(branches):
        found = efficiencies(branches, rule)
        return critical_batch_size(branches.batch_sizes, found, base_batch_size=BASE)

    return answer


@pytest.mark.parametrize("critical", [60.0, 100.0, 300.0])
def test_efficiency_and_critical_batch_size_are_those_that_were_planted(critical):
    branches = planted(critical)
    want = (1 + BASE / critical) / (1 + np.array(SIZES) / critical)
    # Between evaluations a 24th of a branch apart the base run's loss is a straight line.
    np.testing.assert_allclose(efficiencies(branches, "none"), want, rtol=0.02)
    assert best_critical(branches) == pytest.approx(critical, rel=0.03)


def test_a_rule_that_loses_does_not_change_what_the_best_rule_says():
    branches = planted(slow_rule=3.0)
    assert best_critical(branches) == pytest.approx(100, rel=0.05)
    assert efficiencies(branches, "sqrt")[0] < efficiencies(branches, "none")[0]


def test_a_lower_rate_of_the_base_run_is_no_merit_of_the_batch():
    """Against the base run at its old rate alone every branch would look better."""
    branches = planted()
    old = Branches(**{**vars(branches), "base_loss_RN": {1.0: branches.base_loss_RN[1.0]}})
    assert (efficiencies(old, "none") > 1.1 * efficiencies(branches, "none")).all()


def test_the_lossless_batch_size_is_where_the_loss_exceeds_the_base_runs_by_the_tolerance():
    branches = planted()
    at = lossless_batch_size(branches, "none", tolerance=0.1)
    base = 1.1 * loss_after(LENGTH, BASE, 100.0)
    assert loss_after(LENGTH, at, 100.0) == pytest.approx(1.1 * base, rel=0.01)
    assert lossless_batch_size(branches, "none", tolerance=1e6) == math.inf


def test_intervals_from_seeds_hold_the_truth_as_often_as_they_say_and_follow_the_noise():
    widths, held = {0.04: [], 0.01: []}, 0
    for noise, found in widths.items():
        for seed in range(40):
            branches = planted(noise=noise, seeds=6, seed=seed)
            answer = answer_with_interval(branches, critical_by("none"))
            found.append(math.log(answer.high / answer.low))
            held += answer.low <= 100 <= answer.high
    # 80 intervals of 90 %: fewer than 63 or all of them would come once in a thousand times.
    assert 63 <= held < 80
    ratio = np.median(widths[0.04]) / np.median(widths[0.01])
    assert 2.5 < ratio < 6  # the noise is 4 times as large


def test_beyond_the_branches_there_is_a_bound_and_no_number():
    above = answer_with_interval(planted(critical=1e6), best_critical)
    assert (above.estimate, above.low, above.high) == (math.inf, 512.0, math.inf)
    below = answer_with_interval(planted(critical=2.0), best_critical)
    assert (below.estimate, below.low, below.high) == (0.0, 0.0, 32.0)


def test_a_branch_that_diverged_counts_as_one_that_got_nowhere():
    branches = planted()
    loss = branches.loss_RM["none"].copy()
    loss[2, -1] = math.nan
    broken = Branches(**{**vars(branches), "loss_RM": {"none": loss}})
    assert efficiencies(broken, "none")[-1] == 1e-3
    assert best_critical(broken) == pytest.approx(100, rel=0.03)


def test_where_efficiency_falls_off_a_cliff_the_interval_holds_both_branches():
    branches = planted(critical=300.0)
    loss = branches.loss_RM["none"].copy()
    loss[:, 3:] = 3.0  # every seed diverges from 256 on: they agree, and know nothing in between
    broken = Branches(**{**vars(branches), "loss_RM": {"none": loss}})
    row = checkpoint_row(broken, [noise_of(50.0, 1.0)] * 6, tolerance=0.1)
    assert row.critical.low <= 128
    assert row.critical.high == 256
    smooth = checkpoint_row(branches, [noise_of(50.0, 1.0)] * 6, tolerance=0.1).critical
    assert smooth.high < 1.05 * smooth.low


def test_two_seeds_give_no_interval():
    with pytest.raises(ValueError, match="2 seeds give no interval"):
        answer_with_interval(planted(seeds=2), best_critical)


def noise_of(trace, sq_norm):
    return NoiseScale(
        estimate=trace / sq_norm, low=0, high=math.inf, level=0.9, trace=trace, sq_norm=sq_norm,
        steps=16, blocks=16,
    )  # fmt: skip


def rows():
    noise = [noise_of(50.0 + seed, 1.0) for seed in range(6)]
    return [
        checkpoint_row(planted(noise=0.02), noise, tolerance=0.1),
        checkpoint_row(planted(critical=1e6), noise, tolerance=0.1),
    ]


STEPS = Interval(estimate=80.0, low=60.0, high=110.0, level=0.9, method="posterior draws")


def test_the_table_says_bounds_as_bounds_and_by_what_factor_the_three_agree():
    text = table_in_words(rows(), STEPS)
    first, second = text.splitlines()[1:3]
    assert "more than 512" in second
    assert "53 (" in first
    assert "B_crit by steps to target: 80 (90 % interval 60 to 110)" in text
    critical = rows()[0].critical.estimate
    assert f"is {critical / 52.5:.2g} times the noise scale" in text
    assert f"is {critical / 80:.2g} times B_crit by steps to target" in text
    assert "over 1 of 2 checkpoints" in text
    nothing = agreement_in_words(rows()[1:], STEPS)
    assert all("no checkpoint has both numbers" in line for line in nothing)


def test_a_row_has_the_same_columns_whatever_is_known():
    first, second = (row_cells(row) for row in rows())
    assert list(first) == list(second)
    assert second["critical_batch_size"] == math.inf


def test_the_picture_names_its_axes_and_its_three_sources():
    ax = Figure().add_subplot()
    draw_critical_batch_sizes(ax, rows(), STEPS, largest_branch=512)
    assert ax.get_ylabel() == "batch size (examples)"
    assert ax.get_xlabel() == "examples processed at the checkpoint"
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    labels = {text.get_text() for text in ax.get_legend().get_texts()}
    assert labels == {
        "by branching",
        "gradient noise scale",
        "by steps to target",
        "largest branch",
    }
    curved = [
        replace(row, examples=row.examples * 1000, curvature_noise_scale=row.noise_scale)
        for row in rows()
    ]
    ax = Figure().add_subplot()
    draw_critical_batch_sizes(ax, curved, STEPS, largest_branch=512)
    assert "noise scale with curvature" in {t.get_text() for t in ax.get_legend().get_texts()}
    assert ax.get_xlabel() == "examples processed at the checkpoint (thousands)"
    picture = branching_picture(rows(), STEPS, largest_branch=512, title="a title")
    assert ET.fromstring(picture).tag.endswith("svg")
    assert picture == branching_picture(rows(), STEPS, largest_branch=512, title="a title")

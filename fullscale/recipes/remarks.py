"""Remarks on a run's settings: their form, and those that are no question of a range."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from fullscale.recipes.catalogue import PAPERS, results_without_recipe
from fullscale.recipes.expectations import Expectation, expect_of_momentum_sgd
from fullscale.recipes.neighbours import (
    at_same_batch_size,
    distance_from,
    number,
    sizes_in_words,
)
from fullscale.recipes.on_record import PublishedSetting
from fullscale.recipes.run_settings import USUAL_TRUST_COEFFICIENT, RunSettings

# The accuracy that "fewest epochs to target" is about.
_TARGET: Final = 0.759


@dataclass(frozen=True, kw_only=True)
class Remark:
    """One unusual thing.

    Attributes:
        quantity: name, as in `run_settings.RunSettings.quantities`, or batch_size.
        words: what is unusual, in one sentence, with its source.
        source: table and lines of the row that it is compared with.
        expectation: what a published row shows to come of it; None where none does.
    """

    quantity: str
    words: str
    source: str
    expectation: Expectation | None = None


def expectation_of(quantity: str, run: RunSettings, extreme: str) -> Expectation | None:
    """Return what published rows show to come of a quantity that is "above" or "below" usual."""
    if run.family != "momentum SGD":
        return None
    return expect_of_momentum_sgd(quantity, run, extreme)


def remark_on_short_run(run: RunSettings, near: Sequence[PublishedSetting]) -> Remark | None:
    """Compare the run's length with the epochs that runs on record needed to 75.9 % top-1."""
    if run.target_top1 is None or run.target_top1 < _TARGET:
        return None
    met = [each for each in near if each.fewest_epochs_to_target is not None]
    # More epochs are needed at larger batch sizes: smaller ones still give a bound.
    pool = at_same_batch_size(run, met) or met
    length = run.quantities["train_epochs"]
    fewest, fastest = min(
        ((each.fewest_epochs_to_target or 0.0, each) for each in pool),
        key=lambda pair: pair[0],
        default=(0.0, None),
    )
    if fastest is None or length >= fewest:
        return None
    return Remark(
        quantity="train_epochs",
        words=f"length {number(length)} epochs is shorter than what the fastest {run.family} run "
        f"on record at {sizes_in_words(pool)} needed to 75.9 % top-1, {fewest:g} epochs "
        f"({fastest.citation})",
        source=fastest.source,
        expectation=Expectation(words="75.9 % top-1 not to be met", source=fastest.source),
    )


def remarks_on_batch_size(run: RunSettings, family: Sequence[PublishedSetting]) -> Iterator[Remark]:
    """Say where the batch size is beyond any, or one at which accuracy was lost."""
    largest = max(family, key=lambda each: each.batch_size)
    above = run.batch_size > largest.batch_size
    expectation = expectation_of("batch_size", run, "above")
    if above:
        words = (
            f"batch size {run.batch_size:,} is {run.batch_size / largest.batch_size:.2g}x the "
            f"largest on record for {run.family} with its settings, {largest.batch_size:,} "
            f"({largest.citation}); without settings, for any optimizer: {_largest_result()}"
        )
    elif expectation:
        words = f"batch size {run.batch_size:,} is one at which {run.family} has lost accuracy"
    else:
        return
    source = largest.source if above or expectation is None else expectation.source
    yield Remark(quantity="batch_size", words=words, source=source, expectation=expectation)


def _largest_result() -> str:
    """The largest batch size of a paper's row, in words."""
    rows = [each for each in results_without_recipe() if each.batch_size.isdecimal()]
    largest = max(rows, key=lambda each: int(each.batch_size))
    return (
        f"{int(largest.batch_size):,} with {largest.optimizer}, {largest.top1_percent} % top-1 "
        f"({PAPERS} line {largest.line})"
    )


def remarks_on_trust_coefficient(run: RunSettings) -> Iterator[Remark]:
    """Say where LARS has another trust coefficient, and so other rates."""
    if run.family == "LARS" and run.trust_coefficient != USUAL_TRUST_COEFFICIENT:
        times = run.trust_coefficient / USUAL_TRUST_COEFFICIENT
        yield Remark(
            quantity="trust_coefficient",
            words=f"trust coefficient {run.trust_coefficient:g} is {times:.2g}x that of MLPerf's "
            f"reference program, {USUAL_TRUST_COEFFICIENT:g}; rates are compared as rate times "
            f"{times:.2g}",
            source="resnet50_lars_32k",
        )


def remarks_on_batch_norm(run: RunSettings, near: Sequence[PublishedSetting]) -> Iterator[Remark]:
    """Say where batch norm has no stated span, or is decayed."""
    with_span = [each for each in near if "batch_norm_span" in each.quantities]
    if with_span and not run.sets_batch_norm_span:
        bound = min(with_span, key=distance_from(run))
        yield Remark(
            quantity="batch_norm_span",
            words="batch-norm span is not set, so that it changes with the devices; the nearest "
            f"setting on record has {bound.quantities['batch_norm_span']:g} examples "
            f"({bound.citation})",
            source=bound.source,
        )
    if run.decays_batch_norm:
        bound = min(near, key=distance_from(run))
        yield Remark(
            quantity="no_decay",
            words="weight decay is on batch norm's scales and offsets; no recipe on record does "
            "so (Goyal et al. 2017, section 5.1; MLPerf's reference program leaves them out)",
            source="resnet50_nesterov_8k_goyal2017, resnet50_lars_32k",
        )

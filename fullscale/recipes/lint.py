"""Compares a run's settings with what is on record at its batch size, and says what is unusual.

A published setting is a neighbour where its optimizer is of the same family and its batch size
within a factor of 2. A quantity is unusual where it lies outside the range of the neighbours at the
same batch size, or of all neighbours where fewer than 3 settings at that batch size record it, and
for batch norm's span. A peak rate is also compared with the neighbours' rates scaled to the batch
size, linearly and by the square root. What to expect is said only where a published row shows it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fullscale.recipes.neighbours import (
    FACTOR,
    at_same_batch_size,
    distance_from,
    neighbours,
    number,
    sizes_in_words,
    times_in_words,
)
from fullscale.recipes.on_record import PublishedSetting, settings_on_record
from fullscale.recipes.remarks import (
    Remark,
    expectation_of,
    remark_on_short_run,
    remarks_on_batch_norm,
    remarks_on_batch_size,
    remarks_on_trust_coefficient,
)
from fullscale.recipes.run_settings import RunSettings

_FEWEST_AT_SAME: Final = 3
# A value counts as inside a range that it leaves by rounding only: 21.2 / 21.2000001.
_ROUNDING: Final = 1.001
# Title, unit, words for more and for less.
_QUANTITIES: Final = {
    "peak_learning_rate": ("peak learning rate", "", "largest", "smallest"),
    "warmup_epochs": ("warm-up", " epochs", "longest", "shortest"),
    "train_epochs": ("length", " epochs", "longest", "shortest"),
    "weight_decay": ("weight decay", "", "largest", "smallest"),
    "momentum": ("momentum", "", "largest", "smallest"),
    "label_smoothing": ("label smoothing", "", "largest", "smallest"),
    "decay_power": ("decay power", "", "largest", "smallest"),
    "batch_norm_span": ("batch-norm span", " examples", "largest", "smallest"),
}
# Here other optimizers' runs count as neighbours too: batch norm knows no optimizer.
_OF_ANY_OPTIMIZER: Final = frozenset({"batch_norm_span"})


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A file beside what is on record.

    Attributes:
        summary: what was compared with what.
        remarks: the unusual.
        usual: quantities within what is on record.
        not_compared: quantities that no neighbour records, or why nothing was compared.
        nearest: the published setting nearest in batch size and rate; None without neighbours.
    """

    summary: str
    remarks: Sequence[Remark]
    usual: Sequence[str]
    not_compared: Sequence[str]
    nearest: PublishedSetting | None = None


def compare(run: RunSettings) -> Comparison:
    """Compare a run's settings with the published ones.

    Args:
        run: its settings.

    Returns:
        What is unusual, what is usual, and what can't be judged.
    """
    every = settings_on_record()
    if not run.is_imagenet_resnet50:
        return _nothing("no published run here is of this workload: all are ResNet-50 on ImageNet")
    family = [each for each in every if each.family == run.family]
    if not family:
        return _nothing(f"no published run here is with optimizer {run.optimizer}")
    title = f"{run.family}, batch size {run.batch_size:,}, ResNet-50 on ImageNet"
    remarks = [*remarks_on_batch_size(run, family), *remarks_on_trust_coefficient(run)]
    near = neighbours(run, family)
    if not near:
        sizes = sorted({each.batch_size for each in family})
        listed = ", ".join(f"{size:,}" for size in (sizes[:1] + sizes[-1:] if sizes[1:] else sizes))
        return Comparison(
            summary=title, remarks=remarks, usual=[],
            not_compared=[
                f"no {run.family} run is on record within a factor of {FACTOR:g} of batch size "
                f"{run.batch_size:,} (from least to most: {listed})"
            ],
        )  # fmt: skip
    usual, not_compared = [], []
    for quantity in _QUANTITIES:
        pool = neighbours(run, every) if quantity in _OF_ANY_OPTIMIZER else near
        if quantity not in run.quantities:
            continue
        if quantity == "train_epochs" and (short := remark_on_short_run(run, near)):
            remarks.append(short)
            continue
        recorded = [each for each in pool if quantity in each.quantities]
        if not recorded:
            not_compared.append(_QUANTITIES[quantity][0])
            continue
        remark = _remark(quantity, run, recorded)
        if remark is None:
            usual.append(_QUANTITIES[quantity][0])
        else:
            remarks.append(remark)
    remarks += remarks_on_batch_norm(run, near)
    return Comparison(
        summary=f"{title}: compared with {len(near)} published settings of {run.family}, "
        f"batch sizes {sizes_in_words(near)}",
        remarks=remarks,
        usual=usual,
        not_compared=not_compared,
        nearest=min(near, key=distance_from(run)),
    )


def _nothing(reason: str) -> Comparison:
    return Comparison(summary="not compared", remarks=[], usual=[], not_compared=[reason])


def _remark(quantity: str, run: RunSettings, recorded: Sequence[PublishedSetting]) -> Remark | None:
    """Compare one quantity with neighbours that all record it."""
    same = at_same_batch_size(run, recorded)
    is_rate = quantity == "peak_learning_rate"
    if is_rate and not same:
        return _remark_on_scaled_rate(run, recorded)
    of_same = is_rate or (len(same) >= _FEWEST_AT_SAME and quantity not in _OF_ANY_OPTIMIZER)
    pool = same if of_same else recorded
    value = run.quantities[quantity]
    low = min(pool, key=lambda each: each.quantities[quantity])
    high = max(pool, key=lambda each: each.quantities[quantity])
    extreme = _outside(value, low.quantities[quantity], high.quantities[quantity])
    if extreme is None:
        return None
    title, unit, most, least = _QUANTITIES[quantity]
    bound, word = (high, most) if extreme == "above" else (low, least)
    theirs = bound.quantities[quantity]
    times = times_in_words(value / theirs) if value and theirs else extreme
    owner = "any optimizer" if quantity in _OF_ANY_OPTIMIZER else run.family
    words = (
        f"{title} {number(value)}{unit} is {times} the {word} on record for {owner} at "
        f"{sizes_in_words(pool)}, {number(theirs)}{unit} ({bound.citation})"
    )
    if is_rate:
        words += _scaled_words(run, [each for each in recorded if each not in same])
    return Remark(
        quantity=quantity,
        words=words,
        source=bound.source,
        expectation=expectation_of(quantity, run, extreme),
    )


def _outside(value: float, low: float, high: float) -> str | None:
    if value > high * _ROUNDING:
        return "above"
    return "below" if value * _ROUNDING < low else None


def _scaled(run: RunSettings, pool: Sequence[PublishedSetting], power: float) -> list[float]:
    return [
        each.quantities["peak_learning_rate"] * (run.batch_size / each.batch_size) ** power
        for each in pool
    ]


def _scaled_words(run: RunSettings, others: Sequence[PublishedSetting]) -> str:
    if not others:
        return ""
    ranges = [
        f"{number(min(rates))} to {number(max(rates))} {how}"
        for power, how in ((1.0, "linearly"), (0.5, "by the square root"))
        for rates in [_scaled(run, others, power)]
    ]
    return f"; scaled from {sizes_in_words(others)}, rates on record come to {' and '.join(ranges)}"


def _remark_on_scaled_rate(run: RunSettings, pool: Sequence[PublishedSetting]) -> Remark | None:
    """Compare a rate where none is on record at its batch size: with all, however scaled."""
    value = run.quantities["peak_learning_rate"]
    by_power = {power: _scaled(run, pool, power) for power in (0.0, 0.5, 1.0)}
    rates = [rate for scaled in by_power.values() for rate in scaled]
    extreme = _outside(value, min(rates), max(rates))
    if extreme is None:
        return None
    choose = max if extreme == "above" else min
    bound = choose(pool, key=lambda each: choose(_scaled(run, [each], p)[0] for p in by_power))
    words = (
        f"peak learning rate {number(value)} is {extreme} every {run.family} rate on record within "
        f"a factor of {FACTOR:g} of batch size {run.batch_size:,}, whether scaled or not; nearest "
        f"to it {number(bound.quantities['peak_learning_rate'])} at {bound.batch_size:,} "
        f"({bound.citation}){_scaled_words(run, pool)}"
    )
    return Remark(
        quantity="peak_learning_rate",
        words=words,
        source=bound.source,
        expectation=expectation_of("peak_learning_rate", run, extreme),
    )

"""Predictions as aligned lines, and in words what a full-scale prediction rests on."""

from collections.abc import Sequence

from models_of_scaling.fit_record import FitRecord
from models_of_scaling.prediction import Prediction
from models_of_scaling.transfer.knee_draws import FullScale
from models_of_scaling.wording import interval_in_words, number_in_words


def prediction_table(fit: FitRecord, predictions: Sequence[Prediction]) -> str:
    """Return predictions as aligned lines with a note each.

    Args:
        fit: the record.
        predictions: at least one.
    """
    return table_of(
        predictions,
        smallest=fit.smallest_batch_size,
        num_train_examples=fit.num_train_examples,
        of_what="batch size fitted",
    )


def table_of(
    predictions: Sequence[Prediction],
    *,
    smallest: int,
    num_train_examples: int | None,
    of_what: str,
) -> str:
    """Return predictions as aligned lines with a note each.

    Args:
        predictions: at least one.
        smallest: batch size that efficiencies are relative to.
        num_train_examples: size of the training set, or None.
        of_what: what the smallest one is of, for the note below it.
    """
    level = predictions[0].steps.level
    rows = [("batch size", "steps", f"{100 * level:g} % interval", "examples", "efficiency", "")]
    for each in predictions:
        low, high = number_in_words(each.steps.low), number_in_words(each.steps.high)
        rows.append((
            f"{each.batch_size:,}",
            number_in_words(each.steps.estimate),
            f"{low} to {high}",
            number_in_words(each.examples),
            f"{each.efficiency:.3f}",
            _note(each, smallest, num_train_examples, of_what),
        ))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [
        "  ".join([
            *(cell.rjust(width) for cell, width in zip(row[:5], widths, strict=True)),
            row[5],
        ])
        for row in rows
    ]
    legend = (
        "Interval: for what a new study, tuned alike, would measure. "
        f"Efficiency: examples needed at batch size {smallest:,} over those needed here."
    )
    return "\n".join([*(line.rstrip() for line in lines), legend])


def _note(
    prediction: Prediction, smallest: int, num_train_examples: int | None, of_what: str
) -> str:
    notes = []
    if prediction.extrapolation > 1:
        notes.append(f"extrapolated {number_in_words(prediction.extrapolation)}x")
    elif prediction.batch_size < smallest:
        notes.append(f"below the smallest {of_what}")
    if prediction.measured is not None:
        place = "inside" if prediction.is_inside else "OUTSIDE"
        value = (
            f"not reached in {number_in_words(prediction.measured_at_least or 0)}"
            if prediction.measured == float("inf")
            else number_in_words(prediction.measured)
        )
        notes.append(f"measured (held out): {value}, {place} the interval")
    if num_train_examples and prediction.batch_size > num_train_examples:
        notes.append(f"more than the training set ({num_train_examples:,})")
    return "; ".join(notes)


def reliance_in_words(
    full_scale: FullScale, alone: FullScale, *, source: str, batch_size: int, level: float
) -> str:
    """Return how much a full-scale answer rests on the surrogates, and how much on the anchors.

    Args:
        full_scale: the curve.
        alone: the same with next to nothing known of the knee before the anchors.
        source: "the ladder" or "the surrogate".
        batch_size: the largest one that was asked for.
        level: of the intervals.

    Returns:
        Three sentences.
    """
    share = 100 * full_scale.knee_share
    widths = [
        each.steps(batch_size, level=level).high / each.steps(batch_size, level=level).low
        for each in (full_scale, alone)
    ]
    level_from = (
        "the anchors and the ladder's S_min"
        if (full_scale.knee.level_precision > 0).any()
        else "the anchors alone"
    )
    critical = interval_in_words(full_scale.critical_batch_size(level=level))
    return (
        f"Critical batch size at full scale: {critical}; {share:.0f} % of what is known of it "
        f"comes from {source}, the rest from the anchors. The level comes from {level_from}, the "
        "shape of the knee from the surrogates. "
        f"At batch size {batch_size:,} the interval's high over low is "
        f"{_width(widths[0])}; from the anchors with any knee it would be "
        f"{_width(widths[1])}."
    )


def _width(ratio: float) -> str:
    """Return high over low; what is wider than a thousand says nothing but that."""
    return number_in_words(ratio) if ratio <= 1000 else "more than 1,000"

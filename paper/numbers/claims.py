"""What the paper says in words of its own, each with what must hold of the numbers for it.

Most sentences are made from the numbers, so that they turn with them. These are not, and a record
that contradicts one stops the build until the sentence is mended.
"""

from collections.abc import Callable
from typing import Any, Final

from models_of_scaling.errors import InputError

Numbers = dict[str, Any]


def _falls_with_batch(numbers: Numbers) -> bool:
    return bool(numbers["walks"]["trends"]["batch_size"]["high"] < 0)


def _published_order(numbers: Numbers) -> bool:
    equal = [row["equal"] for row in numbers["full_batch"]["published"]["rows"]]
    return all(a["high"] < b["low"] for a, b in zip(equal, equal[1:], strict=False))


def _rows_of(numbers: Numbers, ladder: str) -> list[dict[str, Any]]:
    return [row for row in numbers["back_test"]["rows"] if ladder in row["title"]]


def _beyond_practice(numbers: Numbers, part: str) -> list[float]:
    """Return the average's error less today's practice's, at each distance."""
    found = numbers["less_noise"][part]
    return [
        ours["value"] - practice["value"]
        for ours, practice in zip(found["error"], found["practice"], strict=True)
    ]


def _less_noise_falls_short(numbers: Numbers) -> bool:
    found = numbers["less_noise"]
    few, many = ([each["value"] for each in found[part]["error"]] for part in ("few", "many"))
    expected = [float(value) / 100 for value in found["expected"]]
    falls = all(b < a for a, b in zip(few, many, strict=True))
    return falls and all(b > 1.2 * e for b, e in zip(many[1:], expected[1:], strict=True))


def _small_knees_checked(numbers: Numbers) -> bool:
    score = numbers["less_noise"]["checked"]["winkler"]
    return bool(score["averaged"] <= score["without_small_knees"])


CLAIMS: Final[dict[str, Callable[[Numbers], bool]]] = {
    "no setting of the walks follows log t": lambda numbers: (
        numbers["walks"]["not_log"] == numbers["walks"]["settings"]
    ),
    "every exponent of the walks lies below 1/2": lambda numbers: numbers["walks"]["below_half"],
    "the exponent falls with the batch size": _falls_with_batch,
    "in the last doubling the walks' exponents differ less between batch sizes": lambda numbers: (
        numbers["walks"]["spread_last"] < numbers["walks"]["spread_fitted"]
    ),
    "at equal tries the published order is momentum, LARS, LAMB": _published_order,
    "with the regime adapted no setting follows log t either": lambda numbers: (
        numbers["regime"]["not_log"] == numbers["regime"]["settings"]
    ),
    "adapted rates bring the distances no nearer to each other": lambda numbers: (
        numbers["regime"]["with"]["low"] > 1 > numbers["regime"]["without"]["high"]
    ),
    "branching lies above the noise scale on every workload": lambda numbers: all(
        row["branching_over_noise"]["low"] > 1 for row in numbers["noise"]["rows"]
    ),
    "the growing batch takes less than half of the steps": lambda numbers: (
        numbers["growth"] is None
        or all(
            int(row["share_of_steps"].rstrip(" %")) < 50 for row in numbers["growth"]["rows"][1:]
        )
    ),
    "on the digits ladder the average is nearer at every distance": lambda numbers: all(
        row["error"]["value"] < row["practice"]["value"] for row in _rows_of(numbers, "digits")
    ),
    "on the quadratic ladder practice is nearer at the largest distance": lambda numbers: (
        _rows_of(numbers, "quadratic")[-1]["error"]["low"]
        > _rows_of(numbers, "quadratic")[-1]["practice"]["high"]
    ),
    "with the knee known every error is smaller": lambda numbers: all(
        row["evidence"]["value"] < row["error"]["value"]
        for row in numbers["back_test"]["rows"]
        if "evidence" in row
    ),
    "the noise scale lies below branching at the last checkpoint": lambda numbers: all(
        row["noise_last"]["value"] < row["branching_last"]["value"]
        for row in numbers["noise"]["rows"]
    ),
    "intervals of predictions hold what they promise, on every group of series": lambda numbers: (
        all(
            row["held"]["low"] <= row["held"]["level"] <= row["held"]["high"]
            for row in numbers["back_test"]["rows"]
        )
    ),
    "at our sweeps' largest batch sizes the average is nearer than practice": lambda numbers: all(
        row["error"]["value"] < row["practice"]["value"] for row in numbers["back_test"]["largest"]
    ),
    "with less noise the error falls at every distance, at 4x and 8x less than was expected": (
        _less_noise_falls_short
    ),
    "with less noise practice is nearer at 4x and 8x": lambda numbers: all(
        away > 0 for away in _beyond_practice(numbers, "many")[1:]
    ),
    "with less noise the average is nearer from a quarter of B_crit on": lambda numbers: all(
        away < 0 for away in _beyond_practice(numbers, "near")
    ),
    "on sweeps recorded after the prior was cut the score is no worse with the cut": (
        _small_knees_checked
    ),
    "on sweeps recorded after the prior was cut the average is nearer than practice": (
        lambda numbers: all(away < 0 for away in _beyond_practice(numbers, "checked"))
    ),
    "from all origins of our sweeps practice is nearer at every distance": lambda numbers: all(
        row["error"]["value"] > row["practice"]["value"]
        for row in _rows_of(numbers, "our first sweeps")
    ),
    "on published series no error is told from today's practice": lambda numbers: (
        numbers["back_test"]["better"]["clear"] == 0
    ),
}


def check_claims(numbers: Numbers) -> None:
    """Refuse numbers under which a sentence of the paper is false.

    Args:
        numbers: of the paper.

    Raises:
        InputError: naming every such sentence.
    """
    false = [sentence for sentence, holds in CLAIMS.items() if not holds(numbers)]
    if false:
        raise InputError("the records no longer support what paper.typ says: " + "; ".join(false))

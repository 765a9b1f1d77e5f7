"""The learning-rate schedules by the names that recipes, sweeps and command lines use."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any, Final

from fullscale.schedules import Piecewise, Schedule, Triangular, WarmRestarts, WarmupPolynomial
from models_of_scaling.errors import InputError


def _goyal_steps(**common: float) -> Schedule:
    """Drop by 10 after 30, 60 and 80 of 90 epochs (Goyal et al. 2017, section 5.1)."""
    return _build(Piecewise, common, boundaries=(30 / 90, 60 / 90, 80 / 90),
                  factors=(1.0, 0.1, 0.01, 0.001))  # fmt: skip


def _slow_start(**common: float) -> Schedule:
    """40, 30, 15, 5 of 90 epochs at 1, 0.15, 0.02, 0.002 (Akiba et al. 2017, arXiv:1711.04325)."""
    return _build(Piecewise, common, boundaries=(40 / 90, 70 / 90, 85 / 90),
                  factors=(1.0, 0.15, 0.02, 0.002))  # fmt: skip


def _build(kind: Callable[..., Schedule], common: Mapping[str, float], **fixed: object) -> Schedule:
    return kind(**common, **fixed)


def _polynomial(power: float) -> Callable[..., Schedule]:
    def build(**numbers: float) -> Schedule:
        return WarmupPolynomial(**{"decay_power": power} | numbers)  # type: ignore[arg-type]

    return build


# Names of the command lines; each is called with the fields of its class.
SCHEDULES: Final[Mapping[str, Callable[..., Schedule]]] = {
    "constant": _polynomial(0.0),
    "linear": _polynomial(1.0),
    "polynomial": _polynomial(2.0),
    "sqrt": _polynomial(0.5),
    "cosine": WarmRestarts,
    "warm_restarts": lambda **numbers: WarmRestarts(**{"num_cycles": 3} | numbers),
    "triangular": Triangular,
    "step": _goyal_steps,
    "slow_start": _slow_start,
    "piecewise": Piecewise,
}

_KINDS: Final[Mapping[str, type[Schedule]]] = {
    **dict.fromkeys(("constant", "linear", "polynomial", "sqrt"), WarmupPolynomial),
    **dict.fromkeys(("cosine", "warm_restarts"), WarmRestarts),
    "triangular": Triangular,
    **dict.fromkeys(("step", "slow_start", "piecewise"), Piecewise),
}
_LENGTHS: Final = frozenset({"warmup_steps", "num_train_steps"})
_OF_A_SOURCE: Final = frozenset({"step", "slow_start"})  # whose pieces are given
_PIECES: Final = frozenset({"boundaries", "factors"})


def build_schedule(
    name: str, *, warmup_steps: int, num_train_steps: int, numbers: Mapping[str, Any]
) -> Schedule:
    """Return the schedule of this name.

    Args:
        name: a key of `SCHEDULES`.
        warmup_steps: of the linear warm-up before it.
        num_train_steps: the planned length of the run.
        numbers: other fields of the schedule's class, for example end_factor.

    Returns:
        The schedule.

    Raises:
        InputError: where the name or a number is unknown, or a value breaks its rule.
    """
    if name not in SCHEDULES:
        raise InputError(f"schedule {name!r} is not one of {', '.join(SCHEDULES)}")
    _check_numbers(name, numbers)
    return SCHEDULES[name](
        warmup_steps=warmup_steps,
        num_train_steps=num_train_steps,
        **{name: tuple(x) if isinstance(x, list) else x for name, x in numbers.items()},
    )


def _check_numbers(name: str, numbers: Mapping[str, Any]) -> None:
    """Refuse numbers that a schedule does not take, lacks, or that are none."""
    takes = {each.name: each for each in fields(_KINDS[name]) if each.name not in _LENGTHS}
    if name in _OF_A_SOURCE:
        takes = {key: each for key, each in takes.items() if key not in _PIECES}
    unknown = [each for each in numbers if each not in takes]
    if unknown:
        raise InputError(
            f"schedule {name}: does not take {', '.join(unknown)}; it takes {', '.join(takes)}"
        )
    missing = [key for key, each in takes.items() if each.default is MISSING and key not in numbers]
    if missing:
        raise InputError(f"schedule {name}: needs {' and '.join(missing)}")
    for key, value in numbers.items():
        several = key in _PIECES
        parts = value if several and isinstance(value, list | tuple) else [value]
        if (parts is not value) == several or not all(map(_is_number, parts)):
            rule = "a list of numbers" if several else "a number"
            raise InputError(f"schedule {name}: {key} {value!r} must be {rule}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def schedule_pieces(
    name: str, numbers: Mapping[str, Any] | None
) -> dict[str, tuple[float, ...]] | None:
    """Return where a schedule drops, for a batch that grows there instead.

    Args:
        name: a key of `SCHEDULES`.
        numbers: other fields of its class.

    Returns:
        boundaries and factors of a schedule in pieces; None for a smooth or a wrong one.
    """
    try:
        schedule = build_schedule(name, warmup_steps=0, num_train_steps=1, numbers=numbers or {})
    except InputError:
        return None  # which the model refuses by its own flags
    if not isinstance(schedule, Piecewise):
        return None
    return {"boundaries": schedule.boundaries, "factors": schedule.factors}

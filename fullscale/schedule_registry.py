"""The learning-rate schedules by the names that recipes, sweeps and command lines use."""

from collections.abc import Callable, Mapping
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
    try:
        return SCHEDULES[name](
            warmup_steps=warmup_steps,
            num_train_steps=num_train_steps,
            **{name: tuple(x) if isinstance(x, list) else x for name, x in numbers.items()},
        )
    except TypeError:
        raise InputError(f"schedule {name}: does not take {', '.join(numbers)}") from None


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

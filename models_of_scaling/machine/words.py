"""The machine table and the designer's guidance, as lines of text and as JSON."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from models_of_scaling.intervals import Interval
from models_of_scaling.machine.guidance import UsefulMachine, limiting
from models_of_scaling.machine.step_time_belief import StepTimeBelief
from models_of_scaling.machine.time_to_target import OBJECTIVES, Objective, Option
from models_of_scaling.wording import interval_in_words, number_in_words

_PROPERTIES: Final = {
    "device_speed": "the speed of a device (FLOP/s, or its memory)",
    "seconds_per_forward": "the fixed time of a forward",
    "latency_within": "latency within a node",
    "bandwidth_within": "bandwidth within a node",
    "latency_between": "latency between nodes",
    "bandwidth_between": "bandwidth between nodes",
    "critical_batch_size": "the critical batch size (the steps no longer fall as 1/B)",
}


@dataclass(frozen=True, kw_only=True)
class MachineAnswer:
    """All that `machine` has to say.

    Attributes:
        options: every (batch size, nodes).
        chosen: the best option by each objective.
        twice: from the cheapest: the cheapest option of at most half its time, or None.
        elasticities: d log time / d log of each property, at the balanced option.
        useful: the largest machine that still helps.
        belief: about the step's time.
        price_per_device_hour: money, or None.
        watts_per_device: power, or None.
    """

    options: Sequence[Option]
    chosen: dict[Objective, Option]
    twice: Option | None
    elasticities: dict[str, float]
    useful: UsefulMachine
    belief: StepTimeBelief
    price_per_device_hour: float | None
    watts_per_device: float | None


def answer_as_json(answer: MachineAnswer) -> dict[str, Any]:
    """Return the answer as strict JSON; an open end of an interval is null.

    Args:
        answer: what to say.
    """
    fit = answer.belief.fit
    return {
        "options": [_option_as_json(answer, each) for each in answer.options],
        **{name: _option_as_json(answer, answer.chosen[name]) for name in OBJECTIVES},
        "twice_as_fast_as_cheapest": answer.twice and _option_as_json(answer, answer.twice),
        "d_log_time_d_log": answer.elasticities,
        "limited_by": limiting(answer.elasticities),
        "largest_useful_nodes": _interval(answer.useful.nodes),
        "largest_considered_nodes": answer.useful.largest_considered,
        "saving_per_doubling": answer.useful.saving,
        "step_time": {
            "source": "throughput" if fit else "roofline",
            "algorithm": answer.belief.point.algorithm,
            "parameters": {name: _interval(each) for name, each in fit.intervals.items()}
            if fit
            else None,
            "told_by_rows": fit.told if fit else None,
            "rms_log_misfit": fit.rms_misfit if fit else None,
            "advice": list(fit.advice()) if fit else [],
        },
    }


def _option_as_json(answer: MachineAnswer, option: Option) -> dict[str, Any]:
    place, hours = option.placement, option.device_hours
    price, watts = answer.price_per_device_hour, answer.watts_per_device
    return _finite({
        "batch_size": place.batch_size,
        "nodes": place.nodes,
        "devices_per_node": place.devices_per_node,
        "per_device_batch_size": place.per_device_batch_size,
        "accumulate_grad_batches": place.accumulate_grad_batches,
        "steps": option.steps.estimate,
        "seconds_per_step": option.seconds_per_step.estimate,
        "time_s": option.time_s.estimate,
        "time_s_low": option.time_s.low,
        "time_s_high": option.time_s.high,
        "device_hours": hours,
        "money": None if price is None else price * hours,
        "energy_kwh": None if watts is None else watts * hours / 1000,
        "pareto": option.is_pareto,
        "extrapolation": option.extrapolation,
        "notes": list(option.notes),
    })


def _interval(interval: Interval) -> dict[str, Any]:
    return _finite(asdict(interval))


def _finite(content: dict[str, Any]) -> dict[str, Any]:
    """Return the content with null for what has no bound."""
    return {
        name: None if isinstance(value, float) and math.isinf(value) else value
        for name, value in content.items()
    }


def time_in_words(seconds: float) -> str:
    """Return seconds as "3.2 s", "12 min" or "5.1 h".

    >>> time_in_words(90.0), time_in_words(5400.0), time_in_words(7200.0 * 24)
    ('90 s', '90 min', '48 h')
    """
    if math.isinf(seconds):
        return "infinity"
    unit, length = _time_unit(seconds)
    return f"{number_in_words(seconds / length)} {unit}"


def time_interval_in_words(interval: Interval) -> str:
    """Return "85 to 130 min", in the unit that `time_in_words` has for the estimate.

    Args:
        interval: seconds.
    """
    unit, length = _time_unit(interval.estimate)
    low, high = (number_in_words(end / length) for end in (interval.low, interval.high))
    return f"{low} to {high} {unit}"


def _time_unit(seconds: float) -> tuple[str, float]:
    """Return the largest unit of which there are two, and its seconds."""
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return unit, length
    return "s", 1.0


def nodes_in_words(count: int) -> str:
    """Return "1 node" or "64 nodes"."""
    return f"{count:,} node" + ("" if count == 1 else "s")


def answer_in_words(answer: MachineAnswer, *, every_option: bool) -> str:
    """Return the table and the guidance.

    Args:
        answer: what to say.
        every_option: whether to list all, not only the Pareto front and each machine's fastest.
    """
    fastest_of = {
        min(
            (each for each in answer.options if each.placement.nodes == nodes),
            key=lambda each: each.time_s.estimate,
        ).placement
        for nodes in {each.placement.nodes for each in answer.options}
    }
    shown = [
        each
        for each in answer.options
        if every_option or each.is_pareto or each.placement in fastest_of
    ]
    return "\n".join([*_table(answer, shown), "", *_guidance(answer)])


def _table(answer: MachineAnswer, shown: Sequence[Option]) -> list[str]:
    level = f"{100 * answer.options[0].time_s.level:g} % interval"
    head = ["nodes", "batch size", "steps", "s/step", "time", level, "device h"]
    extra = [
        ("money", answer.price_per_device_hour),
        ("kWh", answer.watts_per_device and answer.watts_per_device / 1000),
    ]
    head += [name for name, factor in extra if factor]
    rows = [[*head, ""]]
    for each in shown:
        cells = [
            f"{each.placement.nodes:,}",
            f"{each.placement.batch_size:,}",
            number_in_words(each.steps.estimate),
            number_in_words(each.seconds_per_step.estimate),
            time_in_words(each.time_s.estimate),
            time_interval_in_words(each.time_s),
            number_in_words(each.device_hours),
        ]
        cells += [number_in_words(factor * each.device_hours) for _, factor in extra if factor]
        rows.append([*cells, _marks(answer, each)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return [
        "  ".join([
            *(cell.rjust(width) for cell, width in zip(row[:-1], widths, strict=True)),
            row[-1],
        ]).rstrip()
        for row in rows
    ]


def _marks(answer: MachineAnswer, option: Option) -> str:
    marks = ["Pareto"] if option.is_pareto else []
    marks += [name for name in OBJECTIVES if answer.chosen[name] == option]
    if option.extrapolation > 1:
        marks.append(f"batch {number_in_words(option.extrapolation)}x the largest fitted")
    if option.notes:
        marks.append("step time extrapolated")
    return ", ".join(marks)


def _guidance(answer: MachineAnswer) -> list[str]:
    lines = ["Pareto: no other option is both faster and cheaper. "]
    lines[0] += "Balanced: the least product of time and device hours."
    lines += [_twice(answer), *_limits(answer), _useful(answer.useful)]
    largest = max(each.placement.batch_size for each in answer.options)
    capped = [n for n, size in answer.useful.best_batch_size.items() if size == largest]
    if capped:
        lines.append(
            f"On {nodes_in_words(min(capped))} and more the largest batch size considered, "
            f"{largest:,}, is the best; what a larger one would do is not said here."
        )
    fit = answer.belief.fit
    if fit:
        lines.append(
            f"Step time: fitted to {fit.measured.num_rows} rows at {len(fit.measured)} "
            f"configurations, all-reduce as {answer.belief.point.algorithm}; typical misfit "
            f"{100 * fit.rms_misfit:.1f} %."
        )
        lines += fit.advice()
    else:
        lines.append(
            "Step time: from a data sheet, nothing measured; measure a few configurations and "
            "give --throughput."
        )
    return lines


def _twice(answer: MachineAnswer) -> str:
    cheapest, fastest = answer.chosen["cheapest"], answer.chosen["fastest"]
    if answer.twice is None:
        gain = cheapest.time_s.estimate / fastest.time_s.estimate
        cost = fastest.device_hours / cheapest.device_hours
        return (
            f"Twice as fast as the cheapest is not to be had here: the fastest is {gain:.2f}x as "
            f"fast, for {cost:.2f}x the device hours."
        )
    place = answer.twice.placement
    return (
        f"Being at least twice as fast as the cheapest costs "
        f"{answer.twice.device_hours / cheapest.device_hours:.2f}x its device hours: "
        f"{nodes_in_words(place.nodes)} at batch size {place.batch_size:,}, "
        f"{time_in_words(answer.twice.time_s.estimate)} instead of "
        f"{time_in_words(cheapest.time_s.estimate)}."
    )


def _limits(answer: MachineAnswer) -> list[str]:
    found, place = answer.elasticities, answer.chosen["balanced"].placement
    name = limiting(found)
    order = sorted(found, key=lambda each: -abs(found[each]))
    felt = [each for each in order if abs(found[each]) >= 0.005]
    listed = "; ".join(f"{_PROPERTIES[each]} {abs(found[each]):.2f}" for each in felt)
    rest = "" if len(felt) == len(order) else "; all else less than 0.005"
    return [
        f"What limits at the balanced option ({nodes_in_words(place.nodes)}, batch size "
        f"{place.batch_size:,}): {_PROPERTIES[name]}.",
        f"Per cent of time that 1 % better saves: {listed}{rest}.",
    ]


def _useful(useful: UsefulMachine) -> str:
    share = f"{100 * useful.saving:g} %"
    if len(useful.best_time_s) == 1:
        return "Give several --nodes to see the largest machine that still helps."
    if useful.is_open:
        return (
            f"Every machine considered still helps: up to {useful.largest_considered:,} nodes "
            f"each doubling cuts at least {share} off the time. Give more --nodes to see the end."
        )
    return (
        f"The largest machine that still helps (a doubling cuts at least {share} off the time): "
        f"{interval_in_words(useful.nodes)} nodes, at batch size "
        f"{useful.best_batch_size[round(useful.nodes.estimate)]:,}."
    )

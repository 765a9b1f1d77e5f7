"""The study of an active design: the protocol's stages, with an effort that may grow.

A full sweep fixes its trials and repeats before it starts, so its name covers them. An active
design starts with few repeats and may double them, or its trials, at every batch size that it
has measured. Trials of a smaller effort count for a larger one: the wide stage's Sobol points are a
prefix of one sequence, and a zoom around the same best point too. So the study's name leaves trials
and repeats out.
"""

from dataclasses import dataclass, fields, replace
from typing import Final

from surrogate.active.actions import Effort
from surrogate.protocol import Plan, Protocol

# What a visit costs in runs is mostly search: a trial that is still running at 1.5 times the
# fewest steps known is no candidate for the shortlist (seeds differ by up to 18 % on digits), so it
# need not go on to 3 times, and three configurations on three seeds each choose the winner. The
# trials are a full search's: what half a search misses at neighbouring batch sizes looks like a
# knee, and no interval knew of it (docs/active_design.md).
_SLOWEST_FACTOR: Final = 1.5
_SHORTLIST: Final = 3
_RACE_LEAST: Final = _SHORTLIST + 1
_NAMED_BY_TRIALS: Final = 64
# After a full search seeds are most of a mean's noise, and a repeat costs a fiftieth of a visit.
_MOST_REPEATS: Final = 4
_MOST_TRIALS: Final = 2


@dataclass(frozen=True, kw_only=True)
class ActivePlan(Plan):
    """A study whose name does not depend on how much of it is run."""

    @property
    def study(self) -> str:
        """Name: that of a plan of one certain effort, with the word "active"."""
        certain = replace(self.protocol, trials=_NAMED_BY_TRIALS)
        content = {each.name: getattr(self, each.name) for each in fields(self)}
        name, _, digest = Plan(**content | {"protocol": certain}).study.rpartition("-")
        return f"{name}-active-{digest}"

    def with_effort(self, *, trials: int, repeats: int) -> "ActivePlan":
        """Return the same study with another effort.

        Args:
            trials: searched at each batch size.
            repeats: of the winner.
        """
        protocol = replace(
            self.protocol,
            trials=trials,
            repeats=1 if self.is_deterministic else repeats,
        )
        return replace(self, protocol=protocol)

    @property
    def is_deterministic(self) -> bool:
        """Whether a second seed would give the same run."""
        return self.protocol.shortlist == 1


def active_plan(plan: Plan) -> ActivePlan:
    """Return the active study of what a full sweep would do.

    Args:
        plan: of the full sweep; its target, space, zooms and seed are kept.

    Returns:
        The study, with the smallest effort: a full search, and its repeats.
    """
    full: Protocol = plan.protocol
    deterministic = full.repeats == 1 and full.shortlist == 1
    protocol = replace(
        full,
        shortlist=1 if deterministic else min(_SHORTLIST, full.shortlist),
        slowest_factor=_SLOWEST_FACTOR,
        race_least=_RACE_LEAST,
    )
    content = {each.name: getattr(plan, each.name) for each in fields(plan)}
    return ActivePlan(**content | {"protocol": protocol})


def most_effort(plan: Plan) -> Effort:
    """Return the effort that an active design does not exceed.

    Args:
        plan: of the full sweep.
    """
    full = plan.protocol
    repeats = full.repeats if full.shortlist == 1 else _MOST_REPEATS * full.repeats
    return Effort(trials=_MOST_TRIALS * full.trials, repeats=repeats)

"""What a study is: a workload and an optimizer, searched by one protocol at each batch size."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal, get_args

from models_of_scaling.errors import InputError
from models_of_scaling.targets import Target
from models_of_scaling.trials import trial_identity
from surrogate.budget import Budget
from surrogate.ingredients import Ingredients
from surrogate.ranking import Question
from surrogate.run_schedule import LENGTH, RunSchedule
from surrogate.search_space import SearchSpace

PROTOCOL_VERSION = 2  # raised when the same settings would plan other trials
_SEEDS_PER_SWEEP = 1_000

ShortlistBy = Literal["runs", "surface"]
Evaluations = Literal["all", "screened"]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a batch size is searched; equal for all batch sizes of a study.

    Attributes:
        trials: configurations searched, before any widening; at least 2.
        repeats: fresh seeds of the winner.
        shortlist: configurations that are compared on fresh seeds; 1 for none but the best.
        shortlist_seeds: fresh seeds of each.
        shortlist_by: what says which configurations those are: their own search run, or a smooth
            surface through all runs of the search (`surrogate.response_surface`).
        seed: of the whole sweep.
        slowest_factor: a search trial is stopped, as not reached, at this multiple of the fewest
            steps to target known at its batch size.
        zoom_widths: each zoom's share of each log range; they share half of the trials.
        border_margin: share of a log range within which an optimum counts as on the border.
        widening_width: share of the log range that a widening adds.
        max_widenings: at most so many a batch size.
        evaluations: whether runs that choose are evaluated fully at every step of the grid, or only
            now and then and where they could have met the target (`surrogate.training.screen`).
        race_least: where it is more than 0, a search stage is a race (`surrogate.race`) that stops
            all but so many; with a searched length or a fixed one there is none.
    """

    trials: int = 64
    repeats: int = 5
    shortlist: int = 4
    shortlist_seeds: int = 3
    shortlist_by: ShortlistBy = "runs"
    seed: int = 0
    slowest_factor: float = 3.0
    zoom_widths: tuple[float, ...] = (0.3,)
    border_margin: float = 0.05
    widening_width: float = 0.3
    max_widenings: int = 2
    race_least: int = 0
    evaluations: Evaluations = "all"

    def __post_init__(self) -> None:
        """Check each field.

        Raises:
            InputError: naming the flag that breaks its rule.
        """
        if not 2 <= self.trials <= 2**16:
            raise InputError(f"--trials {self.trials} must be in 2..65536")
        if not 1 <= self.repeats < _SEEDS_PER_SWEEP:
            raise InputError(f"--repeats {self.repeats} must be in 1..{_SEEDS_PER_SWEEP - 1}")
        if not 0 <= self.seed < 2**31:
            raise InputError(f"--seed {self.seed} must be in 0..{2**31 - 1}")
        if not 1 <= self.shortlist <= self.trials or self.shortlist_seeds < 1:
            raise InputError(f"shortlist {self.shortlist} must be in 1..{self.trials}")
        if self.shortlist_by not in get_args(ShortlistBy):
            ways = ", ".join(get_args(ShortlistBy))
            raise InputError(f"--shortlist-by {self.shortlist_by!r} is not one of {ways}")
        if self.evaluations not in get_args(Evaluations):
            ways = ", ".join(get_args(Evaluations))
            raise InputError(f"--evaluations {self.evaluations!r} is not one of {ways}")
        if not self.slowest_factor > 1:
            raise InputError(f"slowest_factor {self.slowest_factor} must exceed 1")

    @property
    def search_seed(self) -> int:
        """Seed of the start and data order of every search trial: they differ by tuning only."""
        return self.seed * _SEEDS_PER_SWEEP

    @property
    def planned_trials(self) -> int:
        """Trials of a batch size that needs no widening and reaches the target."""
        again = self.shortlist * self.shortlist_seeds if self.shortlist > 1 else 0
        return self.trials + again + self.repeats

    @property
    def widening_trials(self) -> int:
        """Trials that a widening adds: a quarter of the search, at least 2."""
        return max(2, self.trials // 4)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A study: one workload and optimizer under one protocol.

    Attributes:
        workload: its name.
        optimizer: its name.
        target: what stops a run.
        space: searched at every batch size.
        protocol: how.
        budget: of a run.
        schedule: of the learning rate.
        ingredients: of training.
    """

    workload: str
    optimizer: str
    target: Target
    space: SearchSpace
    protocol: Protocol
    budget: Budget
    schedule: RunSchedule = field(default_factory=RunSchedule)
    ingredients: Ingredients = field(default_factory=Ingredients)

    @property
    def questions(self) -> tuple[Question, ...]:
        """What the repeats answer; the search zooms in on the first."""
        return ("steps",) if self.budget.epochs is None else ("accuracy", "steps")

    def space_at(self, batch_size: int) -> SearchSpace:
        """Return the space at a batch size: with the schedule's length, where it is searched."""
        if self.budget.epochs is not None or not self.schedule.has_length:
            return self.space
        return self.space.searching(self.schedule.dimension(self.budget.steps(batch_size)))

    def hyper_parameters(self, point: Mapping[str, float], batch_size: int) -> dict[str, float]:
        """Return every number of a run: the update rule's and its schedule's.

        Args:
            point: of the space at this batch size.
            batch_size: examples per step.
        """
        length = int(point.get(LENGTH, self.budget.steps(batch_size)))
        return {**point, **self.schedule.numbers(length)}

    @property
    def settings(self) -> dict[str, str]:
        """Choices that are words or hold for all runs, for their records."""
        numbers = {**self.budget.chosen, **self.ingredients.chosen}
        chosen = {n: x if isinstance(x, str) else f"{x:g}" for n, x in numbers.items()}
        chosen.pop("num_train_examples", None)  # a column of its own
        return chosen | ({"schedule": self.schedule.name} if self.schedule.has_length else {})

    def races(self, stage: str) -> bool:
        """Return whether a stage is a race: its trials run together, and are kept together.

        Args:
            stage: its name.
        """
        is_search = stage not in {"shortlist", "repeat"}
        fixed = self.budget.epochs is not None or self.schedule.has_length
        return self.protocol.race_least > 0 and is_search and not fixed

    def screens(self, stage: str) -> bool:
        """Return whether a stage's runs are screened: never those that are the measurement.

        Args:
            stage: its name.
        """
        return self.protocol.evaluations == "screened" and stage != "repeat"

    @property
    def _named_protocol(self) -> dict[str, object]:
        content: dict[str, object] = asdict(self.protocol) | {"repeats": None}
        # So that studies of older releases keep their names.
        if not self.protocol.race_least:
            del content["race_least"]
        if self.protocol.shortlist_by == "runs":
            del content["shortlist_by"]
        if self.protocol.evaluations == "all":
            del content["evaluations"]
        return content

    @property
    def study(self) -> str:
        """Name: workload, optimizer and a short hash of everything that changes the trials.

        The number of repeats and the batch sizes are left out: more of them extend a study.
        """
        content = {
            "version": PROTOCOL_VERSION,
            "target": str(self.target),
            "space": asdict(self.space),
            "protocol": self._named_protocol,
            "budget": self.budget.chosen,
            "schedule": asdict(self.schedule),
            # Those of older releases are the defaults, and their studies keep their names.
            **({"ingredients": dict(self.ingredients.chosen)} if self.ingredients.chosen else {}),
        }
        text = json.dumps(content, sort_keys=True)
        return f"{self.workload}-{self.optimizer}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A run that the plan asks for.

    Attributes:
        phase: "search", "shortlist" or "repeat".
        hyper_parameters: every number of the update rule that the search sets.
        settings: the stage and the space that the point is from.
        seed: of start and data order.
    """

    phase: str
    hyper_parameters: Mapping[str, float]
    settings: Mapping[str, str] = field(default_factory=dict)
    seed: int

    def trial_id(self, plan: Plan, batch_size: int) -> str:
        """Return the name of the trial that this becomes."""
        return trial_identity(
            study=plan.study,
            phase=self.phase,
            workload=plan.workload,
            optimizer=plan.optimizer,
            hyper_parameters=self.hyper_parameters,
            settings=self.settings,
            batch_size=batch_size,
            seed=self.seed,
        )


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The runs that are missing now; they may run together.

    Attributes:
        name: `wide`, `zoom-1`, `widen-1` ..., `shortlist` or `repeat`.
        candidates: at least one.
        fewest_steps: to target, among the batch size's finished search trials; None where none
            reached it. Search trials are stopped at a multiple of it, repeats are not.
    """

    name: str
    candidates: tuple[Candidate, ...]
    fewest_steps: int | None

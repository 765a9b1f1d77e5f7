"""A global batch that grows during the run: phases of whole steps over one stream of examples.

Source: Smith, Kindermans, Ying & Le 2017, arXiv:1711.00489, section 3: the scale of SGD's noise is
about rate N / batch, so where a step schedule divides the rate by k, the batch may grow by k
instead. Growing batches by a table of one's own are those of Mikami et al. 2018, arXiv:1811.05233
("batch-size control").

With f_j the schedule's factor in its piece j, phase j has

    B_j = min(B_0 f_0 / f_j, largest batch),    rate_j = peak f_j B_j / B_0

so rate / batch is that of the decay in every phase, also where the batch is rounded to a whole
number or has met its bound; there the rate decays. Differs from the source: momentum is left alone
(its section 4.2 grows the batch for that, too).

Phases are counted in examples. A phase begins with the first step at or after its place in the
stream, so each example still comes once an epoch; a run has the examples of the constant batch, and
less than one step more where its last batch does not divide them. Standard library only.
"""

import bisect
import functools
from collections.abc import Sequence
from dataclasses import dataclass

from fullscale.durations import Duration
from fullscale.schedules import Piecewise
from models_of_scaling.errors import InputError


@dataclass(frozen=True, kw_only=True)
class BatchPhase:
    """Steps of one batch size.

    Attributes:
        first_step: from 0.
        first_example: examples that the run has done before it.
        batch_size: examples per optimizer step, over all devices.
    """

    first_step: int
    first_example: int
    batch_size: int


@dataclass(frozen=True)
class BatchPhases:
    """All phases of a run, in order; the last one has no end.

    Attributes:
        phases: the first begins at step 0.
    """

    phases: tuple[BatchPhase, ...]

    @classmethod
    def constant(cls, batch_size: int) -> "BatchPhases":
        """Return the only phase of a batch that does not grow.

        Args:
            batch_size: examples per optimizer step.
        """
        return cls((BatchPhase(first_step=0, first_example=0, batch_size=batch_size),))

    @functools.cached_property
    def _first_steps(self) -> list[int]:
        return [phase.first_step for phase in self.phases]

    def at(self, step: int) -> BatchPhase:
        """Return the phase of a step.

        Args:
            step: from 0.
        """
        return self.phases[bisect.bisect_right(self._first_steps, step) - 1]

    def examples(self, steps: int) -> int:
        """Return the examples that so many first steps process.

        Args:
            steps: of the run.
        """
        phase = self.at(steps)
        return phase.first_example + (steps - phase.first_step) * phase.batch_size

    def steps_to(self, examples: int) -> int:
        """Return the smallest number of steps that processes so many examples.

        Args:
            examples: of the run.

        >>> BatchPhases.constant(100).steps_to(1024)
        11
        """
        steps = 0
        for phase in self.phases:
            if phase.first_example < examples:
                steps = phase.first_step - (phase.first_example - examples) // phase.batch_size
        return steps

    def then(self, batch_size: int, *, examples: int) -> "BatchPhases":
        """Return these phases and one more, from the first step at or after a place in the stream.

        Args:
            batch_size: of the new phase.
            examples: its place, at or after the beginning of the last phase.
        """
        step = max(self.steps_to(examples), self.phases[-1].first_step)
        following = BatchPhase(
            first_step=step, first_example=self.examples(step), batch_size=batch_size
        )
        # Where a place is met by the same step as the one before, that phase has no step.
        kept = [phase for phase in self.phases if phase.first_step < step]
        return BatchPhases((*kept, following))

    def describe(self) -> str:
        """Return `0:256,120:1280`, the first step and the batch size of each phase."""
        return ",".join(f"{phase.first_step}:{phase.batch_size}" for phase in self.phases)


@dataclass(frozen=True, kw_only=True)
class BatchGrowth:
    """How a batch shall grow.

    Attributes:
        with_decay: grow where the schedule drops.
        boundaries: of the schedule, shares of the run.
        factors: of its pieces, one more.
        table: places and batch sizes by the user, increasing.
        by_noise: grow while the run goes on, by what is measured.
        largest: bound of the batch; None for the training set's size.
    """

    with_decay: bool = False
    boundaries: tuple[float, ...] = ()
    factors: tuple[float, ...] = ()
    table: tuple[tuple[Duration, int], ...] = ()
    by_noise: bool = False
    largest: int | None = None

    def __post_init__(self) -> None:
        """Check each field.

        Raises:
            InputError: naming the flag, the value and the rule.
        """
        if self.with_decay + bool(self.table) + self.by_noise > 1:
            raise InputError(
                "--data.grow_with_decay, --data.batch_phases and --data.grow_by_noise exclude each "
                "other"
            )
        if self.largest is not None and not self.grows:
            raise InputError(
                f"--data.max_global_batch_size {self.largest} is for a batch that grows: give "
                "--data.grow_with_decay, --data.batch_phases or --data.grow_by_noise"
            )
        if not self.with_decay:
            return
        if not self.boundaries:
            raise InputError(
                "--data.grow_with_decay needs a schedule that drops in steps: --model.schedule "
                "step, slow_start or piecewise"
            )
        if any(later > earlier or later <= 0 for earlier, later in _pairs(self.factors)):
            raise InputError(
                f"--data.grow_with_decay: the schedule's factors {list(self.factors)} must fall "
                "and stay above 0"
            )

    @property
    def grows(self) -> bool:
        """Whether there is more than one phase, or may be."""
        return self.with_decay or bool(self.table) or self.by_noise

    def bound(self, num_train_examples: int) -> int:
        """Return the largest batch that a step may have.

        Args:
            num_train_examples: size of the training set.
        """
        return num_train_examples if self.largest is None else self.largest

    def phases(
        self, *, batch_size: int, num_constant_steps: int, num_train_examples: int
    ) -> BatchPhases:
        """Return the run's phases.

        Args:
            batch_size: B_0, at the start.
            num_constant_steps: the run's length, were the batch constant.
            num_train_examples: size of the training set.

        Raises:
            InputError: where a batch of the table does not grow, is larger than its bound, or its
                place does not come later than the one before.
        """
        bound = self.bound(num_train_examples)
        if not self.grows:
            return BatchPhases.constant(batch_size)
        if not batch_size <= bound <= num_train_examples:
            raise InputError(
                f"--data.max_global_batch_size {bound} must be between the first batch "
                f"{batch_size} and the {num_train_examples} training examples"
            )
        found = BatchPhases.constant(batch_size)
        if self.with_decay:
            pieces = Piecewise(
                warmup_steps=0,
                num_train_steps=num_constant_steps,
                boundaries=self.boundaries,
                factors=self.factors,
            )
            for step, factor in zip(pieces.first_steps[1:], self.factors[1:], strict=True):
                size = min(round(batch_size * self.factors[0] / factor), bound)
                found = found.then(size, examples=step * batch_size)
            return found
        size_before, place_before = batch_size, 0
        for duration, size in self.table:
            # A length in steps is one of the first batch's steps, as the run's length is.
            unit = batch_size if duration.unit == "steps" else 1
            place = unit * duration.to_steps(batch_size=1, num_train_examples=num_train_examples)
            if not size_before < size <= bound or place <= place_before:
                raise InputError(
                    f"--data.batch_phases '{duration}: {size}' must come later than {place_before} "
                    f"examples, be larger than the batch before, {size_before}, and at most {bound}"
                )
            found = found.then(size, examples=place)
            size_before, place_before = size, place
        return found


def _pairs(values: Sequence[float]) -> list[tuple[float, float]]:
    return list(zip(values, values[1:], strict=False))


def parse_table(lines: Sequence[str]) -> tuple[tuple[Duration, int], ...]:
    """Read `["10 epochs: 1024", "20 epochs: 4096"]`.

    Args:
        lines: where a batch size begins, and which.

    Returns:
        Each line's two parts.

    Raises:
        InputError: where a line has another form.
    """
    found = []
    for line in lines:
        where, _, size = str(line).partition(":")
        if not size.strip().isdigit():
            raise InputError(f"--data.batch_phases {line!r} is not of the form '10 epochs: 1024'")
        found.append((Duration.parse(where, flag="--data.batch_phases"), int(size)))
    return tuple(found)

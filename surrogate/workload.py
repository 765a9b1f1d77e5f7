"""What a workload is: data, model, target, batch sizes, search spaces and budgets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from models_of_scaling.errors import InputError
from models_of_scaling.targets import Target
from surrogate.search_space import SearchSpace

if TYPE_CHECKING:
    from torch import nn

    from fullscale.data.image_arrays import ImageArrays
    from surrogate.noisy_quadratic import Spectrum

Engine = Literal["population", "noisy_quadratic"]


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A problem to sweep over batch sizes.

    Attributes:
        name: by which the command line calls it.
        dataset: name of the data set.
        model: name of the network, a key of `fullscale.models.NETWORKS`, or of the simulator; any
            name where `make_network` is given.
        engine: what trains it.
        target: the default target.
        batch_sizes: the default ones.
        quick_batch_sizes: those of a quick sweep.
        max_batch_size: the whole training set, or where the search spaces end.
        spaces: by optimizer name, the search space at every batch size.
        floor_steps: of a run's budget, see `Budget`.
        budget_examples: of a run's budget, see `Budget`.
        search_effort: multiplies the default number of trials.
        zoom_widths: see `protocol.Protocol`.
        deterministic: a second seed would give the same run, so there is one repeat.
        evaluated_on: what the evaluations of a run are made on. `test` is an official test split,
            on which nothing may be chosen: `check_target` refuses a target on it.
        max_validation_examples: evaluations take the first so many; None for all.
        load: returns the data; None for a simulator.
        load_test: returns the same data with the official test split in the place of validation,
            for one last report; None where there is none or `load` has it there already.
        check_data: reads the data and raises an `InputError` where they are missing or damaged, so
            that a sweep ends before it begins; None where they come with a library.
        make_network: makes a network from a seed, the same one from the same seed; None builds
            `model` by its name.
        spectrum: returns the simulator's modes; None for data.
    """

    name: str
    dataset: str
    model: str
    engine: Engine = "population"
    target: Target
    batch_sizes: tuple[int, ...]
    quick_batch_sizes: tuple[int, ...]
    max_batch_size: int
    spaces: Mapping[str, SearchSpace]
    floor_steps: int
    budget_examples: int
    zoom_widths: tuple[float, ...] = (0.3,)
    search_effort: int = 1
    deterministic: bool = False
    evaluated_on: Literal["validation", "test"] = "validation"
    max_validation_examples: int | None = None
    load: "Callable[[], ImageArrays] | None" = None
    load_test: "Callable[[], ImageArrays] | None" = None
    check_data: Callable[[], None] | None = None
    make_network: "Callable[[int], nn.Module] | None" = None
    spectrum: "Callable[[], Spectrum] | None" = None

    def space(self, optimizer: str) -> SearchSpace:
        """Return the search space of an optimizer; a user's own brings one.

        Raises:
            InputError: where there is none; those that have one are listed.
        """
        if optimizer not in self.spaces:
            if self.engine == "population" and "." in optimizer:
                from surrogate.user_optimizer import user_space  # imports the user's module

                return user_space(optimizer)
            known = ", ".join(self.spaces)
            own = ", or MODULE.RULE of your own" if self.engine == "population" else ""
            raise InputError(
                f"--optimizer {optimizer!r} has no search space on {self.name}; one of {known}{own}"
            )
        return self.spaces[optimizer]

    def check_batch_size(self, batch_size: int) -> None:
        """Check that a batch size can be swept.

        Raises:
            InputError: where it is not in 1 ... max_batch_size.
        """
        if not 1 <= batch_size <= self.max_batch_size:
            raise InputError(
                f"--batch-sizes: {batch_size} is not in 1..{self.max_batch_size} ({self.name})"
            )

    def check_target(self, target: Target) -> None:
        """Check that a target can be measured, and without choosing on test data.

        Raises:
            InputError: where it can't, or where it is a target on the official test split.
        """
        if self.engine == "noisy_quadratic" and target.metric == "validation_accuracy":
            raise InputError(f"--target {target}: {self.name} has no accuracy")
        if self.evaluated_on == "test" and target.metric != "train_loss":
            raise InputError(
                f"--target {target}: {self.name} trains on the whole training split and evaluates "
                "on the test split, where nothing may be tuned; keep validation images with "
                "--holdout N, or set a target on train_loss"
            )

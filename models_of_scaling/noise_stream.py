"""Streams of noise estimates: block and exponential averages over the last steps of a run.

Numerator and denominator are averaged apart and divided last (McCandlish et al. 2018, Appendix
A.1: a quotient of two noisy numbers is biased, their means are not). Memory does not grow with the
run: the last steps are kept as blocks, and a full block pushes the oldest one out.

Shapes: L layers (the last entry of a stream may be the sum of all), J blocks.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from models_of_scaling.errors import InputError
from models_of_scaling.heavy_tails import heavy_tails
from models_of_scaling.noise_scale import MIN_BLOCKS, NoiseScale, Problem, noise_scale_of_blocks
from models_of_scaling.quotient_of_means import Floats

Average = Literal["blocks", "exponential"]


@dataclass(frozen=True, kw_only=True)
class Window:
    """Which steps count, and how they are cut.

    Attributes:
        steps: the last so many.
        blocks: that they are cut into; groups of the jackknife.
        half_life_steps: of the exponential average; an eighth of the window where not given, so
            that what lies before the window would weigh 2^-8.
    """

    steps: int = 256
    blocks: int = 32
    half_life_steps: float | None = None

    def __post_init__(self) -> None:
        """Check each field.

        Raises:
            InputError: naming the number and the rule.
        """
        if self.blocks < MIN_BLOCKS:
            raise InputError(f"blocks {self.blocks} must be at least {MIN_BLOCKS}")
        if self.steps < self.blocks or self.steps % self.blocks:
            raise InputError(
                f"window_steps {self.steps} must be a multiple of blocks {self.blocks}"
            )
        if self.half_life_steps is not None and not 0 < self.half_life_steps <= self.steps / 4:
            raise InputError(
                f"half_life_steps {self.half_life_steps:g} must be positive and at most a quarter "
                f"of window_steps {self.steps}: what lies before the window is forgotten"
            )

    @property
    def block_steps(self) -> int:
        """Steps of a block."""
        return self.steps // self.blocks

    @property
    def half_life(self) -> float:
        """Steps after which a weight has halved."""
        return self.steps / 8 if self.half_life_steps is None else self.half_life_steps


class NoiseStream:
    """The last steps' estimates of tr(Sigma) and |G|^2, layer by layer."""

    def __init__(self, window: Window, *, layers: int) -> None:
        """Begin empty.

        Args:
            window: which steps count.
            layers: numbers a step.
        """
        self.window = window
        self.layers = layers
        self.steps_seen = 0
        # One (2, L) mean a block: trace, then squared norm.
        self._blocks: deque[Floats] = deque(maxlen=window.blocks)
        self._sum = np.zeros((2, layers))
        self._in_block = 0
        # Of the last layer only, for its tails.
        self._traces: deque[float] = deque(maxlen=window.steps)

    def add(self, trace: Floats, sq_norm: Floats) -> None:
        """Add one step.

        Args:
            trace: estimates of tr(Sigma), shape (L,), finite.
            sq_norm: of |G|^2.
        """
        self._sum += np.stack([trace, sq_norm])
        self._in_block += 1
        self.steps_seen += 1
        self._traces.append(float(trace[-1]))
        if self._in_block == self.window.block_steps:
            self._blocks.append(self._sum / self._in_block)
            self._sum, self._in_block = np.zeros((2, self.layers)), 0

    def noise_scale(
        self,
        layer: int = -1,
        *,
        average: Average = "blocks",
        level: float = 0.9,
        problems: Iterable[Problem] = (),
    ) -> NoiseScale:
        """Return a layer's noise scale over whole blocks; the last layer's with its tails judged.

        Args:
            layer: its place.
            average: over equal blocks, or with weights that halve every half-life.
            level: of the interval.
            problems: that are known already.

        Returns:
            The estimate.
        """
        count = len(self._blocks)
        means = np.array(self._blocks).reshape(count, 2, self.layers)[:, :, layer]
        age_J = np.arange(count)[::-1] * self.window.block_steps
        decay_J = 2.0 ** (-age_J / self.window.half_life)
        found = list(problems)
        whole = layer in {-1, self.layers - 1}
        tails = heavy_tails(np.array(self._traces)) if whole else None
        return noise_scale_of_blocks(
            means[:, 0],
            means[:, 1],
            weights_J=np.ones(count) if average == "blocks" else decay_J,
            steps=count * self.window.block_steps,
            level=level,
            problems=[*found, tails] if tails else found,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return everything, as plain lists."""
        return {
            "blocks": [block.tolist() for block in self._blocks],
            "sum": self._sum.tolist(),
            "in_block": self._in_block,
            "block_steps": self.window.block_steps,
            "steps_seen": self.steps_seen,
            "traces": list(self._traces),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Args:
            state: of a stream with the same window and layers.

        Raises:
            InputError: where it has other layers, or blocks of another length.
        """
        total = np.array(state["sum"])
        if total.shape != (2, self.layers):
            raise InputError(
                f"a noise-scale state of {total.shape[-1]} tensors does not fit {self.layers}"
            )
        length = int(state.get("block_steps", self.window.block_steps))
        if length != self.window.block_steps:
            raise InputError(
                f"a noise-scale state in blocks of {length} steps does not fit blocks of "
                f"{self.window.block_steps}: go on with the window_steps and blocks of before"
            )
        self._blocks = deque((np.array(b) for b in state["blocks"]), maxlen=self.window.blocks)
        self._sum, self._in_block = total, int(state["in_block"])
        self.steps_seen = int(state["steps_seen"])
        self._traces = deque(state["traces"], maxlen=self.window.steps)

"""Steps that are evenly spaced in their logarithm: where slow quantities are measured.

Standard library only.
"""

import math

from models_of_scaling.errors import InputError


class LogSpacedSteps:
    """Whole steps nearest to 2^(k / points per octave), each once, without end."""

    def __init__(self, points_per_octave: int) -> None:
        """Set the density.

        Args:
            points_per_octave: between a step and its double, where that many whole steps are.

        Raises:
            InputError: below 1.
        """
        if points_per_octave < 1:
            raise InputError(f"points_per_octave {points_per_octave} must be at least 1")
        self._points_per_octave = points_per_octave

    def after(self, steps: int) -> int:
        """Return the first point beyond some steps.

        Args:
            steps: done; 0 before training.

        >>> points, step = LogSpacedSteps(2), 0
        >>> [step := points.after(step) for _ in range(8)]
        [1, 2, 3, 4, 6, 8, 11, 16]
        """
        place = math.floor(self._points_per_octave * math.log2(steps)) if steps else 0
        while (point := round(2 ** (place / self._points_per_octave))) <= steps:
            place += 1
        return point

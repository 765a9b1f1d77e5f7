"""What each step of a recipe gains: the rungs from the baseline up, each step with its interval.

The function takes an axes and finished numbers, draws, and returns nothing; `ablation_picture`
makes the file's bytes.
"""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models_of_scaling.ablation import Effect, Scale
from models_of_scaling.plots.steps_to_target import BLUE, GREY, VERMILION
from models_of_scaling.plots.targets import picture_of

Step = tuple[str, float, Effect | None]


def draw_ablation(ax: Axes, steps: Sequence[Step], *, scale: Scale) -> None:
    """Draw the rungs from top to bottom.

    Each bar goes from the rung before to this one; its whisker is the interval of the step, laid
    where the bar ends. A step whose interval leaves out no gain is filled, another hollow.

    Args:
        ax: to draw on.
        steps: label, mean (accuracy in points, or steps) and gain over the rung before; the
            baseline has none.
        scale: of the means.
    """
    is_steps = scale == "steps"
    before = steps[0][1]
    for place, (_, mean, gain) in enumerate(steps):
        if gain is None:
            ax.plot([mean], [place], marker="o", color=GREY)
        elif math.isfinite(gain.gain) and math.isfinite(before):
            color = BLUE if gain.gain >= (1.0 if is_steps else 0.0) else VERMILION
            filled = color if gain.is_told(scale) else "none"
            ax.barh(place, mean - before, left=before, height=0.55, color=filled, edgecolor=color)
            ends = (gain.low, gain.high)
            low, high = [before / x for x in ends] if is_steps else [before + x for x in ends]
            if math.isfinite(low) and math.isfinite(high):
                ax.plot([low, high], [place, place], color="black", linewidth=1.2)
        else:
            ax.text(0.02, place, "not every run got there", transform=ax.get_yaxis_transform())
        before = mean
    ax.set_yticks(range(len(steps)), [label for label, _, _ in steps])
    ax.invert_yaxis()
    if is_steps:
        ax.set_xscale("log")
    ax.set_xlabel("steps to target" if is_steps else "accuracy, %")
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def ablation_picture(steps: Sequence[Step], *, scale: Scale, picture_format: str) -> bytes:
    """Return the picture's file.

    Args:
        steps: of `draw_ablation`.
        scale: of `draw_ablation`.
        picture_format: "svg", "pdf" or "png".
    """
    figure = Figure(figsize=(7.0, 0.8 + 0.42 * len(steps)), layout="constrained")
    draw_ablation(figure.add_subplot(), steps, scale=scale)
    return picture_of(figure, picture_format)

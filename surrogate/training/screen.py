"""Tells from few images that a run is far from its target, so that it need not be evaluated fully.

A poll: the target's metric on 256 images of the set that it is measured on, drawn once and the
same for every run. Where it is more than five standard errors short of the target, nothing is
recorded at that step; else the full evaluation decides, as always. So the first step at which the
full evaluation meets the target is found later than it is only if the poll is wrong by more than
five standard errors at that very step: with a chance of 3e-7 were means of 256 normal. They are
skewed, losses and wrong answers to large values, and a poll that misses those is too low: on the
side that costs a full evaluation (docs/search_protocol.md says what was measured).

The images themselves are polled, not their change since the last full evaluation: that is often
known better, but not wrong to the safe side. A loss that falls from a spike made by few images,
none of them polled, would seem not to have fallen.
"""

import math

import numpy as np
import torch
from torch import Tensor

from models_of_scaling.targets import Target
from surrogate.training.evaluation import losses_and_right
from surrogate.training.stacked_network import Stacked
from surrogate.training.task import Task

_IMAGES = 256
_STANDARD_ERRORS = 5.0


class Screen:
    """The polled images of a task, and the target they are asked about."""

    def __init__(self, task: Task, target: Target) -> None:
        """Draw the images.

        Args:
            task: of the members.
            target: on any metric of an evaluation.
        """
        self._task, self._target = task, target
        if target.metric == "train_loss":
            images, labels = task.train_loss_set
        else:
            images, labels = (each[: task.max_validation_examples] for each in task.validation_set)
        # At random, as a set may be in the order of its classes; one draw, as its error is checked
        # against the target and not between runs.
        count = min(_IMAGES, len(labels))
        drawn = np.random.default_rng(0).choice(len(labels), count, replace=False)
        chosen = torch.from_numpy(np.sort(drawn)).to(labels.device)
        self._images, self._labels = images[chosen], labels[chosen]

    def is_far(self, parameters: Stacked, buffers: Stacked, *, most_loss: float) -> bool:
        """Return whether a member is too far from the target to meet it on the whole set.

        Args:
            parameters: of the member, unstacked.
            buffers: likewise.
            most_loss: a mean loss above it, or one that is no number, is not said to be far: the
                full evaluation says whether that is divergence.
        """
        polled = losses_and_right(self._task, parameters, buffers, self._images, self._labels)
        losses, right = (_in_float64(each) for each in polled)
        if not np.isfinite(losses).all() or losses.mean() > most_loss:
            return False
        target = self._target.value
        if self._target.metric == "validation_accuracy":
            # The spread that there would be at the target: that of a few polled can be none.
            short, spread = target - right.mean(), math.sqrt(target * (1 - target))
        else:
            short, spread = losses.mean() - target, losses.std()
        return bool(short > _STANDARD_ERRORS * spread / math.sqrt(len(losses)))


def _in_float64(values: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.asarray(values.double().cpu().numpy(), dtype=np.float64)

"""Mixup: each training example is blended with a second one, image and label.

Source: Zhang et al. 2017, arXiv:1710.09412, section 2 and figure 1,

    x = l x_i + (1 - l) x_j,    y = l y_i + (1 - l) y_j,    l ~ Beta(a, a)

with i and j from two independent streams over the training set. Here the second stream has its own
permutations, so example, partner, share and the partner's own crop are functions of (seed, position
in the run's stream) alone: the same on any number of processes, forwards and workers, and after a
resumption. Differs from the source: l is drawn for each example, not for each mini-batch; what a
mini-batch is would follow from the devices.

An example costs two pictures. Mixed uint8 pictures are float32 on their 0 ... 255 scale, so that
nothing is rounded: four times the bytes on the way to the device.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fullscale.data.image_source import ImageSource
from fullscale.data.order import stream_indices
from models_of_scaling.errors import InputError

# Third words of the seeds. 1 is the augmentation's, and 0 would be taken for absent.
_PARTNER_STREAM, _SHARE_STREAM = 2, 3
# Added to a partner's position, so that its crop is not its example's: no run is so long.
_PARTNER_POSITIONS = 1 << 48


def check_mixup(alpha: float) -> None:
    """Refuse what is no parameter of a beta distribution; 0 is no mixup.

    Args:
        alpha: a.

    Raises:
        InputError: naming the flag, the value and the rule.
    """
    if not 0 <= alpha < math.inf:
        raise InputError(f"--data.mixup_alpha {alpha} must be finite and not negative")


def mixing_shares(*, seed: int, start: int, stop: int, alpha: float) -> NDArray[np.float64]:
    """Return l, the share of the first example, at stream positions start ... stop - 1.

    Args:
        seed: of the run's data.
        start: first position.
        stop: one past the last.
        alpha: a, positive.

    Returns:
        Shares in [0, 1], shape (stop - start,).
    """
    from scipy.special import betaincinv

    key = np.random.SeedSequence([seed, 0, _SHARE_STREAM]).generate_state(2, np.uint64)
    # A counter-based generator: four numbers for each count, so any position is a jump away.
    skipped = start % 4
    numbers = np.random.Philox(key=key, counter=start // 4).random_raw(stop - start + skipped)
    # The usual 53 bits, half a step above the grid: never 0 or 1.
    uniform = ((numbers[skipped:] >> np.uint64(11)) + 0.5) * 2.0**-53
    return np.asarray(betaincinv(alpha, alpha, uniform), dtype=np.float64)


def mixed_batch(
    source: ImageSource, indices: NDArray[np.int64], positions: range, *, seed: int, alpha: float
) -> tuple[Tensor, Tensor]:
    """Return training examples, blended.

    Args:
        source: the data set.
        indices: of the first examples, shape (B,).
        positions: of each in the run's stream.
        seed: of the run's data.
        alpha: a, positive.

    Returns:
        Images, float32, shape (B, channels, height, width); shares of the classes, float32, shape
        (B, classes).
    """
    images, labels = source.train_batch(indices, positions)
    others = stream_indices(
        seed=seed,
        num_examples=source.num_train_examples,
        start=positions.start,
        stop=positions.stop,
        words=(_PARTNER_STREAM,),
    )
    shown = range(positions.start + _PARTNER_POSITIONS, positions.stop + _PARTNER_POSITIONS)
    partners, other_labels = source.train_batch(others, shown)
    shares = torch.from_numpy(
        mixing_shares(seed=seed, start=positions.start, stop=positions.stop, alpha=alpha)
    ).to(torch.float32)
    of_image = shares.view(-1, 1, 1, 1)
    targets = torch.zeros(len(labels), source.num_classes)
    rows = torch.arange(len(labels))
    targets[rows, labels] += shares
    targets[rows, other_labels] += 1 - shares
    return images * of_image + partners * (1 - of_image), targets

"""What is held likely before any row speaks, and where each number comes from.

The sources are theory, the simulator and MLPerf's reference convergence points of 17 workloads
(`published/`), ResNet-50's many series counting as one. Candidates on a grid were compared by
the interval score of predictions 2x, 4x and 8x beyond the fitted rows, each workload weighing the
same. The published workloads alone would take the narrowest knee and sharpness of the grid (scores
of 0.74 against 0.82), whichever of them is left out of the choice; the simulator, whose knees are
harder and further away, is what these wider ones are for. docs/published_data.md has the figures.
"""

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from models_of_scaling.quantities import Floats

PriorName = Literal["knee", "exponent", "second_exponent", "sharpness", "turning_batch_size"]


@dataclass(frozen=True, kw_only=True)
class NormalPrior:
    """A normal prior on a log.

    Attributes:
        mean: its centre.
        sd: its standard deviation; its scale where `degrees` is finite.
        degrees: of freedom of Student's t in its place, in the draws; inf for a normal.
    """

    mean: float
    sd: float
    degrees: float = math.inf


PRIORS: Final[dict[PriorName, NormalPrior]] = {
    # Log of the falling part over the floor at the largest batch size that reached the target. The
    # centre is a corner 1.8 times beyond it; 90 % is from 9 times below to 31 times above, with
    # heavy tails because nothing in theory says where someone stopped: the noisy quadratic model's
    # ladder begins a thousand times below its knee. A normal of sd 1.4 had 15 % less width at 8x on
    # the published workloads, and held 57 % there. It weighs sigma^2 / 1.4 of the rows'
    # information, nothing for noise-free data. Without it rows that still scale perfectly send
    # S_min to 0: scaling for ever.
    "knee": NormalPrior(mean=0.6, sd=1.2, degrees=3.0),
    # Theory: one constant noise scale gives alpha = 1 (McCandlish et al. 2018). 90 %: 0.72 .. 1.4.
    "exponent": NormalPrior(mean=0.0, sd=0.2),
    # Theory: q = 1 for plain SGD where one noise scale holds. The noisy quadratic model with the
    # learning rate and momentum tuned at every batch size (36 studies: curvatures i^-0.5, i^-1,
    # i^-1.5; noise proportional to curvature to the 0, 1, 2) gives 0.7 to 3.5 in 34 of them,
    # median 1.5, and this prior 0.66 .. 3.4 in 90 %. The 17 workloads alone would be content with
    # a narrower one about 1.2 (interval score 0.76 in place of 0.79, 17 % less width at 8x), which
    # holds what lies behind a hard knee (q = 2 just beyond the data) in 57 % instead of 88 %. Heavy
    # tails (Student's t) were tried and not kept (docs/published_data.md).
    "sharpness": NormalPrior(mean=0.4, sd=0.5),
    # No source: the share of the slope that is left beyond the knee, 90 % within 0.027 .. 0.37.
    "second_exponent": NormalPrior(mean=-2.3, sd=0.8),
    # Log of the turning batch size over the largest that reached the target: 90 % within 2.5 and
    # 350 times it, so that it adds 3 % to the largest one's steps at the centre. No source either:
    # published runs stop before steps rise.
    "turning_batch_size": NormalPrior(mean=3.4, sd=1.5),
}

# Log of B_crit, in examples, of the six image tasks of McCandlish et al. 2018, table 1, early in
# training and on average over it (published/mccandlish2018_table1.csv; a test computes both). It
# speaks only against smaller ones: where rows up to 8 examples scale perfectly, the knee's prior
# expects a corner at 14, and few tasks of that table have theirs there. Against larger ones it says
# nothing, as a batch size may count tokens, frames or ratings.
CRITICAL_BATCH_SIZE: Final = NormalPrior(mean=5.1, sd=2.2)

# The upper end of the exponent's 90 %: no law is believed to have steps rise faster as the batch
# shrinks, so what was done beyond that at a batch size is not a point of its curve.
STEEPEST_EXPONENT: Final = math.exp(1.645 * PRIORS["exponent"].sd)

# How far one batch size's estimate typically lies from the law, in logs, seeds, tuning and the
# law's own misfit together: on the 17 workloads the median is 3.4 %, from 2 % to 37 %. It counts as
# three degrees of freedom: 3 batch sizes on a curve by luck do not claim no noise, and with as few
# a noise ten times as large is not believed either. With one degree, 90 % intervals of the
# development series were 1 to 5 % wider and scored 2 % worse (docs/published_data.md). The price:
# rows without repeats whose noise is twice this size hold S_min in 82 % (87 % with one degree).
# That is the size and no missing degree of freedom, which the draws' mixture over noise sizes has:
# of 500 such studies S_min, B_crit and the curve were held in 0.84, 0.85 and 0.84; with noise of
# 3 % in 0.91 each; with one degree in 0.86, 0.88 and 0.86; with a size of 4.4 % in 0.89, 0.87 and
# 0.89. A larger size for rows without repeats was not taken: no back-test has asked for it yet.
TYPICAL_NOISE: Final = 0.03
NOISE_DEGREES: Final = 3.0

# By how much a law may be wrong for each octave beyond the largest fitted batch size, in logs, as a
# standard deviation added to the noise. Where rows are as good as free of noise (the noisy
# quadratic model's ladder, paper/results) nothing else would widen a prediction with distance.
# With 4 % the rungs of that ladder that it was chosen on held 0.82, 0.76 and 0.76.
MISFIT_PER_OCTAVE: Final = 0.08

# What the draws claim beyond the rows is wider than what comes true where few batch sizes are
# known (the priors then say most), and narrower where many are: draws close in on a law as the
# root of their number, and how wrong the law is does not. Logs of predictions are stretched about
# their centre by sqrt(known / EVEN_BATCH_SIZES). The constant is conformal: the 90 % quantile of
# |miss| over half an interval was 0.62, 0.66, 1.14, 0.87 and 1.31 for about 3, 4, 5, 7 and 12 known
# batch sizes, 265 predictions of the development series of docs/published_data.md, each source
# weighing the same. Outside 3 .. 12 there were none to look at.
EVEN_BATCH_SIZES: Final = 7.0
CHECKED_BATCH_SIZES: Final = (3.0, 12.0)


def log_prior_of_critical_batch_size(log_critical: Floats) -> Floats:
    """Return the log density of `CRITICAL_BATCH_SIZE`, 0 from its centre on; of their shape.

    Args:
        log_critical: log of B_crit in examples.
    """
    prior = CRITICAL_BATCH_SIZE
    return np.asarray(-0.5 * np.minimum((log_critical - prior.mean) / prior.sd, 0.0) ** 2)

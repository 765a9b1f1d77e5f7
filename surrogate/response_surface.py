"""A smooth surface through all runs of a search: what a configuration takes, less a run's luck.

Near the optimum a search has tens of configurations that differ by a few per cent, and a run's luck
is 10 to 20 %: the fewest steps are a lucky run's. Neighbours tell what a configuration takes on
average.

Shapes: N runs, P searched numbers.
"""

import warnings
from functools import lru_cache
from typing import Final

import numpy as np

from models_of_scaling.quantities import Floats

# Of a Gaussian process over the places of the space (0 to 1 in each log range): a correlation
# length for each searched number, and the variance of a run's luck over that of the surface; from
# where, and between what, the marginal likelihood is maximised.
_LENGTH, _LENGTHS = 0.3, (0.05, 3.0)
_NOISE, _NOISES = 0.05, (1e-3, 1.0)
_SCALES: Final = (0.05, 20.0)
# Below it the mean of a few runs is all that a surface would say.
_FEWEST_RUNS: Final = 8
# A surface through thousands of runs takes minutes, and those far from the best tell nothing of it.
MOST_RUNS: Final = 500
# A tie between two configurations must not be settled by where a maximiser stops.
_DIGITS: Final = 3


def smoothed(place_NP: Floats, response_N: Floats) -> Floats:  # noqa: N803 - see above
    """Return the surface at each run's own place.

    A Gaussian process with Matern's kernel of 5/2 (Rasmussen & Williams 2006, chapters 4 and 5), by
    scikit-learn.

    Args:
        place_NP: of at most 500 runs, N, in the P searched numbers.
        response_N: of each, such as log steps.

    Returns:
        Shape (N,), rounded to three digits; the responses themselves where there are fewer than 8,
        or all are the same.
    """
    if len(response_N) < _FEWEST_RUNS or np.ptp(response_N) == 0:
        return np.asarray(response_N, dtype=float)
    return np.array(_surface(tuple(map(tuple, place_NP.tolist())), tuple(response_N.tolist())))


# A sweep asks for its next stage several times between one trial and the next.
@lru_cache(maxsize=64)
def _surface(
    places: tuple[tuple[float, ...], ...], responses: tuple[float, ...]
) -> tuple[float, ...]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    at = np.array(places)
    kernel = ConstantKernel(1.0, _SCALES) * Matern(
        [_LENGTH] * at.shape[1], _LENGTHS, nu=2.5
    ) + WhiteKernel(_NOISE, _NOISES)
    with warnings.catch_warnings():  # a number that tells nothing has its length at the bound
        warnings.simplefilter("ignore", ConvergenceWarning)
        fit = GaussianProcessRegressor(kernel, normalize_y=True).fit(at, responses)
    return tuple(np.round(fit.predict(at), _DIGITS).tolist())

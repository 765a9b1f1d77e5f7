"""A Gaussian process over a ladder's covariates by scikit-learn, beside the meta-regression.

For log B_crit and log S_min each, with inputs x = (centred log covariates, workload as one-hot),

    k(x, x') = constant + linear + amplitude^2 exp(-d^2 / 2) + rung^2 [same rung],

each rung's measurement variance known (`alpha`). The linear part is a regression whose coefficients
are integrated over (Rasmussen & Williams 2006, section 2.7), its one-hot part a random intercept
per workload; without it (mean "constant") all is left to the bump. d is in units of `lengths`
times each covariate's range.

The hyper-parameters are averaged over a grid, by marginal likelihood, not set to its maximum: with
ten rungs the maximum is often a process without noise, or without a bump.

Shapes: J = rungs, H = grid points.
"""

import itertools
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from models_of_scaling.quantities import Floats
from models_of_scaling.transfer.ladder import Ladder
from models_of_scaling.transfer.meta_regression import Gaussians

Mean = Literal["linear", "constant"]

_AMPLITUDES: Final = (0.05, 0.2, 0.5, 1.0)
_LENGTHS: Final = (0.5, 1.0, 2.0)
_RUNG_SDS: Final = (0.03, 0.1, 0.3)
_WORKLOAD_SDS: Final = (0.2, 0.7)
_INTERCEPT_SD: Final = 3.0
# Scikit-learn multiplies by an inverse, which needs some noise: a thousandth is none.
_LEAST_VARIANCE: Final = 1e-6
_PAIRS: Final = 2048


def predict_by_process(
    ladder: Ladder,
    log_covariates: npt.ArrayLike,
    workload: str | None = None,
    *,
    mean: Mean = "linear",
    rng: np.random.Generator,
) -> Gaussians:
    """Return the distribution of (log B_crit, log S_min) of a rung that is not in the ladder.

    Args:
        ladder: the rungs.
        log_covariates: as many as the ladder has.
        workload: a family of the ladder; None or another word for a new one.
        mean: with the regression inside, or a constant only.
        rng: pairs the two values' grid points, which are independent.

    Returns:
        A mixture of independent normal distributions.
    """
    point = np.asarray(log_covariates, dtype=float)
    centres, spreads = [], []
    for response in range(2):
        means, variances, weights = _average(ladder, point, workload, response, mean)
        chosen = rng.choice(len(weights), size=_PAIRS, p=weights)
        centres.append(means[chosen])
        spreads.append(variances[chosen])
    covariance = np.zeros((_PAIRS, 2, 2))
    covariance[:, 0, 0], covariance[:, 1, 1] = spreads
    return Gaussians(
        means=np.stack(centres, axis=1),
        covariances=covariance,
        weights=np.full(_PAIRS, 1 / _PAIRS),
    )


def _average(
    ladder: Ladder, point: Floats, workload: str | None, response: int, mean: Mean
) -> tuple[Floats, Floats, Floats]:
    """Return mean, variance and weight of each grid point, (H,) each."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import (
        RBF,
        ConstantKernel,
        DotProduct,
        WhiteKernel,
    )

    values = ladder.log_values[:, response]
    variances = np.maximum(ladder.covariances[:, response, response], _LEAST_VARIANCE)
    level = float(np.average(values, weights=1 / (variances + 0.1)))
    ranges = np.maximum(np.ptp(ladder.log_covariates, axis=0), 1e-9)
    grid = itertools.product(_AMPLITUDES, _LENGTHS, _RUNG_SDS, _WORKLOAD_SDS)
    found = []
    for amplitude, length, rung_sd, workload_sd in grid:
        inputs, new = _inputs(ladder, point, workload, workload_sd)
        words = inputs.shape[1] - len(ranges)
        # The bump is half forgotten from one workload to another.
        lengths = np.concatenate([length * ranges, np.full(words, 1.2 * workload_sd)])
        kernel = ConstantKernel(amplitude**2) * RBF(lengths) + WhiteKernel(rung_sd**2)
        kernel += (
            DotProduct(sigma_0=_INTERCEPT_SD)
            if mean == "linear"
            else ConstantKernel(_INTERCEPT_SD**2)
        )
        process = GaussianProcessRegressor(kernel, alpha=variances, optimizer=None)
        process.fit(inputs, values - level)
        centre, spread = process.predict(new, return_std=True)
        found.append((
            float(centre[0]) + level,
            float(spread[0]) ** 2,
            float(process.log_marginal_likelihood_value_),
        ))
    means, variances, log_weights = np.array(found).T
    weights = np.exp(log_weights - log_weights.max())
    return means, variances, weights / weights.sum()


def _inputs(
    ladder: Ladder, point: Floats, workload: str | None, workload_sd: float
) -> tuple[Floats, Floats]:
    """Return the inputs of the rungs and of the new one; a new family has a column of its own."""
    families = sorted(set(ladder.workload))
    place = {word: number for number, word in enumerate(families)}
    centre = ladder.log_covariates.mean(axis=0)
    one_hot = np.eye(len(families) + 1)
    inputs = np.hstack([
        ladder.log_covariates - centre,
        workload_sd * one_hot[[place[word] for word in ladder.workload]],
    ])
    new = one_hot[place.get(workload or "", len(families))]
    return inputs, np.concatenate([point - centre, workload_sd * new])[None]

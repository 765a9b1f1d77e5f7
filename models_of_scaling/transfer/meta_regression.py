"""Random-effects meta-regression of a ladder: log B_crit and log S_min on log covariates.

    y_j = X_j beta + u_w(j) + r_j + e_j,    y_j = (log B_crit, log S_min) of rung j,
    e_j ~ N(0, V_j)    V_j known: what the rung's own fit leaves open,
    u_w ~ N(0, T_w)    one random intercept per workload,
    r_j ~ N(0, T_r)    what the covariates leave unexplained from rung to rung,

with one correlation between B_crit and S_min in T_w and T_r.

Why not statsmodels' MixedLM: it estimates one residual variance for all rows and takes no known
ones, so that a rung whose knee was never reached would count as much as one that was measured to
2 %. This is the multivariate random-effects model of meta-analysis (Jackson, Riley & White 2011,
Stat. Med. 30:2481); where all V_j are 0 its restricted likelihood is MixedLM's (a test holds that).

With a handful of rungs the restricted-likelihood estimate of a variance is often 0, and then the
interval is far too narrow. So the variances are integrated over (`random_effects`), weighted by the
restricted likelihood. Given them, beta and the new rung are normal in closed form: generalised
least squares and its best linear unbiased prediction.

Shapes: J = rungs, H = draws of the variances, P = 2 (1 + number of covariates) coefficients,
B_crit's and S_min's in turn, intercepts first.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from models_of_scaling.quantities import Floats
from models_of_scaling.transfer.ladder import Ladder
from models_of_scaling.transfer.random_effects import (
    Prior,
    RandomEffects,
    draw_from_prior,
    draw_nearer,
)

_DRAWS: Final = 1024  # from the prior, and as many again where the weight is
_CHUNK_NUMBERS: Final = 4_000_000  # of a chunk's largest array: 32 MiB


@dataclass(frozen=True, kw_only=True, eq=False)
class Gaussians:
    """A mixture of normal distributions of (log B_crit, log S_min).

    Attributes:
        means: of each component, (H, 2).
        covariances: of each component, (H, 2, 2).
        weights: (H,), summing to 1.
    """

    means: Floats
    covariances: Floats
    weights: Floats

    def choose(self, count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Return which component each of `count` draws is from, evenly by weight."""
        even = (np.arange(count) + rng.uniform()) / count * self.weights.sum()
        chosen = np.searchsorted(np.cumsum(self.weights), even)
        return rng.permutation(np.minimum(chosen, len(self.weights) - 1))

    def draw(self, count: int, rng: np.random.Generator) -> Floats:
        """Return draws of (log B_crit, log S_min), (count, 2)."""
        chosen = self.choose(count, rng)
        values, vectors = np.linalg.eigh(self.covariances)
        roots = vectors * np.sqrt(np.maximum(values, 0))[:, None, :]
        deviates = rng.standard_normal((count, 2))
        return np.asarray(self.means[chosen] + np.einsum("nij,nj->ni", roots[chosen], deviates))


@dataclass(frozen=True, kw_only=True, eq=False)
class MetaRegression:
    """A ladder regressed, given each size of the random effects.

    Attributes:
        ladder: the rungs.
        effects: sizes of the random effects, H of them.
        slope_sd: of the prior of the covariates' coefficients, about 0; inf for none.
        log_likelihood: restricted (the coefficients integrated over), up to a constant, (H,).
        coefficients: their means, (H, P).
        coefficient_covariance: (H, P, P).
    """

    ladder: Ladder
    effects: RandomEffects
    slope_sd: float
    log_likelihood: Floats = field(init=False)
    coefficients: Floats = field(init=False)
    coefficient_covariance: Floats = field(init=False)

    def __post_init__(self) -> None:
        """Solve the normal equations of each draw."""
        parts = [self._solve(chunk) for chunk in self._chunks()]
        names = ("log_likelihood", "coefficients", "coefficient_covariance")
        for number, name in enumerate(names):
            object.__setattr__(self, name, np.concatenate([part[number] for part in parts]))

    @property
    def weights(self) -> Floats:
        """Posterior weights of the draws, (H,)."""
        logs = self.log_likelihood + self.effects.log_importance
        weights = np.exp(logs - logs.max())
        return np.asarray(weights / weights.sum())

    @property
    def effective(self) -> float:
        """How many independent draws the weighted ones are worth."""
        return float(1 / (self.weights**2).sum())

    def predict(self, log_covariates: npt.ArrayLike, workload: str | None = None) -> Gaussians:
        """Return the distribution of (log B_crit, log S_min) of a rung that is not in the ladder.

        Args:
            log_covariates: as many as the ladder has.
            workload: a family of the ladder; None or another word for a new one.

        Returns:
            One normal distribution per draw; the new rung's own random effect is part of it.
        """
        place = np.asarray(log_covariates, dtype=float) - self._centre()
        design = np.kron(np.concatenate([[1.0], place]), np.eye(2))
        shares = np.array([word == workload for word in self.ladder.workload], dtype=float)
        parts = [self._predict(chunk, design, shares) for chunk in self._chunks()]
        return Gaussians(
            means=np.concatenate([mean for mean, _ in parts]),
            covariances=np.concatenate([covariance for _, covariance in parts]),
            weights=self.weights,
        )

    def _centre(self) -> Floats:
        return np.asarray(self.ladder.log_covariates.mean(axis=0))

    def _design(self) -> Floats:
        centred = self.ladder.log_covariates - self._centre()
        columns = np.column_stack([np.ones(len(self.ladder)), centred])
        return np.asarray(np.kron(columns, np.eye(2)), dtype=np.float64)

    def _prior_precision(self) -> Floats:
        precision = np.full(1 + len(self.ladder.covariates), self.slope_sd**-2.0)
        precision[0] = 0.0  # nothing is assumed about the level
        return np.repeat(precision, 2)

    def _chunks(self) -> list[slice]:
        size = max(1, _CHUNK_NUMBERS // (2 * len(self.ladder)) ** 2)
        count = len(self.effects.correlation)
        return [slice(start, start + size) for start in range(0, count, size)]

    def _covariance(self, chunk: slice) -> Floats:
        """Return the covariance of all rungs' values about the regression, (h, 2 J, 2 J)."""
        of_workload, of_rung = (each[chunk] for each in self.effects.covariances())
        words = np.array(self.ladder.workload)
        same = (words[:, None] == words).astype(float)
        count, rungs = len(words), np.arange(len(words))
        known = np.zeros((count, 2, count, 2))
        known[rungs, :, rungs, :] = self.ladder.covariances
        total = np.einsum("jk,hab->hjakb", same, of_workload)
        total += np.einsum("jk,hab->hjakb", np.eye(count), of_rung) + known
        return np.asarray(total.reshape(len(total), 2 * count, 2 * count))

    def _solve(self, chunk: slice) -> tuple[Floats, Floats, Floats]:
        """Return the restricted log likelihood, the coefficients and their covariance."""
        design, values = self._design(), self.ladder.log_values.ravel()
        covariance = self._covariance(chunk)
        weighted = np.linalg.solve(covariance, np.column_stack([design, values])[None])
        prior = self._prior_precision()
        precision = design.T @ weighted[..., :-1] + np.diag(prior)
        right = weighted[..., -1] @ design
        coefficients = np.linalg.solve(precision, right[..., None])[..., 0]
        # Squares about the fit: no digits are lost where the measurements are exact.
        residual = values - coefficients @ design.T
        squares = (residual * np.linalg.solve(covariance, residual[..., None])[..., 0]).sum(axis=1)
        squares += (prior * coefficients**2).sum(axis=1)
        log_determinants = np.linalg.slogdet(covariance)[1] + np.linalg.slogdet(precision)[1]
        return -0.5 * (log_determinants + squares), coefficients, np.linalg.inv(precision)

    def _predict(self, chunk: slice, new: Floats, shares: Floats) -> tuple[Floats, Floats]:
        """Return mean (h, 2) and covariance (h, 2, 2) at a design (2, P)."""
        of_workload, of_rung = (each[chunk] for each in self.effects.covariances())
        shared = np.einsum("j,hab->hajb", shares, of_workload)
        shared = shared.reshape(len(of_workload), 2, 2 * len(shares))
        design, turned = self._design(), np.moveaxis(shared, 1, 2)
        gain = np.moveaxis(np.linalg.solve(self._covariance(chunk), turned), 1, 2)
        coefficients = self.coefficients[chunk]
        residual = self.ladder.log_values.ravel() - coefficients @ design.T
        mean = coefficients @ new.T + np.einsum("hin,hn->hi", gain, residual)
        off = new - gain @ design
        spread = of_workload + of_rung - gain @ turned
        spread += off @ self.coefficient_covariance[chunk] @ np.moveaxis(off, 1, 2)
        return mean, (spread + np.moveaxis(spread, 1, 2)) / 2


def regress(ladder: Ladder, prior: Prior | None = None, *, seed: int = 0) -> MetaRegression:
    """Regress a ladder with the sizes of the random effects integrated over.

    Args:
        ladder: the rungs.
        prior: None for the default one.
        seed: of the draws.

    Returns:
        The regression; deterministic for a seed.
    """
    chosen, rng = prior or Prior(), np.random.default_rng(seed)
    first = draw_from_prior(chosen, draws=_DRAWS, rng=rng)
    tried = MetaRegression(ladder=ladder, effects=first, slope_sd=chosen.slope_sd)
    nearer = draw_nearer(chosen, first, tried.weights, draws=_DRAWS, rng=rng)
    return MetaRegression(ladder=ladder, effects=nearer, slope_sd=chosen.slope_sd)

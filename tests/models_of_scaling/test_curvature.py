"""Quadratures against the spectra they stand for; the edge of stability against steps across it."""

import numpy as np
import pytest

from models_of_scaling.curvature.quadrature import Quadrature
from models_of_scaling.curvature.stability import stability_limit


def lanczos(eigenvalues, start, steps):
    """Nodes and weights of the exact quadrature of a diagonal matrix, with reorthogonalisation."""
    vectors, alphas, betas = [start / np.linalg.norm(start)], [], []
    for _ in range(steps):
        moved = eigenvalues * vectors[-1]
        alphas.append(moved @ vectors[-1])
        for _ in range(2):
            moved -= np.array(vectors).T @ (np.array(vectors) @ moved)
        betas.append(np.linalg.norm(moved))
        vectors.append(moved / betas[-1])
    t = np.diag(alphas) + np.diag(betas[:-1], 1) + np.diag(betas[:-1], -1)
    nodes, eigenvectors = np.linalg.eigh(t)
    return nodes, eigenvectors[0] ** 2


@pytest.fixture(scope="module")
def spectrum():
    """As of a network: a bulk about 0, a negative tail, outliers."""
    rng = np.random.default_rng(0)
    return np.concatenate([0.01 * rng.standard_normal(300), -rng.random(40), [3.0, 7.0, 20.0]])


def quadrature_of(spectrum, *, probes, steps, rng):
    rows = [lanczos(spectrum, rng.standard_normal(len(spectrum)), steps) for _ in range(probes)]
    return Quadrature(nodes=np.stack([r[0] for r in rows]), weights=np.stack([r[1] for r in rows]))


def test_moments_of_a_probe_are_exact_up_to_twice_its_steps(spectrum):
    start = np.random.default_rng(1).standard_normal(len(spectrum))
    nodes, weights = lanczos(spectrum, start, 6)
    quadrature = Quadrature(nodes=nodes[None], weights=weights[None])
    share = start**2 / (start @ start)
    for power in range(12):
        exact = (share * spectrum**power).sum()
        np.testing.assert_allclose(quadrature.moment(power).value, exact, rtol=1e-9)
    assert np.isnan(quadrature.moment(1).standard_error)


def test_the_mean_over_probes_is_the_mean_eigenvalue_within_its_standard_error(spectrum):
    got = quadrature_of(spectrum, probes=40, steps=10, rng=np.random.default_rng(2)).moment(1)
    assert abs(got.value - spectrum.mean()) < 4 * got.standard_error
    assert got.standard_error < abs(spectrum.mean())


@pytest.mark.parametrize("steps", [4, 8, 16, 32])
@pytest.mark.parametrize("value", [-0.5, -0.1, 0.0, 0.3, 10.0])
def test_what_a_probe_has_below_a_value_lies_between_the_bounds(spectrum, steps, value):
    start = np.random.default_rng(3).standard_normal(len(spectrum))
    nodes, weights = lanczos(spectrum, start, steps)
    low, high = Quadrature(nodes=nodes[None], weights=weights[None]).bounds_below(value)
    inside = (start[spectrum < value] ** 2).sum() / (start @ start)
    assert low - 1e-12 <= inside <= high + 1e-12


def test_more_steps_close_the_bounds_of_the_index(spectrum):
    widths = []
    for steps in (5, 20, 60):
        quadrature = quadrature_of(spectrum, probes=5, steps=steps, rng=np.random.default_rng(4))
        low, high = quadrature.bounds_below(-0.1)
        widths.append(high - low)
    assert widths[0] > widths[1] > widths[2]
    assert widths[2] < 0.1


def test_the_density_integrates_to_one_and_peaks_where_the_eigenvalues_are(spectrum):
    quadrature = quadrature_of(spectrum, probes=3, steps=20, rng=np.random.default_rng(5))
    at = np.linspace(-3, 23, 4001)
    density = quadrature.density(at, width=0.3)
    np.testing.assert_allclose(np.trapezoid(density, at), 1.0, rtol=1e-6)
    assert abs(at[np.argmax(density)]) < 0.3


@pytest.mark.parametrize("weights", [[[0.5, 0.4]], [[1.5, -0.5]]])
def test_weights_that_are_none_are_refused(weights):
    with pytest.raises(ValueError, match="sum to 1"):
        Quadrature(nodes=np.zeros((1, 2)), weights=np.array(weights))


@pytest.mark.parametrize(
    ("method", "momentum"), [("momentum", 0.0), ("momentum", 0.9), ("nesterov", 0.9)]
)
def test_steps_shrink_just_below_the_limit_and_grow_just_above(method, momentum):
    for factor, grows in ((0.99, False), (1.01, True)):
        curvature = factor * stability_limit(0.1, momentum=momentum, method=method)
        weight, velocity = 1.0, 0.0
        for _ in range(5000):
            gradient = curvature * weight
            velocity = momentum * velocity + gradient
            step = gradient + momentum * velocity if method == "nesterov" else velocity
            weight -= 0.1 * step
            if abs(weight) > 1e6:
                break
        assert (abs(weight) > 1e6) == grows

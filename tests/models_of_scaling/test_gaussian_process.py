"""The flexible law: its algebra is scikit-learn's, its draws are the process's."""

import itertools
import json

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel

from models_of_scaling.fit_record import read_fit, write_fit
from models_of_scaling.gaussian_process import (
    Kernel,
    covariance,
    draw_paths,
    fit_kernel,
    mean_deviation,
)
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.laws import AVERAGED_LAWS, Hyperbola
from models_of_scaling.noise import NOISE_SIZES, NoiseKnowledge
from models_of_scaling.prediction import predict
from models_of_scaling.process_draws import draw_process
from models_of_scaling.study_rows import CellMeans

LAW = Hyperbola(min_steps=100, critical_batch_size=400)
SIZES = 2 ** np.arange(2, 14)
GAUSSIAN_PROCESS = FitChoice(laws=("gaussian_process",), replicates=400)


def reference_at(x_C, residuals, *, amplitude, length, noise):
    """What scikit-learn has for a process of these numbers."""
    kernel = ConstantKernel(amplitude**2) * RBF(length)
    process = GaussianProcessRegressor(kernel, alpha=noise**2, optimizer=None)
    return process.fit(np.asarray(x_C)[:, None], residuals)


def paths_at(x_C, residuals, count, *, amplitude, length, noise, seed=0):
    """So many draws of ours."""
    numbers = np.full(count, amplitude), np.full(count, length)
    variance, rows = (
        np.tile(each, (count, 1)) for each in (np.full(len(x_C), noise**2), residuals)
    )
    return draw_paths(np.asarray(x_C), numbers, variance, rows, np.random.default_rng(seed))


def steps_with_a_bump(sizes=SIZES):
    """35 % more steps about a batch size of 32: no law bends so and back."""
    bump = 0.3 * np.exp(-0.5 * ((np.log(sizes) - np.log(32)) / 1.5) ** 2)
    return LAW.steps_to_target(sizes) * np.exp(bump)


@pytest.fixture(scope="module")
def bent(simulated):
    noise = np.exp(0.01 * np.random.default_rng(0).standard_normal(len(SIZES)))
    rows = simulated.measurements(SIZES, steps_with_a_bump() * noise)
    return rows, fit_laws(rows, GAUSSIAN_PROCESS)


@pytest.mark.parametrize("seed", range(3))
def test_the_mean_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    x_C, residuals = np.sort(rng.uniform(1, 9, 8)), rng.normal(0, 0.2, 8)
    numbers = {"amplitude": 0.2, "length": float(rng.uniform(1.4, 5)), "noise": 0.05}
    x = np.linspace(-2, 14, 50)
    want = reference_at(x_C, residuals, **numbers).predict(x[:, None])
    ours = mean_deviation(Kernel(**numbers), x_C, residuals)
    np.testing.assert_allclose(ours.log_factor(np.exp(x))[0], want, atol=1e-8)


@pytest.mark.parametrize("length", [1.4, 2.8, 6.0])
def test_draws_have_the_mean_and_the_covariance_of_scikit_learn(length):
    """Within, between and beyond the rows, and together: a doubling's saving is a difference."""
    x_C = np.linspace(2, 8, 7)
    residuals = np.random.default_rng(1).normal(0, 0.1, 7)
    numbers = {"amplitude": 0.2, "length": length, "noise": 0.05}
    x = np.array([3.0, 4.3, 5.0, 8.5, 9.2, 10.5, 13.0, 14.0])
    mean, covariance = reference_at(x_C, residuals, **numbers).predict(x[:, None], return_cov=True)
    count = 20_000
    values = paths_at(x_C, residuals, count, **numbers).log_factor(np.exp(x))
    sd = np.sqrt(np.diag(covariance))
    # 5 standard errors of a mean; of a covariance over both sds, at most 2^0.5 / count^0.5 for
    # normal values, which a mixture of waves is not quite: 1.5 times that.
    np.testing.assert_allclose(values.mean(axis=0), mean, atol=5 * sd.max() / count**0.5)
    off = (np.cov(values.T) - covariance) / np.outer(sd, sd)
    assert np.abs(off).max() < 1.5 * 5 * (2 / count) ** 0.5


def test_a_draw_is_one_path_whatever_batch_sizes_are_asked_for_together():
    x_C = np.linspace(2, 8, 7)
    draws = paths_at(x_C, np.full(7, 0.1), 5, amplitude=0.2, length=2.0, noise=0.05)
    sizes = np.exp(np.array([2.5, 6.1, 9.7, 12.0, 3.3]))
    together = draws.log_factor(sizes)
    np.testing.assert_allclose(
        draws.log_factor(sizes[:, None])[:, 0], np.diag(together), rtol=1e-12
    )
    again = np.concatenate([draws.log_factor(sizes[:2]), draws.log_factor(sizes[2:])], axis=1)
    np.testing.assert_allclose(again, together, rtol=1e-12)


def test_without_noise_every_path_passes_through_what_it_was_told():
    x_C, told = np.array([1.0, 3.0, 6.0]), np.array([0.1, -0.2, 0.05])
    paths = paths_at(x_C, told, 20, amplitude=0.2, length=2.0, noise=0.0)
    np.testing.assert_allclose(paths.log_factor(np.exp(x_C)), np.tile(told, (20, 1)), atol=1e-9)


def test_far_from_every_batch_size_the_process_is_its_mean_law_with_its_whole_amplitude():
    paths = paths_at(
        np.linspace(2, 8, 7), np.full(7, 0.3), 20_000, amplitude=0.2, length=2.0, noise=0.05
    )
    far = paths.log_factor(np.exp([8 + 24.0]))[:, 0]  # 12 lengths: exp(-72) is left
    assert stats.kstest(far, stats.norm(0, 0.2).cdf).statistic < 1.63 / 20_000**0.5


def cells_of(x_C, log_steps_C):
    count = len(x_C)
    return CellMeans(
        x_C=np.asarray(x_C),
        log_steps_C=np.asarray(log_steps_C),
        information_C=np.ones(count),
        measured_C=np.ones(count, dtype=bool),
        met_early_C=np.zeros(count, dtype=bool),
        spread_C=np.zeros(count),
        width_C=np.zeros(count),
        group_variance_C=np.zeros(count),
    )


def test_hyper_parameters_and_evidence_are_those_of_the_marginal_likelihood_on_the_grid():
    """One draw of the law, so that its residuals are given; the reference is scikit-learn's."""
    x_C = np.linspace(2, 8, 7)
    residual = np.random.default_rng(2).normal(0, 0.06, 7)
    noise = NoiseKnowledge()
    count = 20_000
    found = draw_process(
        cells_of(x_C, residual), noise, residual[None], count, np.random.default_rng(3)
    )
    amplitudes, lengths = np.geomspace(0.01, 0.4, 7), np.geomspace(1.4, 6.0, 4)
    logs = np.array([
        [
            reference_at(
                x_C, residual, amplitude=a, length=each, noise=size
            ).log_marginal_likelihood_value_
            + log_probability
            for a, each in itertools.product(amplitudes, lengths)
        ]
        for size, log_probability in zip(
            NOISE_SIZES[::3], noise.log_probability(NOISE_SIZES[::3]), strict=True
        )
    ])
    odds = np.exp(logs - logs.max())
    odds /= odds.sum()
    # As Student's t with the same middle 90 %: 1.645 / 2.132 of the normal's size.
    got = [
        np.mean(np.isclose(found.noise_R, 0.7716 * size, rtol=1e-3)) for size in NOISE_SIZES[::3]
    ]
    np.testing.assert_allclose(got, odds.sum(axis=1), atol=0.01)
    of_amplitude = odds.sum(axis=0).reshape(7, 4).sum(axis=1)
    got = [np.mean(np.isclose(found.deviation.amplitude_R, a)) for a in amplitudes]
    np.testing.assert_allclose(got, of_amplitude, atol=0.01)
    # Of the law alone: Student's t with the noise's size integrated out on its own, finer grid.
    of_law = logsumexp(
        np.array([stats.t(4, 0, size).logpdf(residual).sum() for size in NOISE_SIZES])
        + noise.log_probability(NOISE_SIZES)
    )
    want = logsumexp(logs) - np.log(28) - of_law
    assert found.log_evidence == pytest.approx(want, abs=1e-6)


def test_amplitude_length_and_noise_are_recovered_from_many_residuals():
    rng = np.random.default_rng(3)
    x_C = np.linspace(0, 150, 500)
    residuals = rng.multivariate_normal(np.zeros(500), covariance(x_C, 0.15, 1.8), method="eigh")
    residuals += 0.04 * rng.standard_normal(500)
    found = fit_kernel(x_C, residuals, smallest_noise=0.003)
    # 150 / (1.8 sqrt(2 pi)) = 33 independent pieces: the amplitude to 1 / sqrt(66) = 12 %, the
    # length somewhat better, the noise to 1 / sqrt(2 * 430) = 3.4 %; 4 standard errors of each
    assert np.log(found.amplitude / 0.15) == pytest.approx(0, abs=0.48)
    assert np.log(found.length / 1.8) == pytest.approx(0, abs=0.48)
    assert np.log(found.noise / 0.04) == pytest.approx(0, abs=0.14)


def test_the_noise_is_never_less_than_what_repeats_show():
    x_C = np.linspace(1, 7, 8)
    found = fit_kernel(x_C, np.zeros(8), smallest_noise=0.05)
    assert found.noise == pytest.approx(0.05, rel=1e-6)


def test_a_bump_that_no_law_has_is_followed(simulated, bent):
    rows, process = bent
    truth = np.log(steps_with_a_bump())
    off = {"gaussian_process": np.log([process.best.steps(size) for size in SIZES]) - truth}
    for name in AVERAGED_LAWS:
        law = fit_laws(rows, FitChoice(laws=(name,), replicates=50)).best
        off[name] = np.log([law.steps(size) for size in SIZES]) - truth
    worst = {name: np.abs(each).max() for name, each in off.items()}
    assert worst.pop("gaussian_process") < 0.03  # 3 times the noise
    assert min(worst.values()) > 0.05


def test_far_from_the_rows_the_point_fit_is_the_mean_law(bent):
    _, fit = bent
    law, far = Hyperbola(**fit.best.point), 2.0**60
    assert fit.best.steps(far) == pytest.approx(float(law.steps_to_target(far)), rel=1e-6)
    # At the bump it is not.
    assert abs(np.log(fit.best.steps(32) / law.steps_to_target(32))) > 0.05


def test_a_record_read_back_predicts_the_same(tmp_path, bent):
    _, fit = bent
    write_fit(tmp_path / "fit.json", fit)
    again = read_fit(tmp_path / "fit.json")
    assert again == fit
    assert predict(again, [64, 8192, 65_536]) == predict(fit, [64, 8192, 65_536])


def test_the_command_line_fits_predicts_and_judges_with_a_process(
    tmp_path, run_command_line, simulated
):
    table, record = tmp_path / "steps.csv", tmp_path / "fit.json"
    pairs = zip(SIZES, steps_with_a_bump(), strict=True)
    table.write_text("batch_size,steps\n" + "".join(f"{b},{s:.1f}\n" for b, s in pairs))
    code, out, _ = run_command_line(
        "fit", table, "--law", "gaussian_process", "--out", record, "--replicates", 200
    )
    assert code == 0 and "gaussian_process" in out
    code, out, _ = run_command_line(
        "predict", record, "--batch-size", 1024, "--batch-size", 32_768, "--json"
    )
    (inside, beyond) = json.loads(out)
    truth = dict(zip(SIZES.tolist(), steps_with_a_bump(), strict=True))
    assert code == 0
    assert inside["steps_low"] < truth[1024] < inside["steps_high"]
    assert beyond["steps_low"] < float(LAW.steps_to_target(32_768)) < beyond["steps_high"]
    code, out, _ = run_command_line("limit", record, "--json")
    verdict = json.loads(out)
    assert code == 0
    # 205 with the bump, 133 without it
    sizes = np.geomspace(10, 1000, 2000)
    saves = steps_with_a_bump(sizes) / steps_with_a_bump(2 * sizes) >= 1.6
    # 3 % of a batch size is 1 % of the saving there; 0.8 % measured.
    want = pytest.approx(sizes[saves].max(), rel=0.03)
    assert verdict["pays_up_to"]["batch_size"]["estimate"] == want

"""The flexible law: its algebra is scikit-learn's, its draws are the process's."""

import json

import numpy as np
import pytest
from scipy import stats
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel

from models_of_scaling.fit_record import read_fit, write_fit
from models_of_scaling.gaussian_process import Deviation, Kernel, fit_kernel
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.laws import AVERAGED_LAWS, Hyperbola
from models_of_scaling.prediction import predict

LAW = Hyperbola(min_steps=100, critical_batch_size=400)
SIZES = 2 ** np.arange(2, 14)
GAUSSIAN_PROCESS = FitChoice(laws=("gaussian_process",), replicates=400)


def kernel_at(x_C, **values):
    return Kernel(**{"amplitude": 0.2, "length": 2.0, "noise": 0.05, "x_C": tuple(x_C), **values})


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
def test_mean_and_standard_deviation_are_those_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    x_C, residuals = np.sort(rng.uniform(1, 9, 8)), rng.normal(0, 0.2, 8)
    kernel = kernel_at(x_C, length=float(rng.uniform(1.4, 5)))
    reference = GaussianProcessRegressor(
        ConstantKernel(kernel.amplitude**2) * RBF(kernel.length),
        alpha=kernel.noise**2,
        optimizer=None,
    ).fit(x_C[:, None], residuals)
    x = np.linspace(-2, 14, 50)
    mean, sd = reference.predict(x[:, None], return_std=True)
    ours = Deviation(
        kernel=kernel, weights_RC=kernel.solved(residuals[None]), deviate_R=np.zeros(1)
    )
    np.testing.assert_allclose(ours.log_factor(np.exp(x))[0], mean, atol=1e-8)
    np.testing.assert_allclose(kernel.sd(x), sd, atol=1e-8)


def test_without_noise_the_process_passes_through_what_it_was_told():
    x_C = np.array([1.0, 3.0, 6.0])
    kernel = kernel_at(x_C, noise=0.0)
    told = np.array([[0.1, -0.2, 0.05]])
    through = Deviation(kernel=kernel, weights_RC=kernel.solved(told), deviate_R=np.ones(1))
    # what is left open is a root of rounding: 1e-16 ** 0.5
    np.testing.assert_allclose(through.log_factor(np.exp(x_C)), told, atol=1e-7)


def test_at_a_batch_size_the_draws_are_distributed_as_the_process():
    rng = np.random.default_rng(1)
    x_C = np.linspace(2, 8, 7)
    kernel = kernel_at(x_C)
    residuals = rng.normal(0, 0.1, 7)
    draws = Deviation(
        kernel=kernel,
        weights_RC=np.tile(kernel.solved(residuals), (4000, 1)),
        deviate_R=rng.standard_normal(4000),
    )
    for x in (4.3, 9.5, 12.0):
        values = draws.log_factor(np.exp([x]))[:, 0]
        mean = kernel.covariance(np.array([x]))[0] @ kernel.solved(residuals)
        normal = stats.norm(mean, kernel.sd(np.array([x]))[0])
        # 1.6 / sqrt(4000) is one in a hundred
        assert stats.kstest(values, normal.cdf).statistic < 0.026


def test_each_draw_at_its_own_batch_size_is_that_draw_at_it():
    rng = np.random.default_rng(2)
    kernel = kernel_at(np.linspace(2, 8, 7))
    draws = Deviation(
        kernel=kernel, weights_RC=rng.normal(0, 1, (5, 7)), deviate_R=rng.standard_normal(5)
    )
    sizes = np.exp(rng.uniform(1, 9, 5))
    together = draws.log_factor(sizes)
    np.testing.assert_allclose(
        draws.log_factor(sizes[:, None])[:, 0], np.diag(together), rtol=1e-12
    )


def test_far_from_every_batch_size_the_process_is_its_mean_law_with_its_whole_amplitude():
    kernel = kernel_at(np.linspace(2, 8, 7))
    draws = Deviation(
        kernel=kernel,
        weights_RC=kernel.solved(np.full((2, 7), 0.3)),
        deviate_R=np.array([0.0, 1.5]),
    )
    far = np.exp([8 + 12 * kernel.length])  # exp(-72) of the covariance is left
    np.testing.assert_allclose(draws.log_factor(far)[:, 0], [0.0, 1.5 * 0.2], atol=1e-12)


def test_amplitude_length_and_noise_are_recovered_from_many_residuals():
    rng = np.random.default_rng(3)
    planted = kernel_at(np.linspace(0, 150, 500), amplitude=0.15, length=1.8, noise=0.04)
    x_C = np.array(planted.x_C)
    residuals = rng.multivariate_normal(np.zeros(500), planted.covariance(x_C), method="eigh")
    residuals += planted.noise * rng.standard_normal(500)
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

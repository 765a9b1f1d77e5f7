import json

import numpy as np
import pytest
from matplotlib.figure import Figure

from models_of_scaling.fit_record import write_fit
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.laws import Hyperbola, KneeWithUpturn
from models_of_scaling.plots.transfer import (
    draw_full_scale,
    draw_ladder,
    ladder_points,
    regression_band,
)
from models_of_scaling.transfer.anchors import anchors_of
from models_of_scaling.transfer.full_scale import from_surrogate, shapes_of
from models_of_scaling.transfer.ladder_table import read_ladder

FIELDS = ["batch_size", "steps", "steps_low", "steps_high", "examples", "efficiency"]
SURROGATE = Hyperbola(min_steps=100, critical_batch_size=300)
FULL = Hyperbola(min_steps=2000, critical_batch_size=1200)
WIDTHS = (8, 16, 32, 64, 128)


def law_of_width(width):
    """B_crit 100 at width 8 and twice that at four times the width."""
    return Hyperbola(min_steps=100, critical_batch_size=100 * (width / 8) ** 0.5)


@pytest.fixture(scope="module")
def fit(simulated):
    sizes = 2 ** np.arange(3, 13)
    rows = simulated.measurements(*simulated.noisy_rows(SURROGATE, sizes, np.random.default_rng(1)))
    return fit_laws(rows, FitChoice(replicates=300))


@pytest.fixture(scope="module")
def fitted(fit, tmp_path_factory):
    path = tmp_path_factory.mktemp("fit") / "fit.json"
    write_fit(path, fit)
    return path


@pytest.fixture(scope="module")
def ladder(simulated, tmp_path_factory):
    rng = np.random.default_rng(2)
    lines = ["batch_size,steps,workload,family,width"]
    for width in WIDTHS:
        sizes = 2 ** np.arange(2, 12)
        rows = simulated.noisy_rows(law_of_width(width), sizes, rng)
        lines += [f"{size},{steps},w{width},mlp,{width}" for size, steps in zip(*rows, strict=True)]
    path = tmp_path_factory.mktemp("ladder") / "ladder.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def anchor(tmp_path, sizes=(16,), law=FULL):
    lines = [f"{size},{float(law.steps_to_target(size))}" for size in sizes]
    path = tmp_path / "full_scale.csv"
    path.write_text("\n".join(["batch_size,steps", *lines]) + "\n")
    return path


def test_one_anchor_gives_the_same_json_contract_as_a_fit(fitted, tmp_path, run_command_line):
    code, out, error = run_command_line(
        "predict", fitted, "--anchor", anchor(tmp_path), "--batch-size", 16, 512, "--json"
    )
    near, far = json.loads(out)
    assert (code, error) == (0, "")
    assert list(near) == list(far) == FIELDS
    assert near["steps"] == pytest.approx(float(FULL.steps_to_target(16)), rel=0.02)
    assert far["steps_low"] < float(FULL.steps_to_target(512)) < far["steps_high"]
    assert near["efficiency"] == pytest.approx(1)


def test_the_words_say_what_rests_on_the_surrogate(fitted, tmp_path, run_command_line):
    code, out, _ = run_command_line(
        "predict", fitted, "--anchor", anchor(tmp_path), "--batch-size", 2048, "--level", 0.8
    )
    assert code == 0
    assert "extrapolated 128x" in out and "80 % interval" in out
    assert (
        "100 % of what is known of it comes from the surrogate (its B_crit, 90 % within 8x)" in out
    )
    assert "The level comes from the anchors alone" in out


def test_a_surrogate_whose_steps_rise_again_gives_finite_shapes(simulated):
    """Where exp(B / B_turn) is beyond every float; the draws' weights once became nan by it."""
    law = KneeWithUpturn(min_steps=100, critical_batch_size=300, turning_batch_size=4000)
    sizes = 2 ** np.arange(3, 14)
    rows = simulated.measurements(*simulated.noisy_rows(law, sizes, np.random.default_rng(2)))
    shapes = shapes_of([fit_laws(rows, FitChoice(laws=("knee_with_upturn",)))])
    assert np.isfinite(shapes.log_ratio).all()
    assert shapes.log_ratio.max() > 709  # the log of the largest float


def test_more_anchors_rest_less_on_the_surrogate_and_narrow_the_answer(
    fitted, tmp_path, run_command_line
):
    widths = []
    for sizes in ((16,), (16, 2048)):
        _, out, _ = run_command_line(
            "predict", fitted, "--anchor", anchor(tmp_path, sizes), "--batch-size", 16384, "--json"
        )
        (answer,) = json.loads(out)
        widths.append(answer["steps_high"] / answer["steps_low"])
    assert widths[1] < 0.6 * widths[0]


def test_a_ladder_predicts_the_knee_of_a_rung_beyond_it(fitted, ladder, tmp_path, run_command_line):
    law = law_of_width(512)
    code, out, error = run_command_line(
        "predict", fitted, "--anchor", anchor(tmp_path, (16,), law), "--ladder", ladder,
        "--at", "width=512", "workload=mlp", "--batch-size", 256, 1024, "--json",
    )  # fmt: skip
    assert (code, error) == (0, "")
    for answer in json.loads(out):
        truth = float(law.steps_to_target(answer["batch_size"]))
        assert answer["steps_low"] < truth < answer["steps_high"]
        assert answer["steps_high"] / answer["steps_low"] < 2
    _, words, _ = run_command_line(
        "predict", fitted, "--anchor", anchor(tmp_path, (16,), law), "--ladder", ladder,
        "--at", "width=512", "--batch-size", 4096,
    )  # fmt: skip
    assert "comes from the ladder" in words and "the anchors alone" in words


def test_a_silly_extrapolation_beyond_the_anchors_warns(fitted, tmp_path, run_command_line):
    _, out, error = run_command_line(
        "predict", fitted, "--anchor", anchor(tmp_path), "--batch-size", 2**14, "--json"
    )
    assert len(json.loads(out)) == 1
    assert len(error.splitlines()) == 1 and "1,024x the largest anchor (16)" in error


def test_the_picture_is_written_whole(fitted, tmp_path, run_command_line):
    picture = tmp_path / "full.svg"
    code, _, _ = run_command_line(
        "predict", fitted, "--anchor", anchor(tmp_path), "--batch-size", 512, "--plot", picture
    )
    assert code == 0 and picture.read_text().rstrip().endswith("</svg>")


@pytest.mark.slow
def test_a_ladders_rungs_are_left_out_and_predicted(ladder, tmp_path, run_command_line):
    picture = tmp_path / "ladder.png"
    code, out, error = run_command_line(
        "backtest-transfer", ladder, "--json", "--plot", picture, "--covariates", "width"
    )
    assert (code, error) == (0, "") and picture.stat().st_size > 1000
    answer = json.loads(out)
    assert {case["rung"] for case in answer["cases"]} == {f"w{width}" for width in WIDTHS}
    scores = {
        (score["quantity"], score["num_anchors"], score["factor"], score["forecaster"]): score
        for score in answer["scores"]
    }
    ladders = scores["steps", 2, 16, "ladder, regression"]
    alone = scores["steps", 2, 16, "anchors alone"]
    assert ladders["num_cases"] == alone["num_cases"] > 15
    # The ladder is a clean power law: it must beat two anchors by far, and hold what it says.
    assert ladders["median_error"] < 0.06 < alone["median_error"]
    assert ladders["coverage"]["value"] > 0.8


@pytest.mark.slow
def test_the_table_of_a_back_test_names_each_forecaster(ladder, run_command_line):
    code, out, _ = run_command_line("backtest-transfer", ladder, "--hold-out", "width")
    assert code == 0
    assert "5 rungs of 1 workloads, covariates: width; left out together: width." in out
    for name in ("ladder, regression", "ladder, process", "nearest rung", "anchors alone"):
        assert name in out


BAD = [
    (["--knee-factor", 4], "--knee-factor 4.0: is for --anchor TABLE only"),
    (["--workload", "x"], "--workload x: is for --anchor TABLE only"),
    (["--anchor", "TABLE", "--at", "a=1"], "--at a=1: is for --ladder only"),
    (["--anchor", "TABLE", "--knee-factor", 0.5], "--knee-factor 0.5 must be more than 1"),
    (["--anchor", "TABLE", "--anchor-noise", 3], "--anchor-noise 3 must be more than 0"),
    (["--anchor", "TABLE", "--plot", "x.gif"], "--plot x.gif: its ending must be one of"),
    (["--anchor", "TABLE", "--ladder", "LADDER", "--knee-factor", 4], "with --ladder the ladder"),
    (["--anchor", "TABLE", "--ladder", "LADDER", "--at", "w"], "--at 'w' is not NAME=VALUE"),
    (["--anchor", "TABLE", "--ladder", "LADDER", "--at", "w=x"], "--at w=x: x is not a number"),
    (["--anchor", "TABLE", "--ladder", "LADDER", "--at", "w=1", "w=2"], "--at w is given twice"),
    (["--anchor", "TABLE", "--ladder", "LADDER"], "--at: width is missing"),
    (["--anchor", "TABLE", "--ladder", "LADDER", "--at", "workload=q"], "has: mlp"),
    (["--anchor", "TABLE", "--ladder", "LADDER", "--method", "x"], "--method 'x' is not one of"),
    (["--anchor", "nothing.csv"], "nothing.csv: no such file or folder"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "message"), BAD)
def test_bad_words_leave_one_line_and_code_2(
    fitted, ladder, tmp_path, run_command_line, words, message
):
    place = {"TABLE": anchor(tmp_path), "LADDER": ladder}
    words = [place.get(word, word) for word in words]
    code, out, error = run_command_line("predict", fitted, "--batch-size", 64, *words)
    assert (code, out) == (2, "")
    assert len(error.splitlines()) == 1 and message in error


def test_a_hold_out_that_is_no_column_is_refused(ladder, run_command_line):
    for word, message in (
        ("depth", "--hold-out 'depth' is not one of workload, rung, width"),
        ("workload", "has 1 of them"),
    ):
        code, _, error = run_command_line("backtest-transfer", ladder, "--hold-out", word)
        assert code == 2 and message in error


def test_an_anchor_table_in_which_nothing_reached_is_refused(fitted, tmp_path, run_command_line):
    path = tmp_path / "censored.csv"
    path.write_text("batch_size,steps,reached\n16,1000,false\n")
    code, _, error = run_command_line("predict", fitted, "--anchor", path, "--batch-size", 64)
    assert code == 2 and "none of the 1 rows reached the target" in error


def test_the_ladder_plot_names_its_axes_and_its_band(ladder):
    rungs = read_ladder(ladder)
    ax = Figure().subplots()
    for quantity, label in (
        ("critical_batch_size", "critical batch size (examples)"),
        ("min_steps", "fewest steps, S_min (optimizer steps)"),
    ):
        ax.clear()
        draw_ladder(
            ax,
            ladder_points(rungs, "width", quantity, 0.9),
            regression_band(rungs, "width", quantity, 0.9, num_points=5),
            covariate="width",
            quantity=quantity,
        )
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("width", label)
        assert ax.get_xscale() == ax.get_yscale() == "log"
        texts = [text.get_text() for text in ax.get_legend().get_texts()]
        assert texts == ["a new rung, 90% interval", "regression", "mlp"]


def test_the_full_scale_plot_shows_anchors_curve_and_knee(simulated, fit):
    rows = simulated.measurements([16, 64], FULL.steps_to_target([16, 64]))
    full = from_surrogate(shapes_of([fit]), anchors_of(rows))
    ax = Figure().subplots()
    draw_full_scale(ax, full, 16_384, level=0.9)
    assert ax.get_xlabel() == "batch size (examples)"
    assert ax.get_ylabel() == "steps to target (optimizer steps)"
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert {"90% interval", "law, extrapolated", "critical batch size"} <= set(texts)

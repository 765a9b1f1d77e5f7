"""The sharpness callback's file judged: edge of stability, index against loss, one page a run."""

import json

import numpy as np
import pytest

from models_of_scaling.__main__ import main
from models_of_scaling.curvature.sharpness_table import read_quadratures

COLUMNS = (
    "steps,batch_size,optimizer,learning_rate,stability_limit,batch_norm,loss,gradient_norm,"
    "eigenvalue_1,trace,negative_share,negative_share_low,negative_share_high,keskar_sharpness"
)


def write_run(tmp_path, *, rises=True, width=0.02, limit="20.0"):
    """Sharpness that rises to its limit of 20 while loss and index fall together."""
    lines = [COLUMNS]
    for place, step in enumerate((0, 1, 2, 4, 8, 16, 32)):
        sharpness = 2.0 + (18.5 if rises else 1.0) * place / 6
        share = 0.4 - 0.05 * place
        lines.append(
            f"{step},64,sgd,0.1,{limit},evaluation,{2.3 - 0.3 * place!r},0.5,{sharpness!r},9.0,"
            f"{share!r},{share - width / 2!r},{share + width / 2!r},3.5"
        )
    path = tmp_path / "run.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_run_that_sharpens_to_its_limit_is_at_the_edge_and_its_index_falls(tmp_path, capsys):
    assert main(["sharpness", str(write_run(tmp_path))]) == 0
    said = capsys.readouterr().out
    assert "20, 1 of the edge of stability: at it" in said
    assert "negative eigenvalues falls as the loss falls (Kendall's tau 1.00" in said
    assert "Keskar's sharpness at the end: 3.5 %" in said


def test_a_run_that_stays_flat_is_below_the_edge(tmp_path, capsys):
    assert main(["sharpness", str(write_run(tmp_path, rises=False)), "--json"]) == 0
    (verdict,) = json.loads(capsys.readouterr().out)
    np.testing.assert_allclose(verdict["last_over_limit"], 3.0 / 20)
    np.testing.assert_allclose(verdict["largest_over_limit"], 3.0 / 20)


def test_an_index_that_is_not_bounded_is_not_ordered(tmp_path, capsys):
    assert main(["sharpness", str(write_run(tmp_path, width=0.8))]) == 0
    assert "bounds are too wide to be ordered" in capsys.readouterr().out


def test_an_optimizer_without_a_known_edge_is_said_to_have_none(tmp_path, capsys):
    assert main(["sharpness", str(write_run(tmp_path, limit="")), "--json"]) == 0
    (verdict,) = json.loads(capsys.readouterr().out)
    assert verdict["last_over_limit"] is None
    assert main(["sharpness", str(write_run(tmp_path, limit=""))]) == 0
    assert "of this optimizer is not known" in capsys.readouterr().out


def test_the_page_of_a_run_has_its_loss_sharpness_index_density_and_walk(tmp_path, capsys):
    path = write_run(tmp_path)
    spectrum = tmp_path / "run.spectrum.csv"
    rows = [
        f"{step},evaluation,0,{node},{weight}"
        for step in (0, 32)
        for node, weight in ((-1.0, 0.1), (0.0, 0.6), (20.0, 0.3))
    ]
    spectrum.write_text("\n".join(["steps,batch_norm,probe,node,weight", *rows]) + "\n")
    assert read_quadratures(spectrum)[32, "evaluation"].nodes.shape == (1, 3)
    walk = tmp_path / "walk.csv"
    walk.write_text("steps,distance\n" + "".join(f"{t},{t**0.4!r}\n" for t in range(1, 20)))
    page = tmp_path / "page.svg"
    assert main(["sharpness", str(path), "--walk", str(walk), "--plot", str(page)]) == 0
    text = page.read_text()
    for words in (
        "training loss of the fixed examples",
        "largest eigenvalue of the Hessian",
        "edge of stability",
        "index: share of negative eigenvalues",
        "density of eigenvalues",
        "distance from the start",
    ):
        assert words in text, words


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.replace("eigenvalue_1", "eigenvalue"), "column eigenvalue_1 is missing"),
        (lambda t: t.replace("\n4,64", "\nx,64"), "column steps: x must be a number"),
        (lambda t: t.replace("2.3", "", 1), "column loss: (empty) must be a finite number"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path, capsys, change, said):
    path = write_run(tmp_path)
    path.write_text(change(path.read_text()))
    with pytest.raises(SystemExit) as left:
        main(["sharpness", str(path)])
    assert left.value.code == 2
    assert said in capsys.readouterr().err

"""The callbacks' files of real runs on one page: of a run, and of a sweep's runs."""

import pytest

from models_of_scaling.__main__ import main as models_of_scaling

pytest.importorskip("curvlinops")
pytestmark = pytest.mark.slow

SIZES = (32, 64)
PANELS = {
    "one": (
        *("train loss", "noise scale", "largest eigenvalue of the Hessian", "edge of stability"),
        *("index: share of negative eigenvalues", "density of eigenvalues"),
        "distance from the start",
    ),
    "sweep": (
        *("loss at the end", "noise scale at the end", "largest eigenvalue at the end"),
        "exponent of the distance",
    ),
}


def flags(folder, size):
    return [
        *(f"--data.global_batch_size={size}", f"--data.max_per_device_batch_size={size // 4}"),
        *("--model.train_duration=32 steps", "--data.evaluate_every=8 steps"),
        f"--record.folder={folder / 'trials'}",
        "--trainer.callbacks+=fullscale.callbacks.gradient_noise.GradientNoiseScale",
        *("--trainer.callbacks.window_steps=16", "--trainer.callbacks.blocks=8"),
        "--trainer.callbacks+=fullscale.callbacks.diffusion.Diffusion",
        f"--trainer.callbacks.path={folder / 'walks' / f'b{size}.csv'}",
        "--trainer.callbacks+=fullscale.callbacks.sharpness.Sharpness",
        f"--trainer.callbacks.path={folder / 'sharpness' / f'b{size}.csv'}",
        "--trainer.callbacks.cost={num_examples: 32, examples_per_forward: 32, lanczos_steps: 4, "
        "num_probes: 1, num_eigenvalues: 0, keskar_epsilon: 0}",
    ]


@pytest.fixture
def runs(tmp_path, capsys):
    """Two runs of digits, and the fit of a table that stands for their sweep."""
    from fullscale.fit import main as fit

    for size in SIZES:
        assert fit([*flags(tmp_path, size), "--trainer.accelerator=cpu"]) == 0
    table = tmp_path / "steps.csv"
    rows = [f"{2**k},{100 * (1 + 200 / 2**k):.1f}" for k in range(4, 12)]
    table.write_text("\n".join(["batch_size,steps", *rows]) + "\n")
    words = ["fit", str(table), "--replicates", "60", "--out", str(tmp_path / "fit.json")]
    assert models_of_scaling(words) == 0
    capsys.readouterr()
    return tmp_path


def report(runs, name, files):
    page = runs / f"{name}.html"
    words = ["report", str(runs / "fit.json"), "--out", str(page)]
    for flag, path in files.items():
        words += [flag, str(path)]
    assert models_of_scaling(words) == 0
    return page.read_text()


def test_one_command_puts_loss_noise_walk_and_sharpness_of_a_run_or_a_sweep_on_one_page(runs):
    (metrics, *_) = sorted((runs / "trials").glob("*.metrics.csv"))
    given = {
        "one": (metrics, runs / "walks" / "b32.csv", runs / "sharpness" / "b32.csv"),
        "sweep": (runs / "trials", runs / "walks", runs / "sharpness"),
    }
    bare = report(runs, "bare", {})
    for name, paths in given.items():
        files = dict(zip(("--metrics", "--walk", "--sharpness"), paths, strict=True))
        page = report(runs, name, files)
        for said in PANELS[name]:
            assert said in page, said
            assert said not in bare, said

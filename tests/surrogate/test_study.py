"""The whole path, as `make study` walks it, in its quick form."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from models_of_scaling.fit_record import read_fit
from models_of_scaling.trials import read_trials

# It takes a minute on 2 cores; how long on a machine that others use too is no property of ours.
PATIENCE_S = 1200


def run_study(folder: Path) -> tuple[str, float]:
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "surrogate.study", "--quick", "--out", folder],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, time.monotonic() - started


@pytest.mark.slow
def test_the_quick_study_goes_from_nothing_to_a_verdict_and_runs_nothing_twice(tmp_path, capsys):
    first, seconds = run_study(tmp_path)
    with capsys.disabled():
        print(f"\nthe quick study: {seconds:.0f} s")
    for name in ("noisy_quadratic", "digits"):
        folder = tmp_path / name
        blind = read_fit(folder / "fit_small_batches.json")
        whole = read_fit(folder / "fit.json")
        # The blind fit never saw the two largest batch sizes; the whole one did.
        sizes = sorted({*blind.measured.batch_size, *blind.held_out.batch_size})
        assert set(blind.held_out.batch_size) == set(sizes[-2:])
        assert max(blind.measured.batch_size) == sizes[-3]
        assert set(whole.measured.batch_size) == set(sizes)
        page = (folder / "report.html").read_text()
        assert "Prediction beside what was measured" in page
        assert "The search: learning rate at each batch size" in page
        assert (folder / "steps_to_target.svg").stat().st_size > 10_000
    # Path and verdict stand last, and the verdict is that of the real images.
    end = first.splitlines()[-12:]
    assert any("It stops paying" in line for line in end)
    assert f"The page: {tmp_path / 'digits' / 'report.html'}" in end
    assert re.search(r"measured \(held out\): [\d,]+, (inside|OUTSIDE) the interval", first)

    before = read_trials(tmp_path / "digits" / "trials")
    second, _ = run_study(tmp_path)
    assert read_trials(tmp_path / "digits" / "trials").equals(before)
    strip = re.compile(r"Done in \d+ s\.")
    assert strip.sub("", second) == strip.sub("", first)


def test_a_study_that_cannot_write_says_so_in_one_line(tmp_path, capsys):
    from surrogate.study import main

    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SystemExit) as end:
        main(["--quick", "--out", str(tmp_path / "file" / "study")])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--out" in error

"""The sweep as a user meets it: resumable after any death, clear about bad input."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from models_of_scaling.targets import Target
from models_of_scaling.trials import read_trials
from surrogate.run_sweep import SweepSettings, run_sweep
from surrogate.sweep import main

DIGITS = [
    *("--workload", "digits", "--batch-sizes", "128,512", "--trials", "12", "--repeats", "2"),
    *("--workers", "1", "--target", "validation_loss<=0.3"),
]
SIMULATED = [
    *("--workload", "noisy_quadratic", "--batch-sizes", "256,4096,65536", "--trials", "24")
]
# How a run went in time, and from where: not what it found.
VARYING = ["wall_time_s", "start_time", "commit", "dirty", "versions", "device"]


def interruptible():
    # A shell's background jobs ignore SIGINT, as all that they start would.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(out, flags, preexec_fn=interruptible):
    return subprocess.Popen(
        [sys.executable, "-m", "surrogate.sweep", "--out", str(out), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=preexec_fn,  # noqa: PLW1509  no threads here
    )


def finish(process, timeout=120):
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def sweep(out, flags):
    code, said, err = finish(start(out, flags))
    assert code == 0, err
    return said


def findings(out):
    table = read_trials(out / "trials").drop_columns(VARYING)
    # As text: NaN equals NaN, and floats keep every digit.
    return sorted(map(repr, table.to_pylist()))


def raw_trial_ids(out):
    paths = (out / "trials").glob("*.parquet")
    return [each for path in paths for each in pq.read_table(path)["trial_id"].to_pylist()]


def wait_for_a_part(out, process, seconds=60):
    deadline = time.monotonic() + seconds
    while not list((out / "trials").glob("*.parquet")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    found = {}
    for name, flags in (("digits", DIGITS), ("simulated", SIMULATED)):
        out = tmp_path_factory.mktemp(name)
        sweep(out, flags)
        found[name] = out
    return found


@pytest.mark.slow
@pytest.mark.parametrize("evaluations", ["all", "screened"])
def test_killing_a_sweep_and_all_its_workers_then_resuming_gives_the_undisturbed_table(
    undisturbed, tmp_path_factory, tmp_path, evaluations
):
    flags, whole = [*DIGITS, "--evaluations", evaluations], findings(undisturbed["digits"])
    if evaluations == "screened":
        sweep(other := tmp_path_factory.mktemp("screened"), flags)
        whole = findings(other)
    process = start(tmp_path, flags)
    wait_for_a_part(tmp_path, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    kept = findings(tmp_path)
    assert 0 < len(kept) < len(whole)
    said = sweep(tmp_path, [*flags, "--json"])
    assert json.loads(said)["num_found"] == len(kept)
    assert findings(tmp_path) == whole
    assert len(set(raw_trial_ids(tmp_path))) == len(raw_trial_ids(tmp_path))


@pytest.mark.slow
def test_when_only_the_parent_is_killed_its_workers_end_too(tmp_path):
    process = start(tmp_path, DIGITS)
    wait_for_a_part(tmp_path, process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=60)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    else:
        pytest.fail("workers outlived their parent")
    process.communicate(timeout=10)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sweep_says_so_in_one_line_and_goes_on_later(undisturbed, tmp_path, number):
    process = start(tmp_path, SIMULATED)
    wait_for_a_part(tmp_path, process)
    os.killpg(process.pid, number)  # as a terminal and a scheduler do: to everyone
    code, said, err = finish(process)
    assert code == 130
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "interrupted: what was finished is kept"
    assert said == ""
    whole = findings(undisturbed["simulated"])
    assert 0 < len(findings(tmp_path)) < len(whole)
    sweep(tmp_path, SIMULATED)
    assert findings(tmp_path) == whole


@pytest.mark.slow  # alone: a busy machine may be through with the sweep before the signal comes
def test_ctrl_c_before_anything_ran_leaves_no_traceback(tmp_path):
    process = start(tmp_path, DIGITS)
    while not (tmp_path / "trials").exists():
        time.sleep(0.01)
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_second_call_runs_nothing_and_says_so(undisturbed):
    before = findings(undisturbed["digits"])
    started = time.monotonic()
    said = sweep(undisturbed["digits"], DIGITS)
    assert "nothing to run" in said
    # The parent plans without torch; a busy machine may take some seconds.
    assert time.monotonic() - started < 5
    assert findings(undisturbed["digits"]) == before


@pytest.mark.slow
def test_two_sweeps_of_one_folder_at_once_share_the_work_and_double_no_row(undisturbed, tmp_path):
    both = [start(tmp_path, [*SIMULATED, "--json"]) for _ in range(2)]
    for process in both:
        code, _, err = finish(process)
        assert code == 0, err
    assert findings(tmp_path) == findings(undisturbed["simulated"])
    ids = raw_trial_ids(tmp_path)
    assert len(set(ids)) == len(ids)


@pytest.mark.slow
def test_other_settings_in_the_same_folder_are_another_study(undisturbed, tmp_path):
    flags = ["--workload", "noisy_quadratic", "--batch-sizes", "65536", "--trials", "4"]
    sweep(tmp_path, flags)
    sweep(tmp_path, [*flags, "--target", "validation_loss<=0.1"])
    table = read_trials(tmp_path / "trials").to_pydict()
    pairs = set(zip(table["study"], table["target"], strict=True))
    assert len({study for study, _ in pairs}) == len({target for _, target in pairs}) == 2
    assert len(pairs) == 2


@pytest.mark.slow
def test_the_table_of_a_sweep_holds_what_its_settings_say(undisturbed):
    table = read_trials(undisturbed["digits"] / "trials")
    rows = table.to_pylist()
    assert {row["batch_size"] for row in rows} == {128, 512}
    for size in (128, 512):
        phases = [row["phase"] for row in rows if row["batch_size"] == size]
        assert phases.count("search") >= 12
        assert phases.count("shortlist") == 4 * 3
        assert phases.count("repeat") == 2
    target = Target.parse("validation_loss<=0.3")
    for row in rows:
        assert row["curve_steps"][-1] == row["steps"]
        met = [target.is_met(value) for value in row["curve_validation_loss"]]
        assert met[-1] == (row["status"] == "reached")
        assert not any(met[:-1])
        assert row["examples"] == row["steps"] * row["batch_size"]
        assert row["num_train_examples"] == 1024
        assert row["num_parameters"] == 64 * 32 + 32 + 32 * 10 + 10


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--workload", "mnits"], "--workload 'mnits' is not one of digits"),
        (["--workload", "digits", "--batch-sizes", "0"], "0 is not in 1..1024"),
        (["--workload", "digits", "--batch-sizes", "2048"], "2048 is not in 1..1024"),
        (["--workload", "digits", "--batch-sizes", "8,x"], "--batch-sizes '8,x' is not a list"),
        (["--workload", "digits", "--batch-sizes", "8,8"], "given twice"),
        (["--workload", "digits", "--batch-sizes", ","], "--batch-sizes ',' is not"),
        (["--workload", "digits", "--trials", "1"], "--trials 1 must be"),
        (["--workload", "digits", "--repeats", "0"], "--repeats 0 must be"),
        (["--workload", "digits", "--seed", "-1"], "--seed -1 must be"),
        (["--workload", "digits", "--workers", "-2"], "--workers -2 must be"),
        (["--workload", "digits", "--optimizer", "adamx"], "--optimizer 'adamx'"),
        (["--workload", "noisy_quadratic", "--optimizer", "lars"], "--optimizer 'lars'"),
        (["--workload", "digits", "--target", "loss<1"], "target 'loss<1'"),
        (
            ["--workload", "noisy_quadratic", "--target", "validation_accuracy>=0.9"],
            "has no accuracy",
        ),
        (["--workload", "digits", "--nonsense"], "unrecognized arguments: --nonsense"),
        ([], "required: --workload"),
    ],
)
def test_bad_input_is_one_line_and_code_2_and_writes_nothing(flags, words, tmp_path, capsys):
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as left:
        main(["--out", str(out), *flags])
    assert left.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith("error: ")
    assert words in said.err
    assert not out.exists()


def test_a_folder_that_cannot_be_made_is_refused_before_any_work(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as left:
        main(["--workload", "digits", "--out", str(tmp_path / "file" / "out")])
    assert left.value.code == 2
    assert "can't be written" in capsys.readouterr().err


def test_a_damaged_trial_file_is_named(tmp_path, capsys):
    settings = SweepSettings(workload="noisy_quadratic", out=tmp_path, batch_sizes=(65536,))
    folder = tmp_path / "trials"
    folder.mkdir()
    damaged = folder / f"{settings.plan.study}.b00065536.0.parquet"
    damaged.write_bytes(b"PAR1 not")
    with pytest.raises(SystemExit) as left:
        main(["--workload", "noisy_quadratic", "--out", str(tmp_path), "--batch-sizes", "65536"])
    assert left.value.code == 2
    assert str(damaged) in capsys.readouterr().err


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_code_1(tmp_path):
    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    process = start(tmp_path, SIMULATED, preexec_fn=small_files)
    code, _, err = finish(process)
    assert code == 1
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("error: ")
    assert str(tmp_path) in err.splitlines()[-1]
    assert not list(Path(tmp_path).rglob("*.parquet"))


@pytest.mark.slow
def test_the_function_does_what_the_command_does(undisturbed):
    settings = SweepSettings(
        workload="noisy_quadratic",
        out=undisturbed["simulated"],
        batch_sizes=(256, 4096, 65536),
        trials=24,
    )
    summary = run_sweep(settings, progress=False)
    assert summary.num_run == 0
    counts = (summary.num_reached, summary.num_not_reached, summary.num_diverged)
    assert summary.num_found == sum(counts) == len(findings(undisturbed["simulated"]))

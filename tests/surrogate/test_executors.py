"""A sweep's table does not depend on where it runs, nor on which of its workers die."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import psutil
import pyarrow.parquet as pq
import pytest

from models_of_scaling.targets import Target
from models_of_scaling.trials import read_trials
from surrogate.cells import Cell
from surrogate.executors import SweepFailedError, folder_workers
from surrogate.run_sweep import SweepSettings, run_sweep
from surrogate.search import next_stage
from surrogate.sweep import main
from surrogate.trial_parts import finished_trials, join_shares, split
from surrogate.workers.local_processes import local_processes

TARGET = Target.parse("validation_loss<=0.3")
DIGITS = [
    *("--workload", "digits", "--batch-sizes", "64,256", "--trials", "12", "--repeats", "2"),
    *("--target", str(TARGET), "--workers", "2"),
]
# How a run went in time, and from where: not what it found.
VARYING = ["wall_time_s", "start_time", "commit", "dirty", "versions", "device"]
PATIENCE_S = 180  # a busy machine may need many times what an idle one does


def settings(out, **changes):
    given = {"workload": "noisy_quadratic", "batch_sizes": (4096, 65536), "trials": 8}
    return SweepSettings(out=out, **given | changes)


def findings(out):
    table = read_trials(out / "trials").drop_columns(VARYING)
    return sorted(map(repr, table.to_pylist()))


def raw_trial_ids(out):
    paths = (out / "trials").glob("*.parquet")
    return [each for path in paths for each in pq.read_table(path)["trial_id"].to_pylist()]


def start(module, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )


def sweep(out, *flags):
    return start("surrogate.sweep", "--out", out, *DIGITS, *flags)


def finish(process):
    out, err = process.communicate(timeout=PATIENCE_S)
    assert "Traceback" not in err
    return process.returncode, out, err


def wait_for(condition: Callable[[], object], process=None):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def parts(out):
    return list(out.glob("trials/*.parquet")) + list(out.glob("shares/*.parquet"))


def kill_one(process, words):
    """Kill a descendant whose command line holds the words."""
    for each in psutil.Process(process.pid).children(recursive=True):
        if words in " ".join(each.cmdline()):
            each.kill()
            return
    pytest.fail(f"no process with {words}")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    code, _, err = finish(sweep(out, "--workers", "1"))
    assert code == 0, err
    return findings(out)


@pytest.fixture(scope="module")
def dask_cluster(tmp_path_factory):
    """A scheduler and two worker processes, as an administrator would start them."""
    file = tmp_path_factory.mktemp("dask") / "scheduler.json"
    quiet = ("--no-dashboard", "--scheduler-file", file)
    here = ("--host", "127.0.0.1")
    scheduler = start("distributed.cli.dask_scheduler", *here, "--port", "0", *quiet)
    wait_for(file.exists, scheduler)
    workers = start(
        "distributed.cli.dask_worker",
        *("--nworkers", "2", "--nthreads", "1", *here),
        *("--local-directory", file.parent, *quiet),
    )
    yield file, scheduler, workers
    for process in (workers, scheduler):
        for each in [*psutil.Process(process.pid).children(recursive=True)]:
            each.kill()
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_a_killed_worker_process_costs_a_warning_and_no_trial(undisturbed, tmp_path):
    process = sweep(tmp_path)
    wait_for(lambda: parts(tmp_path), process)
    kill_one(process, "spawn_main")
    code, _, err = finish(process)
    assert code == 0, err
    warning = next(line for line in err.splitlines() if line.startswith("warning: "))
    assert "a worker process died at batch size" in warning
    assert findings(tmp_path) == undisturbed
    assert len(set(raw_trial_ids(tmp_path))) == len(raw_trial_ids(tmp_path))


@pytest.mark.slow
def test_a_killed_dask_worker_costs_no_trial_and_a_dead_scheduler_is_one_line(
    undisturbed, tmp_path, dask_cluster
):
    file, scheduler, workers = dask_cluster
    flags = ("--executor", "dask", "--scheduler", file)
    killed, gone = tmp_path / "killed", tmp_path / "gone"
    process = sweep(killed, *flags)
    wait_for(lambda: parts(killed), process)
    kill_one(workers, "spawn_main")
    code, _, err = finish(process)
    assert code == 0, err
    assert findings(killed) == undisturbed
    assert len(set(raw_trial_ids(killed))) == len(raw_trial_ids(killed))

    process = sweep(gone, *flags)
    wait_for(lambda: parts(gone), process)
    scheduler.kill()
    code, out, err = finish(process)
    assert code == 1
    assert out == ""
    assert err.splitlines()[-1].startswith("error: the Dask workers' scheduler is gone")
    assert set(findings(gone)) < set(undisturbed)


@pytest.mark.slow
def test_a_killed_job_of_submitit_costs_no_trial(undisturbed, tmp_path):
    process = sweep(tmp_path, "--executor", "submitit", "--submitit", "cluster=local")
    wait_for(lambda: parts(tmp_path), process)
    kill_one(process, "submitit.core._submit")
    code, _, err = finish(process)
    assert code == 0, err
    assert "warning: a job died at batch size" in err
    assert findings(tmp_path) == undisturbed
    assert len(set(raw_trial_ids(tmp_path))) == len(raw_trial_ids(tmp_path))


@pytest.mark.slow
def test_ctrl_c_leaves_no_job_running_and_what_was_finished(undisturbed, tmp_path):
    flags = ("--executor", "submitit", "--submitit", "cluster=local")
    process = sweep(tmp_path, *flags)
    wait_for(lambda: parts(tmp_path), process)
    family = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGINT)
    code, out, err = finish(process)
    assert (code, out) == (130, "")
    assert err.splitlines()[-1] == "interrupted: what was finished is kept"
    wait_for(lambda: not any(each.is_running() for each in family))
    assert set(findings(tmp_path)) < set(undisturbed)


@pytest.mark.slow
def test_any_executor_gives_the_table_of_processes_of_this_machine(tmp_path):
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawned) as executor:
        theirs = run_sweep(settings(tmp_path / "theirs"), progress=False, workers=executor)
    ours = run_sweep(settings(tmp_path / "ours", workers=1), progress=False)
    assert theirs.num_run == ours.num_run > 16
    assert findings(tmp_path / "theirs") == findings(tmp_path / "ours")
    assert not list((tmp_path / "theirs" / "locks").glob("*.stop"))


def test_a_stage_dealt_out_among_workers_gives_the_trials_of_one_population(tmp_path):
    given = settings(
        tmp_path, workload="digits", batch_sizes=(512,), trials=32, target=TARGET, quick=True
    )
    plan, whole, apart = given.plan, tmp_path / "whole", tmp_path / "apart"
    for folder in (whole, apart):
        (folder / "trials").mkdir(parents=True)
    stage = next_stage(plan, 512, [])
    Cell(plan=plan, batch_size=512, folder=whole).run()
    # The last share first: it knows nothing of faster members elsewhere, and goes on for longer.
    shares = split(stage, 3)
    for share in shares[1:]:
        Cell(plan=plan, batch_size=512, folder=apart, share=share).run()
    assert not join_shares(plan, 512, apart, stage)
    Cell(plan=plan, batch_size=512, folder=apart).run()  # as a resumed sweep does
    assert findings(apart) == findings(whole)
    assert not list((apart / "shares").glob("*.parquet"))
    statuses = [trial.status for trial in finished_trials(plan, 512, whole)]
    assert statuses.count("reached") > 3
    assert statuses.count("not_reached") > 3


def test_a_process_sees_its_gpu_before_torch_is_there():
    with local_processes(2, gpus=("3", "5")) as workers:
        submit = workers.executor.submit
        seen = [submit(os.getenv, "CUDA_VISIBLE_DEVICES") for _ in range(2)]
        assert [future.result() for future in seen] == ["3", "5"]
        assert not submit(eval, "'torch' in __import__('sys').modules").result()
        # One that dies comes back with the same GPU, and the other does not notice.
        with pytest.raises(BrokenExecutor):
            submit(os.abort).result()
        seen = [submit(os.getenv, "CUDA_VISIBLE_DEVICES") for _ in range(2)]
        assert [future.result() for future in seen] == ["3", "5"]


class DyingExecutor(Executor):
    """Its workers die at once."""

    def __init__(self):
        self.calls = 0

    def submit(self, fn, /, *args, **kwargs):
        self.calls += 1
        future = Future()
        future.set_exception(BrokenProcessPool("died"))
        return future


def test_a_batch_size_whose_workers_die_three_times_ends_the_sweep_in_one_line(tmp_path, capsys):
    executor = DyingExecutor()
    with pytest.raises(SweepFailedError, match="died .* at batch size 4096, 3 times"):
        run_sweep(settings(tmp_path, workers=1), progress=False, workers=executor)
    assert executor.calls == 3
    assert capsys.readouterr().err.count("warning: a worker died at batch size 4096") == 2


class ThisProcess(Executor):
    """Runs a call where it is submitted."""

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except OSError as error:
            future.set_exception(error)
        return future


def test_a_worker_that_does_not_see_the_folder_is_named(tmp_path):
    given = settings(tmp_path)
    workers = folder_workers(ThisProcess(), given.plan, tmp_path / "elsewhere", count=lambda: 1)
    cell = Cell(plan=given.plan, batch_size=4096, folder=tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match="not seen by the worker on"):
        workers.submit(cell).result()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--executor", "ray"], "--executor 'ray' is not one of processes, dask, submitit"),
        (["--executor", "dask"], "--scheduler ADDRESS and --executor dask belong together"),
        (["--scheduler", "tcp://h:1"], "--scheduler ADDRESS and --executor dask belong together"),
        (["--gpus", "0,,1"], "--gpus '0,,1' is not a list"),
        (["--gpus", "0,0"], "--gpus '0,0' is not a list of different"),
        (["--submitit", "a=1"], "--submitit belongs to --executor submitit"),
        (["--executor", "submitit", "--submitit", "time"], "--submitit 'time' is not KEY=VALUE"),
        (["--executor", "submitit", "--submitit", "cluster=local", "tim=3"], "--submitit: "),
        (["--executor", "submitit", "--submitit", "a=1", "a=2"], "--submitit a is given twice"),
        pytest.param(  # Dask tries for five seconds
            ["--executor", "dask", "--scheduler", "tcp://127.0.0.1:1"],
            "no Dask scheduler answers",
            marks=pytest.mark.slow,
        ),
        (["--executor", "dask", "--scheduler", __file__], "not a scheduler file: JSON with"),
        (["--out", ""], "argument --out: '' names no folder"),
        (["--batch-sizes", "8,64,8"], "--batch-sizes: 8 is given twice"),
    ],
)
def test_a_wrong_place_to_run_is_one_line_and_code_2(flags, words, tmp_path, capsys):
    started = time.monotonic()
    with pytest.raises(SystemExit) as left:
        main(["--out", str(tmp_path / "out"), "--workload", "noisy_quadratic", *flags])
    said = capsys.readouterr()
    assert left.value.code == 2
    assert (said.out, len(said.err.splitlines())) == ("", 1)
    assert words in said.err
    assert time.monotonic() - started < PATIENCE_S
    assert not (tmp_path / "out").exists()

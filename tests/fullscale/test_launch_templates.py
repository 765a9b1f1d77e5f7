"""The launch templates, run dry: what they ask of the cluster and what they start agree."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from fullscale.launch.cluster_environment import check_cluster, check_devices, read_request

LAUNCH = Path(__file__).parents[2] / "fullscale" / "launch"
RECIPES = LAUNCH.parent / "recipes"
SBATCH = sorted(LAUNCH.glob("*.sbatch"))
SCRIPTS = [*SBATCH, *sorted(LAUNCH.glob("*.sh"))]
RECIPE = str(RECIPES / "resnet50_lars_32k.yaml")


def directives(path: Path) -> dict[str, str]:
    """Return the #SBATCH lines, as sbatch reads them: up to the first command."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            break
        if match := re.fullmatch(r"#SBATCH --([a-z-]+)(?:=(\S+))?", line):
            found[match.group(1)] = match.group(2) or ""
        else:
            assert not line.startswith("#SBATCH"), line
    return found


def started(path: Path, tool: str, folder: Path, *arguments: str, **variables: str) -> list[str]:
    """Run a template with a launcher that writes down what it is asked to start."""
    launcher = folder / tool
    launcher.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    launcher.chmod(0o755)
    done = subprocess.run(
        ["bash", str(path), *arguments],
        env={"PATH": f"{folder}:{os.environ['PATH']}", **variables},
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
    )
    return done.stdout.splitlines()


def slurm_variables(asked: dict[str, str]) -> dict[str, str]:
    """What SLURM sets for a job with these directives."""
    return {
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NAME": asked["job-name"],
        "SLURM_JOB_NUM_NODES": asked["nodes"],
        "SLURM_NNODES": asked["nodes"],
        "SLURM_NTASKS_PER_NODE": asked["ntasks-per-node"],
        "SLURM_NTASKS": str(int(asked["nodes"]) * int(asked["ntasks-per-node"])),
    }


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_template_is_valid_bash_and_can_be_executed(path):
    subprocess.run(["bash", "-n", str(path)], check=True)
    assert os.access(path, os.X_OK)


@pytest.mark.parametrize("path", SBATCH, ids=lambda path: path.name)
def test_a_job_is_warned_before_its_limit_requeued_and_has_a_task_per_gpu(path):
    asked = directives(path)
    name, _, seconds = asked["signal"].partition("@")
    # Without "B:": to the tasks, not to the batch script.
    assert name == "USR1"
    hours, minutes, rest = map(int, asked["time"].split(":"))
    assert 60 <= int(seconds) < hours * 3600 + minutes * 60 + rest
    assert asked["requeue"] == ""
    # The second part of a run must not overwrite the first one's log.
    assert asked["open-mode"] == "append"
    assert asked["ntasks-per-node"] == asked["gpus-per-node"]
    # Such a name would count as interactive: no task would join.
    assert asked["job-name"] not in {"bash", "interactive"}


@pytest.mark.parametrize("path", SBATCH, ids=lambda path: path.name)
@pytest.mark.parametrize("nodes", ["64", "2"])
def test_what_a_job_starts_fits_what_it_asked_for(path, nodes, tmp_path):
    asked = directives(path) | {"nodes": nodes}
    variables = slurm_variables(asked)
    words = started(path, "srun", tmp_path, "--config", RECIPE, "--data.seed=3", **variables)
    start = words.index("fullscale.fit")
    assert words[start - 2 : start] == ["python", "-m"]
    assert "--kill-on-bad-exit=1" in words[: start - 2]
    arguments = words[start + 1 :]
    request = read_request(arguments)
    assert request.num_nodes * request.devices == int(variables["SLURM_NTASKS"])
    task = variables | {"SLURM_STEP_ID": "0", "SLURM_LOCALID": "0", "SLURM_PROCID": "0"}
    check_cluster(arguments, task)
    check_devices(request.devices, task)
    assert arguments[:3] == ["--config", RECIPE, "--data.seed=3"]


def resolved(arguments: list[str], capsys) -> dict:
    from fullscale.fit import main

    with pytest.raises(SystemExit) as left:
        main([*arguments, "--print_config"])
    assert left.value.code in {0, None}
    return yaml.safe_load(capsys.readouterr().out)


@pytest.mark.parametrize("path", SBATCH, ids=lambda path: path.name)
def test_the_trainer_takes_a_jobs_flags_and_a_requeued_job_finds_its_checkpoints(
    path, tmp_path, capsys
):
    variables = slurm_variables(directives(path))
    words = started(path, "srun", tmp_path, "--config", RECIPE, CHECKPOINTS="/scratch", **variables)
    settings = resolved(words[words.index("fullscale.fit") + 1 :], capsys)
    assert settings["trainer"]["num_nodes"] == 64
    assert settings["trainer"]["devices"] in {8, "8"}
    # The job's number stays when it is requeued.
    assert settings["checkpoint"]["folder"] == "/scratch/4711"
    assert settings["checkpoint"]["resume"] == "auto"
    assert settings["checkpoint"]["requeue"] == "usr1_or_term"
    assert settings["data"]["global_batch_size"] == 32768


def test_torchrun_starts_what_its_flags_say(tmp_path, capsys):
    variables = {"NODES": "2", "NODE": "1", "MASTER": "host-0", "DEVICES": "4"}
    words = started(LAUNCH / "torchrun.sh", "torchrun", tmp_path, "--config", RECIPE, **variables)
    start = words.index("fullscale.fit")
    own = dict(zip(words[: start - 1 : 2], words[1 : start - 1 : 2], strict=True))
    assert own == {
        "--nnodes": "2",
        "--nproc-per-node": "4",
        "--node-rank": "1",
        "--master-addr": "host-0",
        "--master-port": "29500",
    }
    arguments = words[start + 1 :]
    worker = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}
    check_cluster(arguments, worker)
    check_devices(read_request(arguments).devices, worker)
    assert resolved(arguments, capsys)["trainer"]["num_nodes"] == 2

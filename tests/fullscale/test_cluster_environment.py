import time

import pytest

from fullscale.launch.cluster_environment import (
    check_cluster,
    check_devices,
    read_request,
    speaks_for_node,
)
from models_of_scaling.errors import InputError

TWO_NODES = ["--trainer.num_nodes", "2", "--trainer.devices", "4"]
PLAIN = {"MASTER_ADDR": "a", "MASTER_PORT": "29500", "NODE_RANK": "1"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}
SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_ID": "0",
    "SLURM_NNODES": "2",
    "SLURM_NTASKS": "8",
    "SLURM_NTASKS_PER_NODE": "4",
}


@pytest.mark.parametrize("environ", [PLAIN, TORCHRUN, SLURM], ids=["plain", "torchrun", "slurm"])
def test_a_complete_cluster_environment_passes(environ):
    check_cluster(TWO_NODES, environ)


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, "found no cluster environment"),
        ({}, "torchrun --nnodes 2 --nproc-per-node 4 --node-rank 0 --master-addr"),
        ({}, "-m fullscale.fit --trainer.num_nodes 2 --trainer.devices 4"),
        ({"MASTER_ADDR": "a"}, "found MASTER_ADDR=a, but MASTER_PORT and NODE_RANK must be set"),
        (PLAIN | {"NODE_RANK": "2"}, "NODE_RANK 2 must be 0 ... 1"),
        (PLAIN | {"NODE_RANK": "x"}, "NODE_RANK 'x' must be a whole number"),
        (TORCHRUN | {"WORLD_SIZE": "4"}, "found torchrun with 1 nodes x 4 processes"),
        (
            TORCHRUN | {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"},
            "--trainer.devices 4: found torchrun with 2 processes per node",
        ),
        (SLURM | {"SLURM_NNODES": "3"}, "found SLURM with SLURM_NNODES=3, which must be 2"),
        (SLURM | {"SLURM_NTASKS": "2"}, "found SLURM with SLURM_NTASKS=2, which must be 8"),
        ({"SLURM_JOB_ID": "7"}, "not one of its tasks"),
        (SLURM | {"SLURM_STEP_ID": "4294967291"}, "srun --nodes 2 --ntasks-per-node 4 python"),
        (SLURM | {"SLURM_JOB_NAME": "bash"}, "srun --job-name fit"),
        (
            {k: v for k, v in SLURM.items() if k != "SLURM_NTASKS_PER_NODE"},
            "SLURM_NTASKS_PER_NODE is missing",
        ),
    ],
)
def test_an_incomplete_cluster_is_refused_with_what_was_found_and_the_launch_line(environ, words):
    with pytest.raises(InputError) as caught:
        check_cluster(TWO_NODES, environ)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_torchrun_with_two_nodes_is_refused_where_the_run_asks_for_one():
    with pytest.raises(InputError, match="give --trainer.num_nodes 2"):
        check_cluster([], TORCHRUN)


def test_one_node_and_questions_about_flags_need_no_cluster():
    for arguments in ([], ["--trainer.num_nodes=1"], [*TWO_NODES, "--print_config"], ["--help"]):
        check_cluster(arguments, {})


def test_nodes_are_read_from_flags_and_files_and_the_later_one_wins(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("trainer: {num_nodes: 64, devices: 8}\n")
    for arguments, nodes in [
        (["--config", str(recipe)], 64),
        ([f"--config={recipe}"], 64),
        (["-c", str(recipe), "--trainer.num_nodes=2"], 2),
        (["--trainer.num_nodes", "2", "--config", str(recipe)], 64),
        (["--trainer", "{num_nodes: 3}"], 3),
        (["--config", str(tmp_path / "missing.yaml")], 1),
    ]:
        assert read_request(arguments).num_nodes == nodes
    assert read_request(["--config", str(recipe)]).devices == 8
    assert read_request(["--trainer.devices=[0,1]"]).devices == 2
    assert read_request(["--trainer.devices=auto"]).devices is None


def test_devices_must_be_the_processes_that_the_launcher_started():
    check_devices(4, TORCHRUN)
    check_devices(4, SLURM)
    with pytest.raises(InputError, match="torchrun started 4 processes"):
        check_devices(1, TORCHRUN)
    with pytest.raises(InputError, match="SLURM started 4 processes"):
        check_devices(1, SLURM)


def test_one_process_of_each_node_speaks():
    assert speaks_for_node({})
    assert speaks_for_node({"LOCAL_RANK": "0"})
    assert not speaks_for_node({"LOCAL_RANK": "1"})
    assert not speaks_for_node({"SLURM_LOCALID": "3"})


def test_64_nodes_without_a_cluster_are_refused_within_5_s_in_one_line(finish, command, tmp_path):
    start = time.perf_counter()
    done = finish([*command, "--trainer.num_nodes", "64", "--record.folder", str(tmp_path / "t")])
    assert time.perf_counter() - start < 5
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "torchrun --nnodes 64" in done.stderr
    assert not done.stdout
    assert not list(tmp_path.iterdir())

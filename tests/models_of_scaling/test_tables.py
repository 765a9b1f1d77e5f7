"""Every table that the package reads has the same idea of a number, and says the same of others."""

import pytest

from models_of_scaling.errors import InputError


def _read_epochs(path):
    from models_of_scaling.fixed_epochs.accuracy_table import read_accuracy_table

    read_accuracy_table(path)


def _read_seconds(path):
    from models_of_scaling.machine.throughput import read_throughput

    read_throughput(path)


def _read_knees(path):
    from models_of_scaling.backtest.evidence_table import read_evidence

    read_evidence(path, ["bert"])


def _read_rungs(path):
    from models_of_scaling.transfer.ladder_table import read_ladder

    read_ladder(path, ["width"])


def _read_distances(path):
    from models_of_scaling.diffusion.walk_table import WalkChoice, read_walks

    read_walks(path, WalkChoice())


def _read_metrics(path):
    from models_of_scaling.run_metrics import read_run_metrics

    read_run_metrics(path)


@pytest.mark.parametrize(
    ("read", "header", "cells"),
    [
        (_read_epochs, "batch_size,accuracy", "CELL,0.9"),
        (
            _read_seconds,
            "nodes,devices,per_device_batch_size,seconds_per_step",
            "1,1,CELL,2",
        ),
        (_read_knees, "workload,critical_batch_size,knee_factor", "bert,CELL,2"),
        (_read_rungs, "workload,width", "mlp,CELL"),
        (_read_distances, "steps,distance", "CELL,1"),
        (_read_metrics, "steps,train_loss", "1,CELL"),
    ],
)
@pytest.mark.parametrize(("cell", "hint"), [("1_024", "without separators: 1024"), ("4k", "4096?")])
def test_every_table_has_the_same_idea_of_a_number(tmp_path, read, header, cells, cell, hint):
    path = tmp_path / "table.csv"
    path.write_text(f"{header}\n{cells.replace('CELL', cell)}\n")
    with pytest.raises(InputError) as refused:
        read(path)
    said = str(refused.value)
    assert "row 1 (line 2), column" in said
    assert cell in said and hint in said and "\n" not in said

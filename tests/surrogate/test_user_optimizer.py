"""An update rule of one's own in a sweep: the page's example, found, refused, run."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models_of_scaling.errors import InputError
from models_of_scaling.trials import read_trials
from surrogate.engines import run_stage
from surrogate.run_sweep import SweepSettings, run_sweep
from surrogate.search import next_stage
from surrogate.user_optimizer import check_same_source
from surrogate.workloads import get_workload

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "workloads.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"`my_rules.py`:\n\n```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def example(tmp_path, monkeypatch):
    """Write the page's example, changed, as a module of its own; returns the rule's path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    written = []

    def write(old="", new=""):
        assert old in EXAMPLE
        name = f"rules_{tmp_path.name}_{len(written)}"
        written.append(name)
        (tmp_path / f"{name}.py").write_text(EXAMPLE.replace(old, new, 1) if old else EXAMPLE)
        return f"{name}.SIGN"

    return write


def study(optimizer, path):
    return SweepSettings(workload="digits", optimizer=optimizer, out=path, quick=True).plan.study


def test_a_rule_of_ones_own_brings_its_search_space_to_any_workload(example):
    path = example()
    space = get_workload("digits").space(path)
    assert [each.name for each in space.dimensions] == ["learning_rate", "momentum"]
    assert space.points(4, seed=(0,))[0].keys() == {"learning_rate", "momentum"}
    with pytest.raises(InputError, match="has no search space on noisy_quadratic"):
        get_workload("noisy_quadratic").space(path)


def test_another_source_is_another_study(example, tmp_path):
    first, second = example(), example("low=1e-5", "low=0.00001")
    # the name of the module is in the study's too; what follows it is the digest of all else
    digests = {study(each, tmp_path).rsplit("-", 1)[1] for each in (first, second)}
    assert len(digests) == 2
    assert study(first, tmp_path) == study(first, tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("SIGN_SPACE =", "SPACE =", "SIGN_SPACE is missing in"),
        ('name="learning_rate", low', 'name="rate", low', "without learning_rate"),
        ('Dimension(name="momentum"', 'Dimension(name="beta1"', "sign takes learning_rate"),
        ("import torch\n", "import torch\nimport no_such_module\n", "importing rules_"),
    ],
)
def test_what_is_wrong_with_a_rules_space_is_one_line(example, old, new, message):
    path = example(old, new)
    with pytest.raises(InputError) as refused:
        get_workload("digits").space(path)
    text = str(refused.value)
    assert message in text and path in text and "\n" not in text


def test_a_worker_with_another_version_of_the_file_refuses_to_run_it(example, tmp_path):
    path = example()
    plan = SweepSettings(workload="digits", optimizer=path, out=tmp_path, quick=True).plan
    stage = next_stage(plan, 1024, [])
    check_same_source(path, plan.space)
    file = tmp_path / f"{path.split('.')[0]}.py"
    file.write_text(file.read_text() + "\n# changed since\n")
    with pytest.raises(InputError, match=f"{path}: its file is .* here: another version"):
        next(run_stage(plan, 1024, stage))


@pytest.mark.slow
def test_a_sweep_by_ones_own_rule_reaches_its_target(example, tmp_path):
    settings = SweepSettings(
        workload="digits", optimizer=example(), out=tmp_path / "out", batch_sizes=(1024,),
        trials=4, repeats=1,
    )  # fmt: skip
    with ThreadPoolExecutor(1) as executor:
        summary = run_sweep(settings, progress=False, workers=executor)
    trials = read_trials(summary.trials_folder).to_pandas()
    repeats = trials[trials["phase"] == "repeat"]
    assert set(trials["optimizer"]) == {settings.optimizer}
    assert list(repeats["status"]) == ["reached"]

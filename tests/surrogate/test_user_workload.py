import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from models_of_scaling.errors import InputError
from models_of_scaling.trials import read_trials
from surrogate.protocol_flags import RunChoice
from surrogate.run_sweep import SweepFailedError, SweepSettings, run_sweep
from surrogate.workloads import get_workload

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "workloads.md").read_text(encoding="utf-8")
EXAMPLE = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]


@pytest.fixture
def example(tmp_path, monkeypatch):
    """Write the page's example, changed, as a module of its own; returns the class's path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    written = []

    def write(old="", new="", *, stem="rings"):
        assert old in EXAMPLE
        name = f"{stem}_{tmp_path.name}_{len(written)}"
        written.append(name)
        (tmp_path / f"{name}.py").write_text(EXAMPLE.replace(old, new, 1) if old else EXAMPLE)
        return f"{name}.Rings"

    return write


def refusal(name):
    with pytest.raises(InputError) as refused:
        workload = get_workload(name)
        workload.check_data()
    text = str(refused.value)
    assert "\n" not in text
    return text


@pytest.mark.slow
def test_the_pages_example_is_sweepable_by_the_command_in_worker_processes(tmp_path):
    (tmp_path / "my_rings.py").write_text(EXAMPLE)
    words = "--workload my_rings.Rings --out sweep --trials 4 --repeats 1 --batch-sizes 64,512"
    done = subprocess.run(
        [sys.executable, "-m", "surrogate.sweep", *words.split(), "--workers", "1"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    trials = read_trials(tmp_path / "sweep" / "trials").to_pandas()
    assert set(trials["workload"]) == {"my_rings.Rings@1"}
    assert set(trials["dataset"]) == {"rings"} and set(trials["num_parameters"]) == {82}
    assert trials["study"].iloc[0].startswith("my_rings.Rings@1-momentum-")
    assert "reached" in set(trials["status"])


def test_a_class_becomes_a_workload_with_its_numbers(example):
    path = example()
    workload = get_workload(path)
    assert workload.name == f"{path}@1" and get_workload(workload.name).name == workload.name
    assert workload.batch_sizes == (16, 64, 256, 512) and workload.max_batch_size == 512
    assert RunChoice().budget(workload).steps(64) == 200 + 625
    assert str(workload.target) == "train_loss<=0.2"
    workload.check_data()
    assert workload.load() is workload.load()


def test_a_network_depends_on_the_seed_and_leaves_the_random_state_alone(example):
    make_network = get_workload(example()).make_network
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = (make_network(seed)[1].weight for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_without_a_version_the_files_content_is_the_identity(example, tmp_path):
    one = get_workload(example('    version = "1"\n', ""))
    other = get_workload(example('    version = "1"\n', "    # a comment\n"))
    assert re.fullmatch(r".*\.Rings@[0-9a-f]{8}", one.name)
    assert one.name.partition("@")[2] != other.name.partition("@")[2]


def test_a_worker_with_another_version_refuses(example):
    assert "another version of its file" in refusal(f"{example()}@2")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("    def budget(", "    def budgets(", "has no method budget(); it needs data, network"),
        ("import numpy as np", "import numpy_of_nowhere", "failed: No module named 'numpy_of_n"),
        ("import numpy as np", "import numpy as np\n1 / 0", "failed: ZeroDivisionError"),
        ("return 200, 40_000", "return 200", "budget() returned int, not a tuple"),
        ("return 200, 40_000", "return 200, 0", "budget() returned (200, 0), not at least 2"),
        ('"train_loss<=0.2"', "3", "target() returned int, not a str such as"),
        ('"train_loss<=0.2"', '"loss<=0.2"', "target() failed: InputError: target: metric 'loss'"),
        ("256, 512)", "256, 513)", "to at most the 512 training examples"),
        ("(16, 64,", "(64, 16,", "they must increase"),
        ("return ImageArrays(", "return dict(", "data() returned dict, not ImageArrays"),
        ("astype(np.float32)", "astype(np.float64)", "train_images is float64 with 4 dimensions"),
        ("% 2\n", "% 3\n", "train_labels are not in 0..1"),
        (
            "nn.Linear(16, 2)",
            "nn.Linear(16, 3)",
            "network() gives [2, 3] for 2 examples, not [2, 2]",
        ),
        ("nn.Linear(2, 16)", "nn.Linear(3, 16)", "network() failed: RuntimeError"),
        ('version = "1"', "version = 1.5", "version 1.5 must be 1 to 32 letters"),
        ("nn.Tanh()", "nn.Dropout()", "network() draws random numbers in training"),
        (
            "nn.Sequential(nn.Flatten(), nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))",
            "nn.Flatten()",
            "network() has no parameter",
        ),
        (
            "nn.Linear(16, 2))",
            "nn.Linear(16, 2)).requires_grad_(False)",
            "parameter '1.weight' wants no gradient",
        ),
        (
            "nn.Tanh()",
            "type('Odd', (nn.Module,), {'forward': lambda self, x: x * x.sum().item()})()",
            "can't be trained as one of many (torch.func.vmap): RuntimeError: ",
        ),
        ("train_labels=labels[:512]", "train_labels=list(labels[:512])", "train_labels is list"),
        (
            "validation_images=images[512:]",
            "validation_images=images[512:, :, :, :1]",
            "validation_images are of shape [1, 1, 1], not [1, 1, 2]",
        ),
        (
            "validation_images=images[512:]",
            "validation_images=images[:0]",
            "validation_labels is of shape [512], for 0 images",
        ),
        ("import numpy as np", "import sys\n\nsys.exit(3)", "failed: SystemExit: 3"),
        ("class Rings:", "Rings = 3\nclass Other:", "Rings is no class but int"),
        ("class Rings:", "class Circles:", "has no Rings"),
    ],
)
def test_what_is_wrong_with_a_class_is_one_line(example, old, new, message):
    path = example(old, new)
    text = refusal(path)
    assert message in text and path in text


def test_a_module_that_is_not_there_is_named_with_the_folder_searched():
    text = refusal("no_such_module.Thing")
    assert "no module 'no_such_module' in" in text and "PYTHONPATH" in text


def test_spaces_of_its_own_replace_the_default_ones(example):
    assert set(get_workload(example()).spaces) >= {"momentum", "lars"}
    own = """    def search_spaces(self):
        from surrogate.search_space import Dimension, SearchSpace

        rate = Dimension(name="learning_rate", low=0.01, high=1.0)
        return {"momentum": SearchSpace(dimensions=(rate,), fixed={"momentum": 0.9})}

    def budget("""
    workload = get_workload(example("    def budget(", own))
    assert list(workload.spaces) == ["momentum"]
    assert workload.space("momentum").dimensions[0].high == 1.0
    wrong = own.replace('SearchSpace(dimensions=(rate,), fixed={"momentum": 0.9})', "rate")
    assert "has Dimension at 'momentum'" in refusal(example("    def budget(", wrong))
    for old, new, message in [
        ('name="learning_rate"', 'name="rate"', "searches ['rate'], without learning_rate"),
        ('fixed={"momentum"', 'fixed={"beta1"', "at 'momentum': momentum takes learning_rate, "),
        ('fixed={"momentum"', 'fixed={"learning_rate"', "has a number twice"),
        ('{"momentum": Search', '{"momentun": Search', "'momentun' is not one of sgd, momentum"),
        ('{"momentum": SearchSpace(dimensions=(rate,), fixed={"momentum": 0.9})}', "{}", "none"),
    ]:
        assert old in own
        assert message in refusal(example("    def budget(", own.replace(old, new)))


@pytest.mark.slow
def test_what_a_network_raises_in_a_worker_is_one_line(example, tmp_path):
    # Two examples go through, and sixteen do not.
    old = "nn.Tanh()"
    new = "type('Odd', (nn.Module,), {'forward': lambda self, x: x if len(x) < 16 else x @ x})()"
    path = example(old, new)
    settings = SweepSettings(
        workload=path, out=tmp_path / "out", batch_sizes=(16,), trials=2, repeats=1
    )
    with ThreadPoolExecutor(1) as executor, pytest.raises(SweepFailedError) as failed:
        run_sweep(settings, progress=False, workers=executor)
    text = str(failed.value)
    assert text.startswith(f"--workload {path}@1, batch size 16: RuntimeError: ")
    assert "\n" not in text


def test_data_with_a_value_that_is_not_finite_are_refused(example):
    path = example("reshape(1024, 1, 1, 2)", "reshape(1024, 1, 1, 2) * np.inf")
    assert "not finite float32" in refusal(path)
    assert np.isfinite(get_workload(example()).load().train_images).all()

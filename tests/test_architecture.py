"""The house stands: import arrows, light imports, file sizes, names and docstring-only inits."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("models_of_scaling", "fullscale", "surrogate")
MAY_NOT_IMPORT = {
    "models_of_scaling": {"torch", "torchvision", "lightning", "fullscale", "surrogate"},
    "fullscale": {"surrogate"},
}
# Light edges, so that thousands of processes start quickly (docs/architecture.md).
STANDARD_LIBRARY_AND_NUMPY = ("batch_layout.py", "durations.py", "schedules.py")
MAY_IMPORT_LIGHTNING = (
    "fit.py",
    "train.py",
    "cli.py",
    "lean_module.py",
    "growing_module.py",
    "measured_module.py",
    "module.py",
    "callbacks/*.py",
    "data/modules.py",
    "strategies.py",
)
MAY_IMPORT_MATPLOTLIB = ("models_of_scaling/plots/", "models_of_scaling/report.py")
FILE_NAMES_THAT_SAY_NOTHING = {"utils", "helpers", "common", "misc"}
HARD_LIMIT_LINES = 400


def python_files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported_modules(path: Path) -> set[str]:
    """Every module a file names in an import, lazy ones too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module)
    return found


def imported_roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported_modules(path)}


@pytest.mark.parametrize("package", MAY_NOT_IMPORT)
def test_an_import_never_runs_back(package):
    for path in python_files(package):
        forbidden = imported_roots(path) & MAY_NOT_IMPORT[package]
        assert not forbidden, f"{path.relative_to(ROOT)} imports {sorted(forbidden)}"


def test_matplotlib_is_imported_by_plots_and_report_only():
    for package in PACKAGES:
        for path in python_files(package):
            if "matplotlib" in imported_roots(path):
                place = path.relative_to(ROOT).as_posix()
                assert place.startswith(MAY_IMPORT_MATPLOTLIB), place


@pytest.mark.parametrize("name", STANDARD_LIBRARY_AND_NUMPY)
def test_batch_arithmetic_needs_the_standard_library_and_numpy_only(name):
    allowed = set(sys.stdlib_module_names) | {"numpy", "fullscale", "models_of_scaling"}
    path = ROOT / "fullscale" / name
    assert imported_roots(path) <= allowed
    ours = {m for m in imported_modules(path) if m.split(".")[0] in PACKAGES}
    light = {f"fullscale.{Path(n).stem}" for n in STANDARD_LIBRARY_AND_NUMPY}
    assert ours <= light | {"models_of_scaling.errors"}


def test_lightning_is_imported_by_the_trainer_rooms_only():
    base = ROOT / "fullscale"
    allowed = {path for pattern in MAY_IMPORT_LIGHTNING for path in base.glob(pattern)}
    for path in python_files("fullscale"):
        if "lightning" in imported_roots(path):
            assert path in allowed, f"{path.relative_to(ROOT)} imports lightning"


def lightning_free(module: str) -> bool:
    path = ROOT / (module.replace(".", "/") + ".py")
    return not path.exists() or not (
        "lightning" in imported_roots(path)
        or any(
            not lightning_free(m)
            for m in imported_modules(path)
            if m.startswith("fullscale.") and m != module
        )
    )


def test_the_surrogate_uses_the_lightning_free_parts_of_fullscale_only():
    for path in python_files("surrogate"):
        assert "lightning" not in imported_roots(path)
        for module in imported_modules(path):
            if module.startswith("fullscale."):
                assert lightning_free(module), f"{path.name} reaches lightning by {module}"


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("models_of_scaling.trials", "torch statsmodels sklearn matplotlib pandas scipy"),
        ("models_of_scaling.__main__", "torch statsmodels sklearn matplotlib pandas scipy pyarrow"),
        ("fullscale.batch_layout", "torch lightning torchvision"),
    ],
)
def test_importing_a_light_module_loads_nothing_heavy(module, heavy):
    code = (
        f"import sys, {module}; print(*sorted(set({heavy!r}.split()) & set(sys.modules)), end='')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""


@pytest.mark.parametrize("package", PACKAGES)
def test_files_are_short_named_for_a_thing_and_say_what_room_they_are(package):
    for path in python_files(package):
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= HARD_LIMIT_LINES, path
        assert path.stem.strip("_") not in FILE_NAMES_THAT_SAY_NOTHING, path
        assert ast.get_docstring(ast.parse(text)), f"{path} has no docstring"


@pytest.mark.parametrize("package", PACKAGES)
def test_an_init_holds_a_docstring_and_nothing_else(package):
    for path in (ROOT / package).rglob("__init__.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body[1:]
        # The exception installs the torchvision guard: two statements (fullscale/__init__.py).
        allowed = 2 if path == ROOT / "fullscale" / "__init__.py" else 0
        assert len(body) <= allowed, path


@pytest.mark.parametrize(
    "path", ["models_of_scaling/__main__.py", "fullscale/fit.py", "surrogate/sweep.py"]
)
def test_an_entry_point_parses_calls_and_writes_within_60_lines(path):
    assert len((ROOT / path).read_text(encoding="utf-8").splitlines()) <= 60


def test_reference_twins_are_imported_by_tests_only():
    for package in PACKAGES:
        for path in python_files(package):
            if path.parent.name != "reference":
                twins = [n for n in imported_modules(path) if "optimizers.reference" in n]
                assert not twins, path


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_ships_its_types(package):
    assert (ROOT / package / "py.typed").exists()

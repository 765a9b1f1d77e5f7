import subprocess
import sys

import pytest

from fullscale import torchvision_guard


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.slow
def test_torchvision_and_its_resnet_can_be_imported_after_fullscale():
    done = python(
        "import fullscale, torch; from torchvision.models import resnet50;"
        "print(tuple(resnet50(num_classes=3)(torch.zeros(2, 3, 64, 64)).shape))"
    )
    assert done.stdout.strip() == "(2, 3)", done.stderr


def test_importing_fullscale_loads_neither_torch_nor_torchvision():
    done = python("import sys, fullscale; print({'torch', 'torchvision'} & set(sys.modules))")
    assert done.stdout.strip() == "set()"


def test_the_guard_is_installed_once_and_not_after_torchvision(monkeypatch):
    guards = []
    monkeypatch.setattr(sys, "meta_path", guards)
    monkeypatch.setitem(sys.modules, "torchvision", sys)
    torchvision_guard.install_guard()
    assert guards == []
    monkeypatch.delitem(sys.modules, "torchvision")
    torchvision_guard.install_guard()
    torchvision_guard.install_guard()
    assert len(guards) == 1


def test_a_library_that_loads_gets_no_schemas_of_ours(monkeypatch, tmp_path):
    import torch

    (tmp_path / "_C.so").touch()
    loaded = []
    monkeypatch.setattr(torch.ops, "load_library", loaded.append)
    monkeypatch.setattr(torchvision_guard, "_fragments", [])
    torchvision_guard._declare_missing_operators(tmp_path)  # noqa: SLF001 - its own test
    assert loaded == [str(tmp_path / "_C.so")]
    assert torchvision_guard._fragments == []  # noqa: SLF001

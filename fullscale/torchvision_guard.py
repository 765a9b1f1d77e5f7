"""Lets torchvision be imported beside a CPU-only torch.

The torchvision wheel of the package index links CUDA. With a CPU-only torch its compiled
operators can't be loaded, and `import torchvision` ends in "operator torchvision::nms does not
exist", which takes `import lightning` (through torchmetrics) with it. The import only wants the
operators' schemas, to register shape functions for them, so the guard declares these when, and only
when, the compiled library can't be loaded. Data sets, transforms and models then work;
`torchvision.ops.nms` and the JPEG functions of `torchvision.io` do not.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
# A fragment's operators live as long as the object: keep it.
_fragments: list[object] = []


def _declare_missing_operators(package: Path) -> None:
    """Declare the schemas that torchvision's import asks for, where its library can't be loaded."""
    import torch

    try:
        for library in package.glob("_C*.so"):
            torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]
    except OSError:
        fragment = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for schema in _SCHEMAS:
            fragment.define(schema)  # type: ignore[no-untyped-call]
        _fragments.append(fragment)


class _TorchvisionGuard(importlib.abc.MetaPathFinder):
    """Acts once, on the first import of torchvision, then leaves the path."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Prepare the operators; the ordinary finders then find the module."""
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            spec = importlib.util.find_spec("torchvision")
            if spec is not None and spec.origin is not None:
                _declare_missing_operators(Path(spec.origin).parent)
        return None


def install_guard() -> None:
    """Install the guard, unless torchvision is imported already or the guard is there."""
    if "torchvision" in sys.modules:
        return
    if not any(isinstance(finder, _TorchvisionGuard) for finder in sys.meta_path):
        sys.meta_path.insert(0, _TorchvisionGuard())

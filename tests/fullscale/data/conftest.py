"""Small files of each layout, and the command that converts a tree of pictures."""

import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PREPARE = [sys.executable, "-m", "fullscale.data.prepare"]


def save_picture(path: Path, rng: np.random.Generator, *, width: int, height: int) -> None:
    """A smooth picture, as JPEG or PNG by its name: noise would be another one after JPEG."""
    coarse = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=92) if path.suffix != ".png" else picture.save(path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Seven training and four validation pictures for each of three classes, one of them a PNG."""
    rng = np.random.default_rng(0)
    root = tmp_path / "tree"
    for split, count in (("train", 7), ("val", 4)):
        for name in ("cat", "dog", "eel"):
            for number in range(count):
                ending = "png" if (name, number) == ("dog", 0) else "JPEG"
                path = root / split / name / f"{name}_{split}_{number}.{ending}"
                save_picture(path, rng, width=60 + 9 * number, height=80 - 5 * number)
    return root


def idx_content(array: np.ndarray) -> bytes:
    """An array of uint8 as the content of an idx file."""
    sizes = np.array(array.shape, dtype=">u4").tobytes()
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


@pytest.fixture
def idx_bytes() -> Callable[[np.ndarray], bytes]:
    """What an idx file of an array holds."""
    return idx_content


@pytest.fixture
def write_idx_set() -> Callable[..., dict[str, np.ndarray]]:
    """Write four idx files, the images of a class brighter than those of the one before."""

    def write(
        folder: Path,
        *,
        num_train: int = 60,
        num_test: int = 20,
        side: int = 6,
        zipped: bool = False,
    ) -> dict[str, np.ndarray]:
        folder.mkdir(parents=True)
        rng = np.random.default_rng(0)
        written: dict[str, np.ndarray] = {}
        for split, number in (("train", num_train), ("t10k", num_test)):
            labels = (np.arange(number) % 10).astype(np.uint8)
            images = rng.integers(0, 60, (number, side, side), dtype=np.uint8)
            written[f"{split}-images-idx3-ubyte"] = images + 19 * labels[:, None, None]
            written[f"{split}-labels-idx1-ubyte"] = labels
        for name, array in written.items():
            content = idx_content(array)
            if zipped:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / name).write_bytes(content)
        return written

    return write


@pytest.fixture
def prepare(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command in this process: (exit code, standard output, standard error)."""

    def run(*words: object) -> tuple[int, str, str]:
        from fullscale.data.prepare import main

        arguments = [str(word) for word in words]
        if "index" not in arguments and "--workers" not in arguments:
            arguments += ["--workers", "1"]
        try:
            code = main(arguments)
        except SystemExit as left:
            code = int(left.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def start_prepare() -> Callable[..., "subprocess.Popen[str]"]:
    """Start the command as a process of its own."""

    def start(*words: object) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*PREPARE, *(str(word) for word in words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start

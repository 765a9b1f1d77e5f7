"""Writes tiny files in the layouts of the official data sets."""

import gzip

import numpy as np


def idx_bytes(array):
    """An array of uint8 as the content of an idx file."""
    sizes = np.array(array.shape, dtype=">u4").tobytes()
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def write_idx_set(folder, *, num_train=60, num_test=20, side=6, zipped=False):
    """Write four idx files; label k's images are brighter than label k - 1's."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    written = {}
    for split, number in (("train", num_train), ("t10k", num_test)):
        labels = (np.arange(number) % 10).astype(np.uint8)
        images = rng.integers(0, 60, (number, side, side), dtype=np.uint8)
        images += 19 * labels[:, None, None]
        written |= {f"{split}-images-idx3-ubyte": images, f"{split}-labels-idx1-ubyte": labels}
    for name, array in written.items():
        content = idx_bytes(array)
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return written

"""Eigenvectors of symmetric matrices, also where a run has diverged.

LAPACK ends in an error where a matrix has entries that are no numbers (for some sizes), and then
takes down a run that should be recorded as diverged, or all members of a population for one.
"""

import torch
from torch import Tensor


def symmetric_eigen(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues, rising, and eigenvectors in columns.

    Args:
        matrix: symmetric, shape (N, N).

    Returns:
        Values of shape (N,) and vectors of shape (N, N); values that are no numbers where an entry
        is none, or is infinite.
    """
    is_finite = torch.isfinite(matrix).all()
    eye = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    values, vectors = torch.linalg.eigh(torch.where(is_finite, matrix, eye))
    return torch.where(is_finite, values, torch.full_like(values, torch.nan)), vectors

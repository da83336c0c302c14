"""Every promise that `compress` makes on the 23 families of the thesis is kept or warned about."""

import re

import numpy as np
import pytest

from skhmat.datasets import load_matrix
from skhmat.linalg import KernelMatrix
from skhmat.linalg._gofmm.distances import DISTANCES, POINT_DISTANCES

from ..linalg.matrices import as_dense, compress_recorded

NAMES = [f"K{i:02d}" for i in range(1, 19)] + [f"G{i:02d}" for i in range(1, 6)]
N = 1024


def distances(matrix):
    has_points = matrix.points is not None
    return [name for name in DISTANCES if has_points or name not in POINT_DISTANCES]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NAMES)
def test_promises_are_kept_or_warned_about(name, dtype, global_random_seed):
    """The true error, in the Frobenius norm, uses no random vectors."""
    matrix = load_matrix(name, N, dtype, random_state=global_random_seed)
    exact = as_dense(matrix.K).astype(np.float64)
    points = None if isinstance(matrix.K, KernelMatrix) else matrix.points
    broken = []
    for distance in distances(matrix):
        for rtol in (1e-2, 1e-3, 1e-5):
            H, warning = compress_recorded(
                matrix.K,
                rtol=rtol,
                leaf_size=64,
                distance=distance,
                points=points,
                random_state=global_random_seed,
            )
            error = 0.0 if H.is_dense else true_error(H, exact)
            promised = rtol if warning is None else 2 * figure_in(warning)
            if not error <= promised:
                broken.append((distance, rtol, error, H.error_estimate_, warning))
    assert not broken


def true_error(H, exact):
    product = H @ np.eye(N, dtype=H.dtype)
    return np.linalg.norm(product - exact) / np.linalg.norm(exact)


def figure_in(warning):
    return float(re.search(r"relative error of (\S+),", str(warning.message)).group(1))

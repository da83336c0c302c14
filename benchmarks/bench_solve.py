"""Solving, and the inverse

*Inverse*: the grid of the thesis [1]_, table 6.9, ||K K^-1 - I|| in the Frobenius norm divided by
sqrt(N), over all columns: K is the exact matrix plus a shift, and K^-1 the factorization of the
compressed one plus the shift. The thesis states only a Gaussian kernel, normal points in the plane,
and a tolerance of 1e-5; assumed are the standard normal distribution, bandwidth 1 (given as an
array, as for table 6.8), rtol=1e-5, ``n_neighbors=64``, the HSS format and float64. Its root mean
square is taken to be that norm, and its shift, which it does not give, to be one for all cells. K
alone is singular to rounding; the shift must exceed the error of compression, and the error of the
inverse is about the quotient of the two. So there are, for each N, the least shift of every cell, a
power of ten times ||K||_2, with which the compressed matrix is definite, and the error with it; the
errors with the largest of these shifts; and, if some are above the table's, with the least shift
with which none is. Targets are the figures of the table, but no more than 1e-4 from leaf size 32
and rank 32 on. Marked w: compression gave a warning; d: the dense matrix was kept, and its
factorization has no more than rounding errors.

*Direct*: HSS format, float64, with ten times the least such shift: with the least one the matrix is
all but singular. Medians of runs in turn; the residual is the largest of 64 right-hand sides,
against the compressed matrix. *Iterative*: four right-hand sides, to the default tolerance 1e-8.
The residual is measured again, with the exact matrix, or in the FMM format with the compressed one.
That is not definite where the error of compression exceeds the shift; then MINRES is tried, without
a target. *Log-determinant*: against that of the dense matrix, by LU.
"""

import time
import warnings
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from common import (
    Figure,
    at_most,
    compress_noting,
    describe_form,
    describe_ranks,
    interleaved,
    main,
    normal_points,
    normal_vectors,
    number,
)
from scipy.sparse.linalg import eigsh

from skhmat.linalg import KernelMatrix, logdet

# Errors of Table 6.9: by N and largest rank, for LEAF_SIZES.
LEAF_SIZES = (8, 32, 128, 256, 512, 1024)
THESIS = {
    1024: {
        8: (3.75e-2, 1.85e-2, 1.57e-2, 1.49e-2, 1.21e-2),
        32: (3.61e-5, 3.60e-5, 4.00e-5, 5.16e-5, 7.09e-5),
        128: (6.43e-5, 6.55e-5, 6.61e-5, 6.60e-5, 7.41e-5),
        256: (3.31e-4, 3.31e-4, 3.31e-4, 3.31e-4, 3.31e-4),
    },
    2048: {
        8: (5.93e-2, 2.71e-2, 2.22e-2, 1.84e-2, 1.57e-2, 1.32e-2),
        32: (3.76e-5, 3.67e-5, 4.06e-5, 5.30e-5, 7.33e-5, 1.04e-4),
        128: (6.87e-5, 6.97e-5, 6.99e-5, 6.93e-5, 7.73e-5, 1.01e-4),
        256: (9.38e-5, 9.41e-5, 9.28e-5, 9.33e-5, 9.23e-5, 1.03e-4),
        512: (1.28e-4, 1.27e-4, 1.29e-4, 1.28e-4, 1.29e-4, 1.29e-4),
        1024: (6.55e-4, 6.55e-4, 6.55e-4, 6.55e-4, 6.55e-4, 6.55e-4),
    },
    4096: {
        8: (8.58e-2, 4.00e-2, 3.21e-2, 3.02e-2, 3.06e-2, 2.21e-2),
        32: (3.73e-5, 3.74e-5, 4.14e-5, 5.37e-5, 7.25e-5, 1.05e-4),
        128: (7.15e-5, 7.07e-5, 7.14e-5, 7.03e-5, 7.89e-5, 1.01e-4),
        256: (9.87e-5, 9.89e-5, 9.87e-5, 9.87e-5, 9.95e-5, 1.07e-4),
        512: (1.33e-4, 1.33e-4, 1.33e-4, 1.33e-4, 1.33e-4, 1.33e-4),
    },
}
GRID_RTOL = 1e-5
GRID_LIMIT = 1e-4  # for leaf sizes and ranks from GRID_FROM on
GRID_FROM = 32
SHIFTS = [10.0**exponent for exponent in range(-16, 2)]  # times the norm
DIRECT_LIMIT = 1e-10
SAFE = 10  # shifts are this many times the least that makes the matrix definite
ITERATIVE_LIMIT = 1e-8
LOGDET_LIMIT = 1e-6
N_VECTORS = 64
N_SYSTEMS = 4
DENSE_CHOLESKY = 8192  # the largest dense matrix to factorize for comparison
# Name, dimension, bandwidth and the promise of the HSS format.
DIRECT_CASES = (("3-D, bandwidth 1", 3, 1.0, 1e-5), ("6-D, bandwidth 4", 6, 4.0, 1e-3))
ITERATIVE_CASES = (("6-D, bandwidth 2", 6, 2.0, 1e-3), ("3-D, bandwidth 1", 3, 1.0, 1e-3))
ITERATIVE_SHIFTS = (1e-6, 1e-4, 1e-2, 1.0)
FMM_BUDGET = 0.05
LOGDET_CASES = (("2-D, bandwidth 1", 2, 1.0), ("3-D, bandwidth 2", 3, 2.0))
LOGDET_RTOL = 1e-9
LOGDET_SHIFTS = (1e-6, 1e-3, 1.0)  # times the norm


def norm(A):
    """Return the 2-norm of a symmetric positive semi-definite operator."""
    v0 = np.ones(A.shape[0], dtype=A.dtype)
    return float(eigsh(A, k=1, tol=1e-3, v0=v0, return_eigenvectors=False)[0])


def least_shift(H, size):
    """Return the least of SHIFTS, relative to `size`, with which H is definite."""
    for shift in SHIFTS:
        try:
            H.factorize(shift * size)
        except np.linalg.LinAlgError:
            continue
        return shift
    raise ValueError("not definite with any shift")


def residual(A, X, shift, B):
    """Return the largest relative residual of the right-hand sides."""
    missed = np.linalg.norm(A @ X + shift * X - B, axis=0)
    return float((missed / np.linalg.norm(B, axis=0)).max())


def timed(function, *args, **options):
    """Return what a function returns, and the seconds it took."""
    start = time.perf_counter()
    result = function(*args, **options)
    return result, time.perf_counter() - start


# ---- the grid of the thesis


class Inverse:
    """The inverse of a compressed matrix, with any shift relative to the norm `size`."""

    def __init__(self, K, H, size):
        self.K, self.H, self.size = K, H, size
        self.least = least_shift(H, size)
        self._errors = {}

    def error(self, shift):
        """Return ||K K^-1 - I||_F / sqrt(N)."""
        if shift not in self._errors:
            n = len(self.K)
            inverse = self.H.factorize(shift * self.size) @ np.eye(n)
            product = self.K @ inverse
            product += shift * self.size * inverse
            product[np.diag_indices(n)] -= 1
            self._errors[shift] = float(np.linalg.norm(product) / np.sqrt(n))
        return self._errors[shift]


@dataclass(frozen=True)
class Cell:
    """One leaf size and largest rank: the inverse, the target of its error, and a note."""

    inverse: Inverse
    limit: float
    note: str


def make_cells(n, max_ranks, size, K):
    """Return a dict by largest rank of dicts by leaf size."""
    cells, dense = {}, None
    for max_rank in max_ranks:
        cells[max_rank] = {}
        for leaf_size, limit in zip(LEAF_SIZES, THESIS[n][max_rank], strict=False):
            options = {"leaf_size": leaf_size, "max_rank": max_rank, "n_neighbors": 64}
            H, warned = compress_noting(K, rtol=GRID_RTOL, budget=0, random_state=0, **options)
            if H.is_dense:  # always the same matrix
                dense = inverse = dense or Inverse(K, H, size)
            else:
                inverse = Inverse(K, H, size)
            if min(leaf_size, max_rank) >= GRID_FROM:
                limit = min(limit, GRID_LIMIT)
            note = "d" if H.is_dense else "w" if warned else ""
            cells[max_rank][leaf_size] = Cell(inverse, limit, note)
    return cells


def grid(n, max_ranks):
    """Return the tables of one N."""
    K = KernelMatrix(normal_points(n, np.float64, d=2)).toarray()
    size = norm(K)
    cells = make_cells(n, max_ranks, size, K)
    every = [cell for row in cells.values() for cell in row.values()]

    def table(caption, figure):
        return [
            {
                "table": f"Inverse, N = {n:,}: {caption}",
                "largest rank": max_rank,
                **{f"leaf size {leaf_size}": figure(cell) for leaf_size, cell in row.items()},
            }
            for max_rank, row in cells.items()
        ]

    def at_least_shift(cell):
        least = cell.inverse.least
        return Figure(cell.inverse.error(least), note=f"{cell.note} at {least:.0e}".lstrip())

    rows = table("error at the least shift of each cell, relative to ||K||", at_least_shift)
    common = max(cell.inverse.least for cell in every)
    for shift in SHIFTS[SHIFTS.index(common) :]:
        if all(cell.inverse.error(shift) <= cell.limit for cell in every):
            break
    for chosen in dict.fromkeys((common, shift)):
        rows += table(
            f"error with the shift {chosen:.0e} ||K|| = {number(chosen * size)}",
            lambda cell, chosen=chosen: at_most(cell.inverse.error(chosen), cell.limit, cell.note),
        )
    return rows


# ---- direct


def direct(name, d, bandwidth, rtol, n):
    """Return one row for the factorization of a matrix in the HSS format."""
    K = KernelMatrix(normal_points(n, np.float64, d), bandwidth=bandwidth)
    (H, warned), compress_seconds = timed(compress_noting, K, rtol=rtol, budget=0, random_state=0)
    size = norm(H)
    least = least_shift(H, size)
    shift = SAFE * least * size
    B = normal_vectors(n, N_VECTORS, np.float64)
    F = H.factorize(shift)
    steps = {
        "factorize": lambda: H.factorize(shift),
        "one": lambda: F.solve(B[:, 0]),
        "many": lambda: F.solve(B),
    }
    if n <= DENSE_CHOLESKY:
        dense = K.toarray()
        dense[np.diag_indices(n)] += shift
        steps["dense"] = lambda: scipy.linalg.cho_factor(dense, lower=True, check_finite=False)
    seconds, _ = interleaved(steps, seconds=20)
    return {
        "table": "Direct, HSS format",
        "matrix": name,
        "N": n,
        "rtol": f"{rtol:.0e}",
        "form": describe_form(H, warned),
        "rank, mean / max": describe_ranks(H),
        "shift / ||K||": f"{SAFE * least:.0e}",
        "compress, s": compress_seconds,
        "factorize, s": seconds["factorize"],
        "solve 1, s": seconds["one"],
        f"solve {N_VECTORS}, s": seconds["many"],
        "dense Cholesky, s": seconds.get("dense", ""),
        "factors, MB": F.nbytes / 1e6,
        "residual": at_most(residual(H, F.solve(B), shift, B), DIRECT_LIMIT),
        "residual, a tenth of the shift": residual(
            H, H.factorize(least * size).solve(B), least * size, B
        ),
    }


# ---- iterative


def solve_noting(H, B, shift, operator):
    """Solve, by MINRES where the matrix is not definite; return X, `SolveInfo`, and a note."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            solved = H.solve(B, shift, operator=operator, return_info=True)
        except np.linalg.LinAlgError:
            solved = H.solve(B, shift, operator=operator, solver="minres", return_info=True)
    return solved, "warned" if caught else ""


def iterative(name, d, bandwidth, rtol, n):
    """Return the rows of one matrix: the exact one, and the compressed one in the FMM format."""
    K = KernelMatrix(normal_points(n, np.float64, d), bandwidth=bandwidth)
    size, B = norm(K), normal_vectors(n, N_SYSTEMS, np.float64)
    rows = []
    for what, budget in (("exact", 0), ("FMM", FMM_BUDGET)):
        (H, warned), compress_seconds = timed(
            compress_noting, K, rtol=rtol, budget=budget, random_state=0
        )
        A = K if what == "exact" else H
        for relative in ITERATIVE_SHIFTS:
            shift = relative * size
            operator = K if what == "exact" else None
            ((X, info), note), seconds = timed(solve_noting, H, B, shift, operator)
            reached = residual(A, X, shift, B)
            if info.solver == "minres":
                reached = Figure(reached, note=note)
            else:
                reached = at_most(reached, ITERATIVE_LIMIT, note)
            rows.append(
                {
                    "table": f"Iterative, N = {n:,}, {N_SYSTEMS} right-hand sides",
                    "matrix": name,
                    "solved": what,
                    "form": describe_form(H, warned),
                    "compress, s": compress_seconds,
                    "shift / ||K||": f"{relative:.0e}",
                    "raised by, / ||K||": info.raised / size,
                    "solver": info.solver,
                    "iterations": info.n_iterations,
                    "solve, s": seconds,
                    "residual": reached,
                }
            )
    return rows


# ---- log-determinant


def determinants(name, d, bandwidth, n):
    """Return the rows of one matrix, one for each shift."""
    K = KernelMatrix(normal_points(n, np.float64, d), bandwidth=bandwidth)
    H, warned = compress_noting(K, rtol=LOGDET_RTOL, budget=0, random_state=0)
    size, dense = norm(K), K.toarray()
    diagonal = dense.diagonal().copy()
    rows = []
    for relative in LOGDET_SHIFTS:
        shift = relative * size
        value, seconds = timed(logdet, H, shift)
        dense[np.diag_indices(n)] = diagonal + shift
        (_, exact), dense_seconds = timed(np.linalg.slogdet, dense)
        rows.append(
            {
                "table": f"Log-determinant, N = {n:,}, rtol={LOGDET_RTOL:.0e}",
                "matrix": name,
                "form": describe_form(H, warned),
                "shift / ||K||": f"{relative:.0e}",
                "value": value,
                "seconds": seconds,
                "dense, s": dense_seconds,
                "error": at_most(abs(value - exact) / abs(exact), LOGDET_LIMIT),
            }
        )
    return rows


def run(quick):
    """Return the rows of all tables."""
    rows = []
    for n, by_rank in THESIS.items():
        if not quick or n == min(THESIS):
            rows += grid(n, (8, 32, 256) if quick else tuple(by_rank))
    for case in DIRECT_CASES:
        rows += [direct(*case, n) for n in ((2048,) if quick else (4096, 8192, 16384))]
    for case in ITERATIVE_CASES:
        rows += iterative(*case, 4096 if quick else 8192)
    for case in LOGDET_CASES:
        rows += determinants(*case, 1024 if quick else 4096)
    return rows


if __name__ == "__main__":
    main(run, __doc__)

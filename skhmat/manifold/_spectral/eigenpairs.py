"""Leading eigenpairs of a normalised kernel matrix, and the eigenvectors of its Markov matrix."""

from dataclasses import dataclass, replace

import numpy as np

from ...linalg._eigsh import eigsh
from ...linalg._operators.csr import SymmetricCSR
from ...linalg._operators.wrappers import CountedOperator
from ...linalg._spectral.aggregation import AggregationHierarchy
from ...linalg._spectral.chebyshev import chebyshev_filtered
from ...linalg._spectral.dense import largest_eigenpairs
from ...linalg._spectral.locally_optimal import smallest_eigenpairs
from ...linalg._spectral.pairs import relative_residuals, with_signs
from .multilevel_start import StartBlock, component_vectors

# Vectors of a block are a multiple of these: the lanes of a vector register.
_LANES = 8


@dataclass(frozen=True)
class EigenpairPolicy:
    """Which solver is used, how accurate it is, and which eigenpairs are significant."""

    # Rows: a matrix with up to this many is decomposed whole,
    max_dense: int = 512
    # and so is one for which a block would have more than this fraction of all vectors.
    max_block_part: float = 0.2
    # Rows: up to this many, the same is done where eigenvalues crowd,
    max_dense_if_crowded: int = 4096
    # so that filters would take more products than this, for each row.
    max_products_per_row: float = 10
    # Error of the eigenvectors that the tolerance aims at, with a margin to stay below 1e-5.
    vector_error: float = 3e-6
    # Relative residual that rounding allows.
    min_tol: float = 1e-12
    # Relative residual of a first solution, from whose eigenvalues the tolerance follows.
    first_tol: float = 1e-4
    # Entries of a row of a sparse matrix, on average: up to this many, it is a graph, which is
    # solved by multigrid.
    max_row_entries: float = 100
    # Norm of the random part of a start vector of a graph, whose norm is 1.
    start_noise: float = 1e-3
    # Part of the tolerance that LOBPCG aims at: the tolerance follows from eigenvalues that change.
    aim: float = 0.9
    # Filters for one tolerance.
    max_filters: int = 40
    # Tolerances, as the eigenvalues may show that the one before was too large.
    max_solutions: int = 3
    # Eigenpairs with which a search for all significant ones begins.
    first_tried: int = 11
    # Eigenpairs with which that search ends.
    max_tried: int = 257
    # Distance from 1 of an eigenvalue that counts as 1, in addition to its error.
    unit_distance: float = 1e-10
    # Relative residual: the error of an eigenvalue is taken to be no larger than this.
    max_doubt: float = 1e-6
    # Eigenvalue relative to the largest: a smaller one is no more than rounding.
    min_relative: float = 1e-12


POLICY = EigenpairPolicy()


@dataclass(frozen=True, eq=False)
class LeadingEigenpairs:
    """The largest eigenpairs of a symmetric matrix, largest first, and how they were found.

    Attributes
    ----------
    values : ndarray of shape (k,)
    vectors : ndarray of shape (n, k)
        Orthonormal.
    residuals : ndarray of shape (k,)
        ||A v - lambda v|| relative to the largest eigenvalue, rounding of float32 included.
    n_products : int
        Vectors that the matrix was multiplied with.
    method : {"chebyshev", "lobpcg", "lanczos", "dense"}
    is_converged : bool
        Whether all residuals are as small as they should be.
    """

    values: np.ndarray
    vectors: np.ndarray
    residuals: np.ndarray
    n_products: int
    method: str
    is_converged: bool

    def __len__(self):
        return len(self.values)

    def first(self, k):
        """Return the first k pairs."""
        return replace(
            self,
            values=self.values[:k],
            vectors=self.vectors[:, :k],
            residuals=self.residuals[:k],
        )


def block_width(n, k):
    """Return the number of vectors in a block that finds k of n eigenpairs."""
    width = k + max(5, k // 2)
    return min(-(-width // _LANES) * _LANES, n)


def find_eigenpairs(A, k, tol, solver, start, rng, is_definite=False, policy=POLICY, degrees=None):
    """Find the k largest eigenpairs.

    Parameters
    ----------
    A : SymmetricOperator of shape (n, n)
        In float64, or with a method ``in_float64()``, as `PackedSymmetricMatrix` has it.
    k : int
    tol : float or None
        Residual to reach. None aims at an error of the eigenvectors of 1e-5.
    solver : {"auto", "chebyshev", "lanczos", "dense"}
    start : object with ``block(width)``
        Returns a StartBlock, for "chebyshev".
    rng : numpy.random.RandomState
        Draws the start of "lanczos".
    is_definite : bool
        As for `chebyshev_filtered`.
    policy : EigenpairPolicy
    degrees : ndarray of shape (n,) or None
        Those of the Markov matrix that A is the symmetric conjugate of; None if it is not one. With
        them "auto" solves a sparse A by LOBPCG, and filters what is left.

    Returns
    -------
    pairs : LeadingEigenpairs
    """
    n = A.shape[0]
    is_auto = solver == "auto"
    if is_auto:
        is_small = n <= policy.max_dense or block_width(n, k) > policy.max_block_part * n
        solver = "dense" if is_small else "chebyshev"
    if solver == "chebyshev":
        is_graph = is_auto and degrees is not None and _is_graph(A, policy)
        if is_graph:
            block, n_products = _block_of_graph(A, k, tol, degrees, rng, policy)
        else:
            block, n_products = start.block(block_width(n, k)), 0
        is_crowded = is_auto and _are_crowded(block.gaps, n, k, policy)
        # Where filters would take too long, the start may still be good enough without one.
        max_filters = 0 if is_crowded else policy.max_filters
        pairs = _filtered_pairs(A, block, k, tol, is_definite, max_filters, policy)
        if pairs.is_converged or not is_crowded:
            is_filtered = pairs.n_products > policy.max_solutions * block.vectors.shape[1]
            method = "lobpcg" if is_graph and not is_filtered else pairs.method
            return replace(pairs, n_products=pairs.n_products + n_products, method=method)
        solver = "dense"
    counted = CountedOperator(_in_float64(A))
    if solver == "dense":
        values, vectors = largest_eigenpairs(counted @ np.eye(n), k)
        is_converged = True
    else:
        v0 = rng.standard_normal(n)
        values, vectors = eigsh(counted, k, tol=tol or 0, v0=v0, method="lanczos")
        values, vectors = values[::-1], vectors[:, ::-1]
        is_converged = len(values) == k
    residuals = relative_residuals(A, values, vectors)
    return LeadingEigenpairs(values, vectors, residuals, counted.n_products, solver, is_converged)


def _is_graph(A, policy):
    """Return whether a matrix is a graph whose vertices have few neighbours."""
    return isinstance(A, SymmetricCSR) and A.n_entries <= policy.max_row_entries * A.shape[0]


def _block_of_graph(A, k, tol, degrees, rng, policy):
    """Find eigenvectors of a graph by LOBPCG, preconditioned by multigrid.

    Returns
    -------
    block : StartBlock
        For filters, which compute the residuals afresh and go on where they are too large.
    n_products : int
        Vectors that a matrix like A was multiplied with.
    """
    n, root = A.shape[0], np.sqrt(degrees)
    # The root is an eigenvector for 1, but for rows that are 0.
    is_zero = (A @ root) <= 0.5 * root
    labels = np.where(is_zero, -1, A.components())
    width = block_width(n, k)
    ones = component_vectors(labels, degrees, width)
    n_others = width - ones.shape[1]
    if n_others == 0:
        return StartBlock(ones, np.zeros(width)), 0
    hierarchy = AggregationHierarchy.of_graph(A, root)
    n_constant = np.count_nonzero(np.bincount(labels[~is_zero]) > 1)
    coarse = hierarchy.coarse_vectors(n_constant, n_constant + n_others)
    # Random parts keep eigenvectors from being orthogonal to the block.
    others = rng.standard_normal((n, n_others)) / np.sqrt(n)
    others[:, : coarse.shape[1]] *= policy.start_noise
    others[:, : coarse.shape[1]] += coarse

    def tolerance(gaps):
        return (_tolerance(gaps, k, policy) if tol is None else tol) * policy.aim

    counted = CountedOperator(A)
    start = np.hstack([ones, others])
    found = smallest_eigenpairs(counted, start, k, tolerance, hierarchy.precondition)
    n_products = counted.n_products + hierarchy.n_products
    return StartBlock(found.vectors, found.values), n_products


def _are_crowded(gaps, n, k, policy):
    """Return whether n eigenvalues crowd so much that the whole matrix is decomposed sooner.

    A filter of degree m magnifies by about exp(2 m sqrt(gap)), if the gap is the distance from the
    wanted eigenvalues to the last one of the block. `gaps` are as for `_tolerance`, or None.
    """
    if gaps is None or n > policy.max_dense_if_crowded:
        return False
    gap = max(gaps[-1] - gaps[k - 1], np.finfo(np.float64).tiny)
    degrees = -np.log(_tolerance(gaps, k, policy)) / (2 * np.sqrt(gap))
    return len(gaps) * degrees > policy.max_products_per_row * n


def _in_float64(A):
    """Return an operator with the same entries: rounding of products limits all residuals."""
    return A if A.dtype == np.float64 else A.in_float64()


def _filtered_pairs(A, block, k, tol, is_definite, max_filters, policy):
    """Find eigenpairs by Chebyshev filters from a StartBlock, in float32 as far as that goes."""
    counted, accurate = CountedOperator(A), CountedOperator(_in_float64(A))
    is_rounded = A.dtype != np.float64
    V, gaps, wanted = block.vectors, block.gaps, tol
    for _ in range(policy.max_solutions):
        if tol is None:
            wanted = policy.first_tol if gaps is None else _tolerance(gaps, k, policy)
        limits = (wanted, max_filters, is_definite)
        pairs = chebyshev_filtered(counted, V, k, *limits, ends_in_noise=is_rounded)
        if is_rounded and (pairs.residuals > wanted).any():
            pairs = chebyshev_filtered(accurate, pairs.vectors, k, *limits)
        V, gaps = pairs.vectors, 1 - pairs.values / (pairs.values[0] or 1.0)
        is_converged = bool((pairs.residuals <= wanted).all())
        if tol is not None or not is_converged:
            break
        if wanted <= 2 * _tolerance(gaps, k, policy):
            break
    values, vectors, residuals = pairs.values[:k], pairs.vectors[:, :k], pairs.residuals
    if accurate.n_products > 0:
        # Extensions to new points rely on them: the rounding of the entries is an error, too.
        residuals = relative_residuals(counted, values, vectors)
    n_products = counted.n_products + accurate.n_products
    return LeadingEigenpairs(values, vectors, residuals, n_products, "chebyshev", is_converged)


def _tolerance(gaps, k, policy):
    """Return the residual that makes the eigenvectors as accurate as the policy wants.

    The error of an eigenvector is about its residual divided by the distance to the eigenvalues of
    the vectors that contaminate it. Those lie beyond the block, about as far as its last one.

    Parameters
    ----------
    gaps : ndarray of shape (width,)
        Spectral gaps 1 - lambda_k / lambda_0 for the vectors of a block.
    """
    return max(policy.vector_error * (gaps[-1] - gaps[k - 1]), policy.min_tol)


def find_significant_pairs(find, n, t, delta, policy=POLICY):
    """Find the eigenpairs whose ``value**t`` is at least delta times that of the second pair.

    Parameters
    ----------
    find : callable
        ``find(k)`` returns the k largest eigenpairs.
    n : int
        Number of all eigenpairs.
    t, delta : float

    Returns
    -------
    pairs : LeadingEigenpairs
        Including the first.
    is_complete : bool
        Whether the next eigenvalue is known to be too small.
    """
    k = min(policy.first_tried, n)
    while True:
        pairs = find(k)
        powers = np.maximum(pairs.values[1:], 0) ** t
        kept = 1 + int(np.count_nonzero(powers >= delta * powers[0]))
        if kept < k or k in (n, policy.max_tried):
            return pairs.first(kept), kept < k or k == n
        k = min(2 * k - 1, policy.max_tried, n)


def drop_unreliable_pairs(pairs, error, policy=POLICY):
    """Drop the pairs whose eigenvalues do not exceed rounding or the error of the matrix.

    Parameters
    ----------
    pairs : LeadingEigenpairs
    error : float
        Relative error of the matrix.
    """
    least = max(policy.min_relative, error)
    is_reliable = pairs.values > least * pairs.values[0]
    return pairs.first(int(np.argmin(np.append(is_reliable, False))))


def count_unit_eigenvalues(pairs, error, policy=POLICY):
    """Return how many eigenvalues are 1 within their errors, that of the matrix among them."""
    doubt = policy.unit_distance + np.minimum(pairs.residuals, policy.max_doubt) + error
    return int(np.sum(pairs.values >= 1 - doubt))


def markov_eigenvectors(pairs, normalization, n_ones):
    """Return right eigenvectors of the Markov matrix, the constant one first.

    Parameters
    ----------
    pairs : LeadingEigenpairs
        Of its symmetric conjugate.
    normalization : Normalization
    n_ones : int
        How many eigenvalues are 1.

    Returns
    -------
    functions : ndarray of shape (n, k)
        Each of norm 1, its largest entry positive.
    """
    vectors = _constant_first(pairs.vectors, n_ones, normalization)
    functions = vectors / np.sqrt(normalization.degrees)[:, np.newaxis]
    functions /= np.linalg.norm(functions, axis=0)
    return with_signs(functions)


def _constant_first(vectors, n_ones, normalization):
    """Turn the eigenvectors of the eigenvalue 1 so that the first is that of the constant function.

    Where the kernel vanishes between parts there are several, and any basis of them is as good.
    """
    if n_ones < 2:
        return vectors
    constant = vectors[:, :n_ones].T @ np.sqrt(normalization.degrees)
    Q = np.linalg.qr(np.column_stack([constant, np.eye(n_ones)]))[0]
    return np.hstack([vectors[:, :n_ones] @ Q, vectors[:, n_ones:]])

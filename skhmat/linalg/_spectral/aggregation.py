"""Multigrid by smoothed aggregation for the Laplacian of a weighted graph.

The Laplacian is I - A for a symmetric matrix A whose largest eigenvalue is 1 and has a positive
eigenvector. It is solved on coarser and coarser graphs, whose vertices are aggregates of strong
neighbours. That eigenvector, cut up among them and smoothed by a step of Jacobi's method, is the
interpolation (Vanek, Mandel and Brezina, Computing 56, 1996): no coordinates are needed. Each
Laplacian is scaled to a diagonal of 1, so that polynomials of it smooth vertices of any degree in
the same way (Adams, Brezina, Hu and Tuminaro, Journal of Computational Physics 188, 2003).
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from scipy import sparse

from ..._ext.simd import csr as _core
from .._operators.csr import SymmetricCSR
from .._operators.wrappers import CountedOperator


@dataclass(frozen=True)
class AggregationPolicy:
    """How graphs are made coarser, and how errors on them are smoothed.

    Attributes
    ----------
    strong_part : float
        Entry of a strong neighbour, relative to the largest one of its row.
    max_coarsest : int
        Vertices: a graph with up to this many is the coarsest, and its Laplacian is decomposed.
    min_thinning : float
        Vertices for each of the next coarser graph: with fewer, that does not pay.
    max_decomposed : int
        Vertices of a coarsest graph that is decomposed although it is larger than wanted.
    hub : float
        Neighbours of a vertex, relative to the mean: the interpolation of one with more is not
        smoothed, since it would join all of its neighbours on the coarser graph.
    damping : float
        Of Jacobi's method in the interpolation, relative to the inverse of the largest eigenvalue:
        this damps the upper half of the spectrum most.
    smoothed_part : float
        Eigenvalues down to this fraction of the largest one are left to the smoother.
    degree : int
        Of the polynomial that smooths, before and after the coarser graph.
    least_eigenvalue : float
        Eigenvalue of the coarsest Laplacian, relative to the largest: up to this it counts as 0.
    zero_units : float
        Units in the last place of the largest diagonal entry: a row is zero where its own is less.
    mass_margin : float
        Part by which the diagonal of the coarsest mass matrix is raised, to stay positive definite.
    """

    strong_part: float = 0.5
    max_coarsest: int = 200
    min_thinning: float = 1.25
    max_decomposed: int = 1000
    hub: float = 20
    damping: float = 4 / 3
    smoothed_part: float = 0.1
    degree: int = 2
    least_eigenvalue: float = 1e-13
    zero_units: float = 100
    mass_margin: float = 1e-12


POLICY = AggregationPolicy()


@dataclass(frozen=True, eq=False)
class Level:
    """A graph, its Laplacian and how it hangs together with the next coarser one.

    Attributes
    ----------
    L : CountedOperator of shape (n, n)
        The Laplacian, with a diagonal of 1, or 0 for a vertex without neighbours.
    largest : float
        Upper bound of its eigenvalues.
    interpolation : Transfer or None
        From the next coarser graph, with m vertices; None for the coarsest.
    restriction : Transfer or None
        The transpose.
    """

    L: CountedOperator
    largest: float
    interpolation: object = None
    restriction: object = None


class Transfer:
    """A rectangular sparse matrix."""

    def __init__(self, P, n_threads):
        P.sort_indices()
        self._rows = P.indptr.astype(np.intp), P.indices.astype(np.int32, copy=False), P.data
        self._n_threads = n_threads

    def __matmul__(self, W):
        start, cols, entries = self._rows
        W, out = np.ascontiguousarray(W), np.empty((len(start) - 1, W.shape[1]))
        _core.sparse_step(start, cols, entries, W, 1.0, 0.0, 0.0, out, out, self._n_threads)
        return out


@dataclass(frozen=True, eq=False)
class AggregationHierarchy:
    """Coarser and coarser graphs.

    Attributes
    ----------
    levels : list of Level
        The finest first.
    scales : ndarray of shape (n,)
        The Laplacian of the finest graph is I - A with rows and columns multiplied by these.
    values, vectors : ndarray of shape (m,) and (m, m)
        Eigenpairs of the coarsest Laplacian, ascending.
    coarse : ndarray of shape (m, k)
        Eigenvectors for the smallest eigenvalues of I - A in the space of the coarsest graph.
    policy : AggregationPolicy
    """

    levels: list
    scales: np.ndarray
    values: np.ndarray
    vectors: np.ndarray
    coarse: np.ndarray
    policy: AggregationPolicy = POLICY

    @classmethod
    def of_graph(cls, A, null, policy=POLICY):
        """Make graphs coarser.

        Parameters
        ----------
        A : SymmetricCSR of shape (n, n)
            Largest eigenvalue 1.
        null : ndarray of shape (n,)
            An eigenvector of that, positive in all entries.
        """
        n_threads, A = A.n_threads, A.tocsr()
        L = (sparse.identity(A.shape[0], format="csr") - A).tocsr()
        L, scales = _with_unit_diagonal(L, policy.zero_units)
        null = null / scales
        mass = sparse.diags(scales**2).tocsr()
        levels = []
        while True:
            n = L.shape[0]
            operator = _as_operator(L, n_threads)
            largest = _largest_eigenvalue(L, null)
            if n <= policy.max_coarsest:
                break
            labels = np.full(n, -1, dtype=np.int32)
            start, cols = L.indptr.astype(np.intp), L.indices.astype(np.int32, copy=False)
            m = _core.aggregate(start, cols, L.data, policy.strong_part, labels)
            if m == 0 or n < policy.min_thinning * m:
                break
            P = _tentative(labels, m, null)
            null = P.T @ null
            n_entries = np.diff(L.indptr)
            is_hub = n_entries > policy.hub * n_entries.mean()
            weights = np.where(is_hub, 0.0, policy.damping / largest)
            P = (P - sparse.diags(weights) @ (L @ P)).tocsr()
            coarse = (P.T @ (L @ P)).tocsr()
            coarse, factors = _with_unit_diagonal(coarse, policy.zero_units)
            P = (P @ sparse.diags(factors)).tocsr()
            null, mass = null / factors, (P.T @ (mass @ P)).tocsr()
            R = P.T.tocsr()
            levels.append(Level(operator, largest, Transfer(P, n_threads), Transfer(R, n_threads)))
            L = coarse
        levels.append(Level(operator, largest))
        if n > policy.max_decomposed:
            return cls(levels, scales, None, None, None, policy)
        values, vectors = np.linalg.eigh(L.toarray())
        mass = mass.toarray()
        mass[np.diag_indices(n)] *= 1 + policy.mass_margin
        coarse = scipy.linalg.eigh(L.toarray(), mass)[1]
        return cls(levels, scales, values, vectors, coarse, policy)

    @property
    def n_products(self):
        """Vectors that the Laplacian of the finest graph was multiplied with."""
        return self.levels[0].L.n_products

    def coarse_vectors(self, first, last):
        """Return approximations of eigenvectors of A for its largest eigenvalues.

        Parameters
        ----------
        first, last : int
            Numbers of the eigenvalues, the largest being 0, as for a slice.

        Returns
        -------
        V : ndarray of shape (n, m)
            Each of norm 1; fewer than asked for, or none, if the coarsest graph has no more.
        """
        if self.coarse is None:
            return np.empty((len(self.scales), 0))
        V = np.ascontiguousarray(self.coarse[:, first:last])
        for level in self.levels[-2::-1]:
            V = level.interpolation @ V
        V *= self.scales[:, np.newaxis]
        return V / np.maximum(np.linalg.norm(V, axis=0), np.finfo(np.float64).tiny)

    def precondition(self, B):
        """Multiply B, (n, k), by an approximation of the pseudo-inverse of I - A, one V-cycle."""
        scales = self.scales[:, np.newaxis]
        return scales * self._cycle(0, scales * B)

    def _cycle(self, depth, B):
        level, policy = self.levels[depth], self.policy
        if level.interpolation is None:
            return self._solve_coarsest(level, B)
        X = _smoothed(level, B, policy)
        residual = _residual(level.L, X, B)
        X += level.interpolation @ self._cycle(depth + 1, level.restriction @ residual)
        X += _smoothed(level, _residual(level.L, X, B), policy)
        return X

    def _solve_coarsest(self, level, B):
        if self.values is None:
            return _smoothed(level, B, self.policy)
        is_zero = self.values <= self.policy.least_eigenvalue * max(self.values[-1], 1.0)
        inverse = 1 / np.where(is_zero, np.inf, self.values)
        return self.vectors @ (inverse[:, np.newaxis] * (self.vectors.T @ B))


def _as_operator(L, n_threads):
    """Return a csr_matrix as a CountedOperator."""
    L.sort_indices()
    start, cols = L.indptr.astype(np.intp), L.indices.astype(np.int32, copy=False)
    return CountedOperator(SymmetricCSR(start, cols, L.data, n_threads))


def _with_unit_diagonal(L, zero_units):
    """Scale rows and columns of a csr_matrix so that its diagonal is 1; returns the factors, too.

    A row is zero but for rounding if its diagonal entry is.
    """
    diagonal = L.diagonal()
    is_zero = diagonal <= zero_units * np.finfo(np.float64).eps * max(diagonal.max(), 0)
    factors = 1 / np.sqrt(np.where(is_zero, 1.0, diagonal))
    scale = sparse.diags(factors)
    return (scale @ L @ scale).tocsr(), factors


def _largest_eigenvalue(L, null):
    """Return an upper bound: the largest sum of magnitudes in a row, weighted by a positive vector.

    For the finest graph, whose entries beside the diagonal are negative, it is 2.
    """
    return float((abs(L) @ null / null).max()) or 1.0


def _tentative(labels, m, null):
    """Return the interpolation (n, m) that cuts a vector up among aggregates; columns of norm 1."""
    rows = np.flatnonzero(labels >= 0)
    cols = labels[rows]
    norms = np.sqrt(np.bincount(cols, null[rows] ** 2, minlength=m))
    return sparse.csr_matrix((null[rows] / norms[cols], (rows, cols)), shape=(len(labels), m))


def _residual(L, X, B):
    """Return B - L X."""
    out = L.step(X, scale=-1.0, shift=0.0)
    out += B
    return out


def _smoothed(level, B, policy):
    """Return p(L) B for the p of some degree that makes 1 - x p(x) smallest on high eigenvalues x.

    These are steps of Chebyshev's iteration for L X = B, in the form of three terms, from X = 0.
    """
    low, high = policy.smoothed_part * level.largest, level.largest
    centre, ratio = (high + low) / 2, (high - low) / (high + low)
    before, X, weight = None, B / centre, 2.0
    for _ in range(policy.degree - 1):
        # X + weight ((B - L X) / centre) + (weight - 1) (X - before)
        weight = 1 / (1 - ratio**2 * weight / 4)
        step = weight / centre
        after = level.L.step(X, before, scale=-step, shift=centre, factor=weight - 1)
        after += step * B
        before, X = X, after
    return X

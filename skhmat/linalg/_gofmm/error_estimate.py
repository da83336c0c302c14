"""The measured error: how far products are from exact ones, row by row, on a sample of rows."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..._utils.parallel import run_tasks

# Entries of a block of K that is read at once.
_MAX_BLOCK_ENTRIES = 1 << 21
# Share of the usual number of neighbour lists by which a row that none names may be held out.
_LEAST_LISTS = 1e-3


@dataclass(frozen=True)
class ErrorPolicy:
    """How many rows and vectors the error is measured with.

    Attributes
    ----------
    all_rows_up_to : int
        Rows of a matrix up to which all are measured, and none is held out.
    n_held_out : int
        Rows of a larger matrix that compression must not read.
    n_drawn : int
        Further rows to measure, drawn with replacement.
    n_vectors : int
        Random vectors. An error in few directions varies strongly from one vector to the next.
    n_vectors_all_rows : int
        Random vectors where all rows are measured.
    n_deviations : float
        Standard errors by which the square of the upper bound exceeds that of the estimate.
    n_norm_rows : int
        Rows from which the Frobenius norm of K is estimated before compression.
    """

    all_rows_up_to: int = 4096
    n_held_out: int = 256
    n_drawn: int = 1024
    n_vectors: int = 32
    n_vectors_all_rows: int = 64
    n_deviations: float = 2.0
    n_norm_rows: int = 256


POLICY = ErrorPolicy()


class ErrorEstimator:
    """Exact products of random vectors with a sample of rows, to compare approximations with.

    The error is the accuracy measure of GOFMM (thesis, equation 6.2), ||K~W - KW||_F / ||KW||_F
    with standard normal W, except that the denominator is replaced by its root mean square, which
    follows from the norms of the rows: if K is nearly of rank one, ||KW||_F itself varies too much.

    Some rows are held out from compression: one from each of equal stretches of the tree order,
    preferably one with a small diagonal entry, which holds little of K, and in many neighbour
    lists: without an outlier, no row would tell how the others act on it. Because compression does
    not read these rows, their errors may be larger than those of others, so they represent only
    themselves. All other rows are represented by rows drawn with replacement (Hansen and Hurwitz,
    Ann. Math. Stat. 14, 1943): a third of them uniformly; a third with a preference for rows in few
    neighbour lists, which sampling reaches last, so that a rare bad row among them is not
    overlooked; and a third in proportion to the diagonal, because few rows may hold most of the
    norm.

    The rows are read only when the first error is measured, so not if compression does not pay.

    Parameters
    ----------
    entries : Entries
        In tree order.
    neighbors : ndarray of shape (n, k)
        In tree order.
    rng : numpy.random.Generator
    n_threads : int
        Does not change the result.
    policy : ErrorPolicy

    Attributes
    ----------
    rows : ndarray of shape (n_rows,), intp
        The rows measured, as positions in tree order, those held out first.
    n_held_out : int
        Rows that represent only themselves; all of them where the matrix is small.
    held_out : ndarray of shape (n,), bool, or None
        Rows in tree order that compression must not read; None where all rows are measured.
    mean_square : float
        Mean over all rows of their squared norm, ||K||_F^2 / n, estimated from a few rows.
    W : ndarray of shape (n, n_vectors)
        Standard normal, in tree order.
    """

    def __init__(self, entries, neighbors, rng, n_threads, *, policy=POLICY):
        n = entries.shape[0]
        diagonal = entries.diagonal().astype(np.float64)
        self.policy = policy
        if n <= policy.all_rows_up_to:
            self.rows, self.held_out, self.n_held_out = np.arange(n), None, n
            self._chances = np.empty(0)
        else:
            self._draw_rows(diagonal, neighbors, rng)
        # The mean over draws of (square / chance) is the sum over all rows (Hansen and Hurwitz).
        self._weights = np.ones(len(self.rows))
        self._weights[self.n_held_out :] = 1 / (self._chances * max(len(self._chances), 1))
        self._entries, self._rng, self._n_threads = entries, rng, n_threads
        self.mean_square = self._mean_square(diagonal, rng)

    @cached_property
    def W(self):
        """Random vectors, of shape (n, n_vectors)."""
        n, dtype = self._entries.shape[0], self._entries.dtype
        is_small = n <= self.policy.all_rows_up_to
        k = self.policy.n_vectors_all_rows if is_small else self.policy.n_vectors
        return self._rng.standard_normal((n, k), dtype=dtype)

    @cached_property
    def product(self):
        """K[rows] @ W, of shape (n_rows, n_vectors)."""
        return self._exact[:, :-1]

    @cached_property
    def norm(self):
        """Frobenius norm of K: estimated, or exact where all rows are read."""
        return math.sqrt(self._weights @ self._exact[:, -1])

    @cached_property
    def _squared_norms(self):
        """Squared norm of K @ W for each vector, estimated, of shape (n_vectors,)."""
        return self._weights @ np.square(self.product)

    @cached_property
    def _exact(self):
        """The product, and the squared norm of each row as the last column."""
        W = self.W  # drawn here, and not in the threads

        def term(block, cols):
            return np.column_stack([block @ W[cols], self._row_squares(block)])

        return self._over_columns(self.rows, term)

    def measure(self, product):
        """Measure an approximation.

        Parameters
        ----------
        product : ndarray of shape (n_rows, n_vectors)
            Rows `rows` of the approximate K @ W.

        Returns
        -------
        error : float
            Estimate of the relative error ||K~ - K||_F / ||K||_F of all rows, which is that of a
            product with standard normal vectors on average.
        upper_bound : float
            The estimate plus a margin for chance: the error of a product with as many other random
            vectors is unlikely to exceed it.
        """
        squares = np.square(product - self.product)
        errors = self._weights @ squares
        total = errors.mean()
        row_deviation = self._row_deviation(squares.mean(axis=1))
        # The standard errors of this measurement, and of the ratio that a user would measure,
        # E / S with E = ||K~W - KW||_F^2 and S = ||KW||_F^2. The latter by the delta method: with
        # e_j and s_j the parts of vector j, E / S varies like the mean of e_j - (E / S) s_j, over
        # that of s_j. That assumes that the relative standard deviation of S is small. It is at
        # most sqrt(2 / n_vectors), 25 % for 32 vectors, and that only where K has rank one.
        in_ratio = errors - total / self.norm**2 * self._squared_norms
        vector_deviation = math.hypot(errors.std(ddof=1), in_ratio.std(ddof=1)) / math.sqrt(
            len(errors)
        )
        margin = self.policy.n_deviations * math.hypot(row_deviation, vector_deviation)
        return math.sqrt(total) / self.norm, math.sqrt(total + margin) / self.norm

    def _mean_square(self, diagonal, rng):
        """Return ||K||_F^2 / n, estimated from rows drawn half uniformly, half by the diagonal."""
        n_rows = self.policy.n_norm_rows
        rows, chances = draw_half_by_size(diagonal, n_rows, n_rows, rng)
        squares = self._over_columns(rows, lambda block, _: self._row_squares(block))
        return (squares / chances).mean() / len(diagonal)

    def _draw_rows(self, diagonal, neighbors, rng):
        """Draw the rows held out, and those that represent all others."""
        n = len(diagonal)
        n_lists = np.bincount(neighbors.ravel(), minlength=n)
        n_lists_usual = max(neighbors.shape[1], 1)
        weights = (n_lists + _LEAST_LISTS * n_lists_usual) / diagonal
        held_out = _draw_from_stretches(weights, self.policy.n_held_out, rng)
        self.held_out = np.zeros(n, dtype=bool)
        self.held_out[held_out] = True
        rare = 1.0 / (1.0 + n_lists)
        chances = np.zeros(n)
        for weights in (np.ones(n), rare, diagonal):
            allowed = np.where(self.held_out, 0.0, weights)
            chances += allowed / (3 * allowed.sum())
        drawn = _draw(chances, self.policy.n_drawn, rng)
        self.rows, self.n_held_out = np.concatenate([held_out, drawn]), len(held_out)
        self._chances = chances[drawn]

    def _row_deviation(self, squares):
        """Return the standard error of the sum of the squares, (n_rows,), over all rows."""
        drawn = squares[self.n_held_out :]
        if len(drawn) == 0:
            return 0.0
        return float((drawn / self._chances).std() / math.sqrt(len(drawn)))

    @staticmethod
    def _row_squares(block):
        return np.einsum("ij,ij->i", block, block)

    def _over_columns(self, rows, term):
        """Return the sum of term(K[rows, cols], cols) over all columns, in float64.

        The order is fixed: the sum does not depend on the number of threads.
        """
        entries, n_threads = self._entries, self._n_threads
        n = entries.shape[0]
        width = max(1, _MAX_BLOCK_ENTRIES // len(rows))

        def part(start):
            cols = np.arange(start, min(start + width, n))
            return term(entries.block(rows, cols), cols).astype(np.float64)

        total = 0.0
        parts = range(0, n, width)
        # A few at a time, so that few results are held.
        for first in range(0, len(parts), 4 * n_threads):
            batch = parts[first : first + 4 * n_threads]
            for value in run_tasks(part, batch, n_threads if entries.thread_safe else 1):
                total = total + value
        return total


def draw_half_by_size(sizes, n_rows, all_rows_up_to, rng):
    """Draw rows with replacement, half of them uniformly and half in proportion to their sizes.

    Parameters
    ----------
    sizes : ndarray of shape (n,)
        At least 0, not all 0.
    n_rows : int
    all_rows_up_to : int
        Of no more rows than this, each one is returned once.
    rng : numpy.random.Generator

    Returns
    -------
    rows : ndarray of shape (m,)
        Ascending.
    chances : ndarray of shape (m,)
        That each draw had to be this row: the mean of (value / chance) is the sum over all rows
        (Hansen and Hurwitz, Ann. Math. Stat. 14, 1943).
    """
    n = len(sizes)
    if n <= all_rows_up_to:
        return np.arange(n), np.full(n, 1 / n)
    chances = 0.5 / n + 0.5 * sizes / sizes.sum()
    rows = np.sort(_draw(chances, n_rows, rng))
    return rows, chances[rows]


def _draw(chances, size, rng):
    """Draw row numbers with replacement."""
    return rng.choice(len(chances), size=size, p=chances / chances.sum())


def _draw_from_stretches(weights, n_stretches, rng):
    """Draw a position from each of equal stretches, in proportion to the weights, (n,)."""
    edges = np.linspace(0, len(weights), n_stretches + 1).astype(np.intp)
    total = np.concatenate([[0.0], np.cumsum(weights)])
    at = total[edges[:-1]] + rng.random(n_stretches) * np.diff(total[edges])
    return np.clip(np.searchsorted(total, at, side="right") - 1, edges[:-1], edges[1:] - 1)

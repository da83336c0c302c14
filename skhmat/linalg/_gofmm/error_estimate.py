"""The measured error: what the product misses, row by row, on a sample of rows."""

import math
from functools import cached_property

import numpy as np

from ..._utils.parallel import run_tasks

# Up to here all rows are measured, and none needs to be held back from compression.
_ALL_ROWS_BELOW = 4096
# Beyond: rows held back, and rows measured besides.
_N_HELD_OUT = 256
_N_DRAWN = 1024
# Random vectors: the more of the error is in few directions, the less few vectors tell about it.
_N_VECTORS = 32
_N_VECTORS_SMALL = 64
# Standard errors that the square of the upper bound has room for.
_DEVIATIONS = 2.0
# Rows that the size of the entries is estimated from.
_N_SIZED = 256
# Entries of a block of K read at once.
_MAX_BLOCK = 1 << 21


class ErrorCheck:
    """Exact products of random vectors with a sample of rows, to compare approximations with.

    The error is the accuracy measure of GOFMM (thesis, equation 6.2), ||K~W - KW||_F / ||KW||_F
    with standard normal W, but for the denominator, in whose place is its mean, the norm of the
    rows read: where K is nearly of rank one, few vectors would make it a matter of chance.

    Some rows, one from each of equal stretches of the tree order, are held back from compression.
    A row that must not be read is a row that compression may get wrong, so they speak only for
    themselves, and are no rows that much of K is in. The others are represented by rows drawn with
    replacement (Hansen and Hurwitz, Ann. Math. Stat. 14, 1943): a third of them uniformly; a third
    in favour of rows that are in few neighbour lists, because sampling reaches these last, and a
    rare bad row among them must not be overlooked; and a third in proportion to the diagonal,
    because few rows may have most of the norm.

    They are read when the first error is measured: where compression does not pay, never.

    Parameters
    ----------
    entries : Entries
        In tree order.
    neighbors : ndarray of shape (n, k)
        In tree order.
    rng : numpy.random.Generator
    n_threads : int

    Attributes
    ----------
    rows : ndarray
        The rows measured, positions in tree order, those held back first.
    held_out : ndarray of shape (n,), bool, or None
        Rows compression must not read; None where all rows are measured.
    mean_square : float
        Mean over all rows of their squared norm, ||K||_F^2 / n, estimated from 256 rows.
    W : ndarray of shape (n, n_vectors)
        Standard normal, in tree order.
    """

    def __init__(self, entries, neighbors, rng, n_threads):
        n = entries.shape[0]
        diagonal = entries.diagonal().astype(np.float64)
        if n <= _ALL_ROWS_BELOW:
            self.rows, self.held_out, self.n_own = np.arange(n), None, n
            self.chances = np.empty(0)
        else:
            self._draw(diagonal, neighbors, rng)
        self._weights = np.ones(len(self.rows))
        self._weights[self.n_own :] = 1 / (self.chances * max(len(self.chances), 1))
        self._entries, self._rng, self._n_threads = entries, rng, n_threads
        self.mean_square = self._mean_square(diagonal, rng)

    @cached_property
    def W(self):
        n, dtype = self._entries.shape[0], self._entries.dtype
        k = _N_VECTORS if n > _ALL_ROWS_BELOW else _N_VECTORS_SMALL
        return self._rng.standard_normal((n, k), dtype=dtype)

    @cached_property
    def product(self):
        """K[rows] @ W."""
        return self._exact[:, :-1]

    @cached_property
    def norm(self):
        """Frobenius norm of K, estimated; there is nothing random about it where rows are all."""
        return math.sqrt(self._weights @ self._exact[:, -1])

    @cached_property
    def _squared_norms(self):
        """Squared norm of K @ W for each vector, estimated."""
        return self._weights @ np.square(self.product)

    @cached_property
    def _exact(self):
        """The product, and as a last column the squared norm of each row."""
        W = self.W  # drawn here, not by the threads

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
            Relative error ||K~ - K||_F / ||K||_F of all rows, estimated: that of the product with
            standard normal vectors, but for chance.
        upper : float
            The same with room for what other rows and other vectors may have, so that somebody who
            measures a product with as many other vectors will hardly find more.
        """
        squares = np.square(product - self.product)
        errors = self._weights @ squares
        total = errors.mean()
        row_deviation = self._row_deviation(squares.mean(axis=1))
        # What chance has in this measurement, and what it will have in the ratio of the next one.
        unlike = errors - total / self.norm**2 * self._squared_norms
        vector_deviation = math.hypot(errors.std(ddof=1), unlike.std(ddof=1)) / math.sqrt(
            len(errors)
        )
        room = _DEVIATIONS * math.hypot(row_deviation, vector_deviation)
        return math.sqrt(total) / self.norm, math.sqrt(total + room) / self.norm

    def _mean_square(self, diagonal, rng):
        n = len(diagonal)
        if n <= _N_SIZED:
            rows, chances = np.arange(n), np.full(n, 1 / n)
        else:
            all_chances = 0.5 / n + 0.5 * diagonal / diagonal.sum()
            rows = np.sort(_choose(all_chances, _N_SIZED, rng))
            chances = all_chances[rows]
        squares = self._over_columns(rows, lambda block, _: self._row_squares(block))
        return (squares / chances).mean() / n

    def _draw(self, diagonal, neighbors, rng):
        n = len(diagonal)
        own = _one_of_each_stretch(1 / diagonal, _N_HELD_OUT, rng)
        self.held_out = np.zeros(n, dtype=bool)
        self.held_out[own] = True
        rare = 1.0 / (1.0 + np.bincount(neighbors.ravel(), minlength=n))
        chances = np.zeros(n)
        for weights in (np.ones(n), rare, diagonal):
            allowed = np.where(self.held_out, 0.0, weights)
            chances += allowed / (3 * allowed.sum())
        drawn = _choose(chances, _N_DRAWN, rng)
        self.rows, self.n_own = np.concatenate([own, drawn]), len(own)
        self.chances = chances[drawn]

    def _row_deviation(self, squares):
        """Return the standard error of the sum over all rows."""
        drawn = squares[self.n_own :]
        if len(drawn) == 0:
            return 0.0
        return float((drawn / self.chances).std() / math.sqrt(len(drawn)))

    @staticmethod
    def _row_squares(block):
        return np.einsum("ij,ij->i", block, block)

    def _over_columns(self, rows, term):
        """Add up term(K[rows, cols], cols) over all columns, in a fixed order, in float64."""
        entries, n_threads = self._entries, self._n_threads
        n = entries.shape[0]
        width = max(1, _MAX_BLOCK // len(rows))

        def part(start):
            cols = np.arange(start, min(start + width, n))
            return term(entries.block(rows, cols), cols).astype(np.float64)

        total = 0.0
        parts = range(0, n, width)
        # A few at a time, so that few results wait to be added up.
        for first in range(0, len(parts), 4 * n_threads):
            batch = parts[first : first + 4 * n_threads]
            for value in run_tasks(part, batch, n_threads if entries.thread_safe else 1):
                total = total + value
        return total


def _choose(chances, size, rng):
    """Draw with replacement."""
    return rng.choice(len(chances), size=size, p=chances / chances.sum())


def _one_of_each_stretch(weights, n_stretches, rng):
    """Draw a position from each of equal stretches, in proportion to the weights."""
    edges = np.linspace(0, len(weights), n_stretches + 1).astype(np.intp)
    total = np.concatenate([[0.0], np.cumsum(weights)])
    at = total[edges[:-1]] + rng.random(n_stretches) * np.diff(total[edges])
    return np.clip(np.searchsorted(total, at, side="right") - 1, edges[:-1], edges[1:] - 1)

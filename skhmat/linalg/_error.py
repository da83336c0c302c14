"""The measured error: what the product misses, row by row, on a sample of rows."""

import math

import numpy as np

from ._parallel import run_tasks

# Up to here all rows are measured, and none needs to be held back from compression.
_ALL_ROWS_BELOW = 4096
# Beyond: rows held back, and rows measured besides.
_N_HELD_OUT = 256
_N_DRAWN = 1024
_N_VECTORS = 32
# Entries of a block of K read at once.
_MAX_BLOCK = 1 << 21


class ErrorCheck:
    """Exact products of random vectors with a sample of rows, to compare approximations with.

    The error is the accuracy measure of GOFMM (thesis, equation 6.2), ||K~W - KW||_F / ||KW||_F
    with standard normal W. Some rows, one from each of equal stretches of the tree order, are held
    back from compression. A row that must not be read is a row that compression may get wrong, so
    they speak only for themselves; the others are represented by rows drawn with replacement, half
    of them uniformly, half in favour of rows that are in few neighbour lists: sampling reaches
    these last, and a rare bad row among them must not be overlooked (Hansen and Hurwitz, Ann. Math.
    Stat. 14, 1943).

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
        Mean over all rows of their squared norm, ||K||_F^2 / n, estimated.
    W : ndarray of shape (n, 32)
        Standard normal, in tree order.
    """

    def __init__(self, entries, neighbors, rng, n_threads):
        n = entries.shape[0]
        if n <= _ALL_ROWS_BELOW:
            self.rows, self.held_out, self.n_own = np.arange(n), None, n
            self.chances = np.empty(0)
        else:
            self._draw(n, neighbors, rng)
        self.W = rng.standard_normal((n, _N_VECTORS), dtype=entries.dtype)
        self.product, squares = self._exact(entries, n_threads)
        self.mean_square = self._total(squares)[0] / n
        self.norm = math.sqrt(self._total(np.square(self.product).sum(axis=1))[0])

    def measure(self, product):
        """Measure an approximation.

        Parameters
        ----------
        product : ndarray of shape (n, 32)
            Approximate K @ W in tree order.

        Returns
        -------
        error : float
            Relative error, of all rows.
        upper : float
            The same plus two standard errors of its square, for the rows that were not measured.
        """
        squares = np.square(product[self.rows] - self.product).sum(axis=1)
        total, deviation = self._total(squares)
        return math.sqrt(total) / self.norm, math.sqrt(total + 2 * deviation) / self.norm

    def _draw(self, n, neighbors, rng):
        edges = np.linspace(0, n, _N_HELD_OUT + 1).astype(np.intp)
        own = rng.integers(edges[:-1], edges[1:]).astype(np.intp)
        self.held_out = np.zeros(n, dtype=bool)
        self.held_out[own] = True
        rare = 1.0 / (1.0 + np.bincount(neighbors.ravel(), minlength=n))
        rare[own] = 0.0
        chances = 0.5 * rare / rare.sum() + 0.5 * ~self.held_out / (n - len(own))
        drawn = rng.choice(n, size=_N_DRAWN, p=chances / chances.sum())
        self.rows, self.n_own = np.concatenate([own, drawn]), len(own)
        self.chances = chances[drawn]

    def _total(self, squares):
        """Return the sum over all rows from that of the rows measured, and its standard error."""
        total, drawn = squares[: self.n_own].sum(), squares[self.n_own :]
        if len(drawn) == 0:
            return float(total), 0.0
        terms = drawn / self.chances
        return float(total + terms.mean()), float(terms.std() / np.sqrt(len(terms)))

    def _exact(self, entries, n_threads):
        """Return K[rows] @ W and the squared norms of these rows, summed up in a fixed order."""
        n = entries.shape[0]
        width = max(1, _MAX_BLOCK // len(self.rows))

        def part(start):
            cols = np.arange(start, min(start + width, n))
            block = entries.block(self.rows, cols)
            squares = np.einsum("ij,ij->i", block, block).astype(np.float64)
            return (block @ self.W[cols]).astype(np.float64), squares

        product, squares = 0.0, 0.0
        parts = range(0, n, width)
        # A few at a time, so that few results wait to be added up.
        for first in range(0, len(parts), 4 * n_threads):
            batch = parts[first : first + 4 * n_threads]
            for terms in run_tasks(part, batch, n_threads if entries.thread_safe else 1):
                product, squares = product + terms[0], squares + terms[1]
        return product, squares

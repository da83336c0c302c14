"""Points that are rows of a sparse matrix, and kernels of them by products of sparse matrices."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

# Kernels of scikit-learn that are functions of inner products.
SPARSE_KERNELS = ("linear", "poly", "polynomial", "cosine", "rbf")


class SparseRows:
    """Points that are rows of a sparse matrix, for callable kernels of a `KernelMatrix`.

    Parameters
    ----------
    X : sparse matrix of shape (n, d)

    Attributes
    ----------
    matrix : csr_matrix of shape (n, d), float64
        With sorted indices, so that sums of products are the same in any order of two points.
    """

    dtype, ndim = np.dtype(np.float64), 2

    def __init__(self, X):
        matrix = sparse.csr_matrix(X, dtype=np.float64)
        if not matrix.has_canonical_format:
            matrix = matrix.copy()  # its arrays may be the user's
            matrix.sum_duplicates()
        self.matrix, self.shape = matrix, matrix.shape

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        """Return the points that an index array or a slice selects."""
        return SparseRows(self.matrix[rows])

    @property
    def nbytes(self):
        """Bytes held."""
        parts = self.matrix.data, self.matrix.indices, self.matrix.indptr
        return sum(part.nbytes for part in parts)

    def copy(self):
        """Return the same points, which nothing modifies."""
        return self

    def is_finite(self):
        """Return whether all entries are finite."""
        return bool(np.isfinite(self.matrix.data).all())

    def products(self, other):
        """Return the inner products with other points, of shape (n, m)."""
        return (self.matrix @ other.matrix.T).toarray()

    def normalized(self):
        """Return the points divided by their norms; zeros stay as they are."""
        norms = np.sqrt(self.squares())
        return SparseRows(sparse.diags(1 / np.where(norms > 0, norms, 1.0)) @ self.matrix)

    def scaled(self, factors):
        """Return the points with each feature multiplied by its factor, of shape (d,)."""
        m = self.matrix
        data = m.data * factors[m.indices]
        return SparseRows(sparse.csr_matrix((data, m.indices, m.indptr), m.shape))

    def squares(self):
        """Return the squared norms, added up in the order of inner products, of shape (n,)."""
        rows = np.repeat(np.arange(len(self)), np.diff(self.matrix.indptr))
        return np.bincount(rows, np.square(self.matrix.data), minlength=len(self))


def squared_distances(A, B):
    """Return squared distances between SparseRows, of shape (m, n).

    Their errors are rounding of the squared norms: sparse points cannot be centred.
    """
    distances = A.products(B)
    distances *= -2
    distances += np.add.outer(A.squares(), B.squares())
    return np.maximum(distances, 0, out=distances)


@dataclass(frozen=True)
class SparseKernel:
    """A kernel of scikit-learn between SparseRows.

    Attributes
    ----------
    name : str
        One of `SPARSE_KERNELS`.
    gamma : float, ndarray of shape (d,) or None
        None means 1 / n_features; one for each feature only for "rbf".
    degree, coef0 : float
    """

    name: str
    gamma: float | np.ndarray | None = None
    degree: float = 3
    coef0: float = 1

    def __call__(self, A, B):
        """Return the block of points A and B, of shape (m, n)."""
        gamma = 1 / A.shape[1] if self.gamma is None else self.gamma
        if np.ndim(gamma) == 1:
            A, B = (points.scaled(np.sqrt(gamma)) for points in (A, B))
            gamma = 1.0
        if self.name == "rbf":
            block = squared_distances(A, B)
            block *= -gamma
            return np.exp(block, out=block)
        if self.name == "cosine":
            A, B = A.normalized(), B.normalized()
        block = A.products(B)
        if not self.is_bilinear:
            block *= gamma
            block += self.coef0
            block **= self.degree
        return block

    @property
    def is_bilinear(self):
        """Whether values are inner products, perhaps of normalized points."""
        return self.name in ("linear", "cosine")

    def sums(self, A, B, W):
        """Return the block of a bilinear kernel times W, (n, k), without forming it, (m, k)."""
        if self.name == "cosine":
            A, B = A.normalized(), B.normalized()
        return A.matrix @ (B.matrix.T @ W)

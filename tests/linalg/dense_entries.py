"""The plainest entries objects: a dense matrix, and a Gaussian kernel on points."""

import numpy as np
from scipy.spatial.distance import cdist


class DenseEntries:
    thread_safe = True

    def __init__(self, matrix, points=None):
        self.matrix, self.points = matrix, points
        self.shape, self.dtype = matrix.shape, matrix.dtype

    def block(self, rows, cols):
        return self.matrix[np.ix_(rows, cols)]

    def diagonal(self):
        return self.matrix.diagonal()


class GaussianEntries:
    thread_safe = True

    def __init__(self, points, bandwidth):
        self.points, self.bandwidth = points, bandwidth
        self.shape, self.dtype = (len(points), len(points)), points.dtype

    def block(self, rows, cols):
        squares = cdist(self.points[rows], self.points[cols], "sqeuclidean")
        return np.exp(squares / (-2 * self.bandwidth**2)).astype(self.dtype)

    def diagonal(self):
        return np.ones(len(self.points), dtype=self.dtype)


def gram_matrix(rng, n, d=8, dtype=np.float64):
    """A positive semi-definite matrix with negative entries, and the points behind it."""
    points = rng.standard_normal((n, d)).astype(dtype)
    return DenseEntries(points @ points.T, points)

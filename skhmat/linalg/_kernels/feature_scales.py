"""Points in units in which a kernel with one bandwidth for each feature has a single bandwidth."""

from dataclasses import dataclass

import numpy as np

# Fraction of the largest number at which coordinates end: squares of differences are infinite
# there, but differences are not.
_FARTHEST = 0.25


@dataclass(frozen=True, eq=False)
class FeatureScales:
    """The units z_j = (x_j - center_j) bandwidth / bandwidths_j.

    Distances of z in units of `bandwidth` are those of x in units of the bandwidths of the
    features, so every kernel of the scaled distance, and all that is made for one, can be used as
    it is. The points are centred, since the units round them: the rounding is then a part of their
    extent and not of their distance from the origin.

    Attributes
    ----------
    bandwidth : float
        The geometric mean of the bandwidths: coordinates keep about their size, and where all
        bandwidths are equal it is the same one.
    center, factors : ndarray of shape (d,), float64
    """

    bandwidth: float
    center: np.ndarray
    factors: np.ndarray

    @classmethod
    def from_bandwidths(cls, bandwidths, X):
        """Return the units for bandwidths of shape (d,) and points of shape (n, d)."""
        mean = np.exp(np.log(bandwidths).mean())
        mean = np.clip(mean, bandwidths.min(), bandwidths.max())
        # The middle of the box does not depend on the order of the points, as a mean does.
        low, high = (end(axis=0).astype(np.float64) for end in (X.min, X.max))
        with np.errstate(over="ignore"):
            return cls(float(mean), low / 2 + high / 2, mean / bandwidths)

    def transform(self, X):
        """Return points of shape (m, d) in these units, a new array in the dtype of X."""
        Z, farthest = np.empty(X.shape, X.dtype), self._farthest(X.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            for j in range(X.shape[1]):  # in float64, of which there is one column at a time
                column = (X[:, j] - self.center[j]) * self.factors[j]
                Z[:, j] = np.clip(column, -farthest, farthest)
        return Z

    def holds(self, Z):
        """Return whether coordinates in these units are numbers, and none of them was cut off."""
        largest = max(np.abs(Z.min()), np.abs(Z.max()))
        return bool(largest <= self._farthest(Z.dtype) / 2)

    @staticmethod
    def _farthest(dtype):
        return _FARTHEST * float(np.finfo(dtype).max)

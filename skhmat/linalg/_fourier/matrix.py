"""The Fourier form of a kernel matrix: F* D F with nonuniform transforms F."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..._utils.parallel import run_tasks
from .modes import FourierModes
from .nonuniform import NonuniformTransform, pair_columns, unpair_columns


@dataclass(frozen=True)
class PrecisionPolicy:
    """Which part of the error transforms may make, and when they compute in float32.

    Attributes
    ----------
    tolerance : float
        Tolerance of the transforms, relative to the error that an entry may have.
    min_entry_error_single : float
        Smallest error of an entry for which transforms compute in float32.
    min_rtol_single : float
        Smallest relative error of the matrix for them, per unit of the period: coordinates are
        rounded to a part of the period.
    """

    tolerance: float = 0.5
    min_entry_error_single: float = 3e-6
    min_rtol_single: float = 5e-8


POLICY = PrecisionPolicy()


@dataclass(frozen=True, eq=False)
class FourierForm:
    """A kernel matrix as a sum over Fourier modes.

    Attributes
    ----------
    modes : FourierModes
    points : ndarray of shape (n, d)
        In the user's order.
    bandwidth : float or ndarray of shape (d,)
    center : ndarray of shape (d,)
        Middle of the box around the points.
    """

    modes: FourierModes
    points: np.ndarray
    bandwidth: float | np.ndarray
    center: np.ndarray

    @property
    def nbytes(self):
        """Bytes held: the points, their phases, and the coefficients."""
        n_modes = math.prod(self.modes.shape)
        return self.points.nbytes + self.points.size * self.dtype.itemsize + 8 * n_modes

    @cached_property
    def dtype(self):
        """The dtype in which transforms compute."""
        demand = self.modes.demand
        is_single = (
            self.points.dtype == np.float32
            and demand.entry_error >= POLICY.min_entry_error_single
            and demand.rtol >= POLICY.min_rtol_single * self.modes.period.max()
        )
        return np.dtype(np.float32 if is_single else np.float64)

    def multiply(self, W, n_threads):
        """Return the product with W of shape (n, k), in the dtype of W."""
        out = np.empty_like(W)
        width = 2 * self._transform.batch
        starts = range(0, W.shape[1], width)
        # Few batches leave threads to parts of the points.
        per_batch = max(n_threads // max(len(starts), 1), 1)

        def transform(start):
            columns = W[:, start : start + width]
            modes = self.charges(columns, per_batch)
            values = unpair_columns(self._transform.to_points(modes, per_batch))
            out[:, start : start + width] = values[:, : columns.shape[1]]

        run_tasks(transform, starts, n_threads)
        out += W.dtype.type(self.missing) * W
        return out

    def charges(self, W, n_threads):
        """Return what sums at any points are made of, for weights W of shape (n, k), by mode."""
        modes = self._transform.to_modes(pair_columns(W, self.dtype), n_threads)
        modes *= self._coefficients
        return modes

    def evaluate(self, X_new, charges, n_threads):
        """Return sums at new points inside the box, (m, k rounded up to even), from charges."""
        return unpair_columns(self._transform_at(X_new).to_points(charges, n_threads))

    @cached_property
    def missing(self):
        """What the diagonal lacks without the frequencies that were left out; products add it."""
        return 1.0 - float(self.modes.coefficients.sum())

    def is_inside(self, X_new):
        """Return which new points lie in the box around the points, (m,)."""
        half = self.modes.extent / 2 * (1 + 4 * np.finfo(self.points.dtype).eps)
        return (np.abs(self._scaled(X_new)) <= half).all(axis=1)

    @cached_property
    def _transform(self):
        return self._transform_at(self.points)

    @cached_property
    def _coefficients(self):
        """The coefficients in the dtype of the transforms."""
        return self.modes.coefficients.astype(self.dtype)

    def _scaled(self, X):
        """Return points relative to the center, in units of the bandwidth, in float64."""
        return (X - self.center) / self.bandwidth

    def _transform_at(self, X):
        phases = self._scaled(X) * (2 * np.pi / self.modes.period)
        tolerance = transform_tolerance(self.modes.demand)
        return NonuniformTransform(phases, self.modes.shape, tolerance, self.dtype)

    def __getstate__(self):
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def transform_tolerance(demand, policy=POLICY):
    """Return the tolerance of transforms for a demand."""
    return policy.tolerance * demand.entry_error

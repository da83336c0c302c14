"""Sums over points at equally spaced frequencies, and back: nonuniform fast Fourier transforms.

FINUFFT does the work (A. H. Barnett, J. F. Magland, L. af Klinteberg, SIAM J. Sci. Comput. 41,
2019), each transform on one thread: its own threads add up in any order. Threads here take parts of
the points or some of the vectors, which are cut alike for any number of threads.
"""

import importlib.util
import math
import threading
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..._utils.parallel import run_tasks


@dataclass(frozen=True)
class TransformPolicy:
    """How transforms are cut into parts.

    Attributes
    ----------
    min_part : int
        Points that are worth a transform of their own.
    points_per_grid : float
        A part has at least this number of points for each point of the grid that FINUFFT works on,
        because each part takes an FFT of the grid.
    oversampling : float
        Points of that grid per mode, in each dimension.
    batch_bytes : int
        Vectors are transformed together while their grids take no more than this.
    max_batch : int
        Most vectors that are transformed together.
    min_tolerance, min_tolerance_single : float
        Smallest errors that FINUFFT reaches in float64 and float32.
    """

    min_part: int = 1 << 16
    points_per_grid: float = 0.5
    oversampling: float = 2.0
    batch_bytes: int = 1 << 26
    max_batch: int = 16
    min_tolerance: float = 1e-14
    min_tolerance_single: float = 1e-6


POLICY = TransformPolicy()


def is_installed():
    """Return whether FINUFFT is installed, which is an optional dependency."""
    return importlib.util.find_spec("finufft") is not None


def require(what="the Fourier form of a kernel matrix"):
    """Return FINUFFT's class of plans, or raise an ImportError that says how to install it."""
    try:
        from finufft import Plan
    except ImportError as error:
        raise ImportError(f"{what} needs FINUFFT: pip install 'skhmat[fourier]'.") from error
    return Plan


def pair_columns(W, dtype):
    """Return pairs of real columns, (n, k), as complex vectors of shape ((k + 1) // 2, n).

    A transform takes as long for a complex vector as for a real one.
    """
    paired = np.zeros(((W.shape[1] + 1) // 2, len(W)), np.result_type(dtype, np.complex64))
    paired.real = W[:, 0::2].T
    paired.imag[: W.shape[1] // 2] = W[:, 1::2].T
    return paired


def unpair_columns(values):
    """Return the real and imaginary parts of k complex vectors, (k, n), as columns, (n, 2 k)."""
    return np.stack([values.real, values.imag], axis=1).reshape(-1, values.shape[1]).T


def hermitian_parts(modes):
    """Return what real and imaginary values contribute to their modes, two Hermitian arrays.

    Parameters
    ----------
    modes : ndarray of any odd shape, complex
        The sum of the first and i times the second.
    """
    mirror = modes[(slice(None, None, -1),) * modes.ndim].conj()
    return (modes + mirror) / 2, (modes - mirror) / 2j


def n_parts(n, shape, policy=POLICY):
    """Return into how many parts n points are cut for transforms with modes of a shape."""
    part = max(policy.min_part, int(policy.points_per_grid * _grid(shape, policy)))
    return max(n // part, 1)


def _grid(shape, policy):
    """Return the points of the grid that FINUFFT works on, at most."""
    return math.prod(policy.oversampling * m for m in shape)


class NonuniformTransform:
    """Transforms between values at points and values at frequencies.

    Parameters
    ----------
    phases : ndarray of shape (n, d)
        Points in [-pi, pi]^d.
    shape : tuple of d ints
        Number of modes in each dimension, odd.
    tolerance : float
        Relative error of the transforms.
    dtype : dtype
        float32 or float64, in which they compute.
    policy : TransformPolicy
    """

    def __init__(self, phases, shape, tolerance, dtype, *, policy=POLICY):
        is_single = dtype == np.float32
        self.dtype = np.dtype(np.complex64 if is_single else np.complex128)
        lowest = policy.min_tolerance_single if is_single else policy.min_tolerance
        self.tolerance = max(tolerance, lowest)
        self.shape = shape
        self.n = len(phases)
        bounds = np.linspace(0, self.n, n_parts(self.n, shape, policy) + 1).astype(np.intp)
        self._parts = [slice(*pair) for pair in pairwise(bounds)]
        # One array for each coordinate, which the plans refer to.
        self._coordinates = np.ascontiguousarray(phases.T, dtype=dtype)
        fitting = int(policy.batch_bytes // (_grid(shape, policy) * self.dtype.itemsize))
        self.batch = min(max(fitting, 1), policy.max_batch)
        self._free = {}
        self._lock = threading.Lock()

    def __reduce__(self):
        raise TypeError("a transform has plans, which no pickle can hold")

    def to_modes(self, values, n_threads):
        """Return the sums of values exp(i j.x) over the points, for each mode j.

        Parameters
        ----------
        values : ndarray of shape (k, n), complex
        n_threads : int

        Returns
        -------
        sums : ndarray of shape (k, *shape), complex
        """

        def transform(part):
            return self._execute(1, part, values[:, self._parts[part]])

        total = None
        for first in range(0, len(self._parts), n_threads):
            parts = range(first, min(first + n_threads, len(self._parts)))
            for sums in run_tasks(transform, parts, n_threads):
                total = sums if total is None else np.add(total, sums, out=total)
        return total

    def to_points(self, modes, n_threads):
        """Return the sums of modes exp(-i j.x) over all modes j, for each point x.

        Parameters
        ----------
        modes : ndarray of shape (k, *shape), complex
        n_threads : int

        Returns
        -------
        values : ndarray of shape (k, n), complex
        """
        out = np.empty((len(modes), self.n), dtype=self.dtype)

        def transform(part):
            out[:, self._parts[part]] = self._execute(2, part, modes)

        run_tasks(transform, range(len(self._parts)), n_threads)
        return out

    def _execute(self, kind, part, given):
        """Run a transform of FINUFFT's type 1 or 2 for some of the points."""
        key = kind, part, len(given)
        plan = self._take(key)
        given = np.ascontiguousarray(given, dtype=self.dtype)
        length = self._parts[part].stop - self._parts[part].start
        shape = self.shape if kind == 1 else (length,)
        out = np.empty((len(given), *shape), dtype=self.dtype)
        if len(given) == 1:  # a plan for one vector takes no axis of vectors
            plan.execute(given[0], out[0])
        else:
            plan.execute(given, out)
        with self._lock:
            self._free.setdefault(key, []).append(plan)
        return out

    def _take(self, key):
        """Return a plan that no other thread uses, with its points set."""
        with self._lock:
            if self._free.get(key):
                return self._free[key].pop()
        kind, part, n_vectors = key
        plan = require()(
            kind,
            self.shape,
            n_vectors,
            eps=self.tolerance,
            isign=1 if kind == 1 else -1,
            dtype=self.dtype,
            nthreads=1,
            showwarn=0,  # the error is measured
        )
        plan.setpts(*self._coordinates[:, self._parts[part]])
        return plan

"""`KernelMatrix`: a kernel on points as an exact linear operator that is never stored."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..._ext.simd import pairwise as _core
from ..._utils.parallel import effective_n_threads, single_threaded_blas
from ..._utils.read_only import read_only
from ..._utils.validation import as_array, check_columns, parameter_error
from .._operators.base import SymmetricOperator
from .feature_scales import FeatureScales
from .sparse_rows import SparseKernel, SparseRows
from .table import CONSTRAINTS, KERNELS, check_bandwidth, check_kernel, core_parameters

# Points on which a callable is tried at construction.
_N_PROBED = 5
# Largest number of points, for rows and for columns, passed to a callable at once.
_TILE = 1024
# Diagonal entries that are read from one call of a callable, which computes their whole block.
_DIAGONAL_BLOCK = 16
# Bandwidths of features that are shown as text.
_MAX_SHOWN = 6


@dataclass(frozen=True)
class Float32Policy:
    """When a kernel matrix in float32 is close enough to the one in float64.

    Attributes
    ----------
    max_coordinate_error : float
        Largest rounding of the points, relative to the bandwidth.
    min_largest_diagonal : float
        Smallest value of the largest diagonal entry: below, entries that matter are subnormal.
    """

    max_coordinate_error: float = 1e-5
    min_largest_diagonal: float = 1e-25


FLOAT32 = Float32Policy()


def _check_points(name, X):
    """Return points as C-contiguous float32 or float64, without a copy where they are that."""
    if isinstance(X, SparseRows):
        if not X.is_finite():
            raise parameter_error(name, "finite", got="NaN or infinity")
        return X
    X = as_array(name, X)
    if X.ndim != 2:
        allowed = "2-dimensional, (n_samples, n_features)"
        raise parameter_error(name, allowed, got=f"{X.ndim} dimension(s)")
    if 0 in X.shape:
        allowed = "of at least one sample and one feature"
        raise parameter_error(name, allowed, got=f"shape {X.shape}")
    if X.dtype.kind not in "fiub":
        raise parameter_error(name, "real", got=f"dtype {X.dtype}")
    single = X.dtype.newbyteorder("=") == np.float32
    X = np.ascontiguousarray(X, dtype=np.float32 if single else np.float64)
    if not _all_finite(X):
        raise parameter_error(name, "finite", got="NaN or infinity")
    return X


def _all_finite(X):
    """Return whether all entries are finite, without a temporary array as large as X."""
    step = max(1, 2**20 // X.shape[1])
    return all(np.isfinite(X[i : i + step]).all() for i in range(0, len(X), step))


class KernelMatrix(SymmetricOperator):
    """The matrix k(x_i, x_j) of a kernel on points: exact, symmetric, never stored.

    Entries are computed when they are needed, so memory is proportional to the number of points.
    Products run on many threads; blocks of entries on one, to be called from many threads.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Points. A C-contiguous float32 or float64 array is not copied, so it must not be changed
        later; everything else is converted (integers to float64). The entries have the dtype of the
        points. With one bandwidth for each feature a scaled copy is held, too.
    kernel : str or callable, default="gaussian"
        With r the Euclidean distance of x and y, and d = n_features:

        - ``"gaussian"``: exp(-r² / (2 bandwidth²))
        - ``"exponential"`` (Laplacian) and ``"matern12"``: exp(-r / bandwidth)
        - ``"matern32"``: (1 + a) exp(-a), a = √3 r / bandwidth
        - ``"matern52"``: (1 + a + a²/3) exp(-a), a = √5 r / bandwidth
        - ``"inverse_multiquadric"``: 1 / √(1 + (r / bandwidth)²)
        - ``"rational_quadratic"``: (1 + r² / (2 alpha bandwidth²))^(-alpha)
        - ``"laplace_green"``: (r² + bandwidth²)^(-(d-2)/2) for d >= 3, the Green's function of the
          Laplace operator up to a constant; ``bandwidth`` is the length that regularises the
          diagonal. For d = 6 this is 1 / (r² + bandwidth²)², test matrix K07 of [1]_.
          With one bandwidth for each feature, r² is Σ (b / bandwidth_j)² (x_j - y_j)² and
          ``bandwidth`` b, the geometric mean.
        - ``"polynomial"``: (gamma x·y + coef0)^degree
        - ``"linear"``: x·y
        - ``"cosine"``: x·y / (‖x‖ ‖y‖), and 0 for a zero vector
        - a callable ``f(A, B)`` that takes points of shape (m, d) and (n, d), each an array of its
          own, and returns the (m, n) entries as float32 or float64. It must be symmetric,
          ``f(A, B) == f(B, A).T``.
    bandwidth : float or array-like of shape (n_features,), default=1.0
        Length scale of the kernels of r: one, or one for each feature, so that r / bandwidth is
        √(Σ ((x_j - y_j) / bandwidth_j)²).
    alpha : float, default=1.0
        Exponent of ``"rational_quadratic"``.
    gamma : float, default=None
        Factor of ``"polynomial"``; None means 1 / n_features.
    coef0 : float, default=1.0
        Constant of ``"polynomial"``.
    degree : int, default=3
        Degree of ``"polynomial"``.
    n_jobs : int, default=None
        Threads of products. None means all that OpenMP would use; -1 as many as `joblib.cpu_count`
        says, which respects affinity and container limits (1 in a worker of joblib). Results are
        the same, bit by bit, for any number. A callable kernel is called from one thread.

    Attributes
    ----------
    X : ndarray of shape (n_samples, n_features)
        The points, read-only.
    points : ndarray of shape (n_samples, n_features)
        The same.
    bandwidth : float or ndarray of shape (n_features,)
    shape : tuple of int
        (n_samples, n_samples).
    dtype : dtype
        float32 or float64.

    Raises
    ------
    ValueError
        If X is not two-dimensional, empty, complex or not finite, a parameter is out of its range,
        entries would overflow the dtype, or a callable returns anything but finite, symmetric
        real numbers of the right shape.

    Notes
    -----
    From 32 dimensions on, distances are computed from inner products of centred points; pairs
    closer than a quarter of their norms are recomputed from differences, so that the relative
    error of every distance is bounded. The exponential is accurate to 2 (float32) or 4 (float64)
    units in the last place, and entries below the smallest normal number are 0.

    With one bandwidth for each feature the points are scaled once, at construction, which rounds
    their coordinates, relative to the middle of all points, in their dtype.

    References
    ----------
    .. [1] C. D. Yu, J. Levitt, S. Reiz, G. Biros (2017). Geometry-oblivious FMM for compressing
       dense SPD matrices. Proceedings of SC17. https://doi.org/10.1145/3126908.3126921

    Examples
    --------
    >>> import numpy as np
    >>> from skhmat.linalg import KernelMatrix
    >>> X = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    >>> K = KernelMatrix(X, kernel="gaussian", bandwidth=1.0)
    >>> K
    <3x3 KernelMatrix of float64: gaussian, bandwidth=1.0>
    >>> K.toarray().round(3)
    array([[1.   , 0.607, 0.135],
           [0.607, 1.   , 0.082],
           [0.135, 0.082, 1.   ]])
    >>> (K @ np.ones(3)).round(3)
    array([1.742, 1.689, 1.217])
    >>> KernelMatrix(X, kernel="gaussian", bandwidth=[1.0, 2.0]).toarray().round(3)
    array([[1.   , 0.607, 0.607],
           [0.607, 1.   , 0.368],
           [0.607, 0.368, 1.   ]])
    """

    __module__ = "skhmat.linalg"

    def __init__(
        self,
        X,
        kernel="gaussian",
        bandwidth=1.0,
        *,
        alpha=1.0,
        gamma=None,
        coef0=1.0,
        degree=3,
        n_jobs=None,
    ):
        self.kernel = kernel
        self.alpha = alpha
        self.gamma = gamma
        self.coef0 = coef0
        self.degree = degree
        self.n_jobs = n_jobs
        check_kernel(kernel)
        for name, constraint in CONSTRAINTS.items():
            constraint.check(name, getattr(self, name))
        effective_n_threads(n_jobs)  # raises if it is not allowed
        self._X = _check_points("X", X)
        n, n_features = self._X.shape
        self.bandwidth = check_bandwidth(kernel, bandwidth, n_features)
        self._scales = None
        if np.ndim(self.bandwidth) == 1:
            self._scales = FeatureScales.from_bandwidths(self.bandwidth, self._X)
        if callable(kernel):
            super().__init__(self._probe(), (n, n))
        else:
            super().__init__(self.X.dtype, (n, n))
            self._check_range()
            self._core_parameters = core_parameters(kernel, self._values())

    @property
    def X(self):
        """The points, read-only: the dtype and the range of entries were checked for these."""
        return read_only(self._X)

    @property
    def points(self):
        """The points, of shape (n_samples, n_features), or None where they are sparse."""
        return None if isinstance(self.X, SparseRows) else self.X

    @cached_property
    def scaled_points(self):
        """The points in units in which the kernel has a single bandwidth: as given if it has.

        Held like the points themselves, but not pickled.
        """
        if self._scales is None:
            return self.X
        return read_only(self._scales.transform(self._X))

    def scale_points(self, X_new):
        """Return other points, (m, n_features), in the units of `scaled_points`."""
        return X_new if self._scales is None else self._scales.transform(X_new)

    def isotropic(self):
        """Return the same matrix as that of a kernel with a single bandwidth, of `scaled_points`.

        What is made for functions of one distance, and reads points, takes this one.
        """
        if self._scales is None:
            return self
        return self._of_kernel(self.scaled_points, self._scales.bandwidth)

    @property
    def nbytes(self):
        """Bytes held: the points, and a scaled copy with one bandwidth for each feature."""
        return self.X.nbytes * (1 if self._scales is None else 2)

    @property
    def thread_safe(self):
        """Whether several threads may read blocks at once: not with a kernel written in Python."""
        return not callable(self.kernel)

    def diagonal(self):
        """Return the diagonal, of shape (n_samples,)."""
        if not callable(self.kernel):
            diagonal = KERNELS[self.kernel].diagonal(self.X, self._values())
            return diagonal.astype(self.dtype, copy=False)
        out = np.empty(len(self.X), dtype=self.dtype)
        for i in range(0, len(out), _DIAGONAL_BLOCK):
            points = self.X[i : i + _DIAGONAL_BLOCK]
            out[i : i + _DIAGONAL_BLOCK] = np.diagonal(self._call(points.copy(), points.copy()))
        return out

    def block(self, rows, cols, out=None):
        """Compute the entries where some rows and columns meet, on the calling thread.

        The GIL is released meanwhile, so that several threads can compute several blocks.

        Parameters
        ----------
        rows, cols : array-like of int or slice
            Indices; negative ones count from the end.
        out : ndarray of shape (n_rows, n_cols), default=None
            Where to write: C-contiguous, of the matrix' dtype.

        Returns
        -------
        ndarray of shape (n_rows, n_cols)
            `out`, or a new array.

        Raises
        ------
        IndexError
            If an index is out of bounds or not an integer.
        ValueError
            If `out` does not fit.
        """
        rows = _indices("rows", rows, len(self.X))
        cols = _indices("cols", cols, len(self.X))
        out = self._output(out, (len(rows), len(cols)))
        return self._fill(rows, cols, out, n_threads=1)

    def toarray(self):
        """Return the dense matrix, of shape (n_samples, n_samples)."""
        every = np.arange(len(self.X), dtype=np.intp)
        out = np.empty(self.shape, dtype=self.dtype)
        return self._fill(every, every, out, effective_n_threads(self.n_jobs))

    def evaluate(self, X_new, weights):
        """Sum the kernel over the points at new points, exactly: K(X_new, X) @ weights.

        Parameters
        ----------
        X_new : array-like of shape (n_new, n_features)
        weights : array-like of shape (n_samples,) or (n_samples, k)

        Returns
        -------
        sums : ndarray of shape (n_new,) or (n_new, k)
            Of the matrix' dtype.

        Raises
        ------
        ValueError
            `X_new` has another number of features or is not finite, or `weights` another length.
        """
        X_new = self._check_new(X_new)
        W = check_columns("weights", weights, len(self.X), real=True)
        n_threads = effective_n_threads(self.n_jobs)
        sums = self._sums(self.scale_points(X_new), self.scaled_points, W, n_threads)
        return self._checked_sums(sums).reshape(len(X_new), *np.shape(weights)[1:])

    def permuted(self, perm):
        """Return the same kernel on the points ``X[perm]``.

        Parameters
        ----------
        perm : array-like of int of shape (n_samples,)
            A permutation of ``range(n_samples)``.

        Returns
        -------
        KernelMatrix
            With entry [i, j] equal to this matrix' [perm[i], perm[j]].

        Raises
        ------
        IndexError
            If an index is out of bounds or not an integer.
        ValueError
            If `perm` is no permutation.
        """
        n = len(self.X)
        perm = _indices("perm", perm, n)
        if len(perm) != n or np.any(np.bincount(perm, minlength=n) != 1):
            allowed = f"a permutation of range({n})"
            raise parameter_error("perm", allowed, got=f"{len(perm)} indices")
        return self.with_points(self.X[perm])

    def with_points(self, X):
        """Return the matrix of the same kernel on other points.

        Parameters
        ----------
        X : array-like of shape (m, n_features)

        Returns
        -------
        KernelMatrix
            Of shape (m, m), in the dtype of X.
        """
        return self._of_kernel(X, self.bandwidth)

    def _of_kernel(self, X, bandwidth):
        """Return the matrix of the same kernel on other points with another bandwidth."""
        return type(self)(
            X,
            self.kernel,
            bandwidth,
            alpha=self.alpha,
            gamma=self.gamma,
            coef0=self.coef0,
            degree=self.degree,
            n_jobs=self.n_jobs,
        )

    def __repr__(self):
        if callable(self.kernel):
            text = getattr(self.kernel, "__name__", repr(self.kernel))
        else:
            values = self._values() | {"bandwidth": self.bandwidth}
            names = KERNELS[self.kernel].parameters
            text = ", ".join([self.kernel] + [f"{name}={_text(values[name])}" for name in names])
        n = len(self.X)
        return f"<{n}x{n} {type(self).__name__} of {self.dtype}: {text}>"

    def __getstate__(self):
        state = dict(vars(self))
        state.pop("scaled_points", None)  # as large as the points, and made again when it is needed
        return state

    def _multiply(self, W):
        points = self.scaled_points
        return self._sums(points, points, W, effective_n_threads(self.n_jobs))

    def _check_new(self, X_new):
        """Return new points as a C-contiguous array of the dtype of the points."""
        X_new = _check_points("X_new", X_new)
        n_features = self.X.shape[1]
        if X_new.shape[1] != n_features:
            allowed = f"of shape (n_new, {n_features})"
            raise parameter_error("X_new", allowed, got=f"shape {X_new.shape}")
        if isinstance(self.X, SparseRows):
            return X_new
        with np.errstate(over="ignore"):
            X_new = X_new.astype(self.X.dtype, copy=False)
        if not _all_finite(X_new):
            allowed = f"finite in {self.X.dtype}, the dtype of the points"
            got = f"numbers beyond the range of {self.X.dtype}"
            raise parameter_error("X_new", allowed, got=got)
        return X_new

    def _checked_sums(self, sums):
        """Return sums at new points if they are finite: checks of X do not cover these points."""
        if not np.isfinite(sums).all():
            raise ValueError(
                f"the sums overflow {self.dtype}: scale X_new or the weights, or use float64."
            )
        return sums

    def _sums(self, A, B, W, n_threads):
        """Return k(A, B) @ W, (m, k), for points A (m, d) and B (n, d)."""
        W = np.ascontiguousarray(W, dtype=self.dtype)
        if callable(self.kernel):
            return self._sums_called(A, B, W)
        out = np.empty((len(A), W.shape[1]), dtype=self.dtype)
        kernel_id = KERNELS[self.kernel].id
        with single_threaded_blas():
            _core.kernel_matmat(A, B, W, kernel_id, self._core_parameters, out, n_threads)
        return out

    def _sums_called(self, A, B, W):
        """Do the same with a callable kernel, tile by tile, summed up in float64."""
        if isinstance(self.kernel, SparseKernel) and self.kernel.is_bilinear:
            return self.kernel.sums(A, B, W)
        out = np.zeros((len(A), W.shape[1]))
        with single_threaded_blas():
            for i in range(0, len(A), _TILE):
                for j in range(0, len(B), _TILE):
                    block = self._call(A[i : i + _TILE].copy(), B[j : j + _TILE].copy())
                    out[i : i + _TILE] += block @ W[j : j + _TILE]
        return out.astype(self.dtype, copy=False)

    def _fill(self, rows, cols, out, n_threads):
        """Write the entries [rows, cols], indices already checked, to `out`."""
        if callable(self.kernel):
            for i in range(0, len(rows), _TILE):
                for j in range(0, len(cols), _TILE):
                    block = self._call(self.X[rows[i : i + _TILE]], self.X[cols[j : j + _TILE]])
                    out[i : i + _TILE, j : j + _TILE] = block
        else:
            _core.kernel_block(
                self.scaled_points,
                rows,
                self.scaled_points,
                cols,
                KERNELS[self.kernel].id,
                self._core_parameters,
                out,
                n_threads,
            )
        return out

    def _output(self, out, shape):
        """Return `out` if it fits, or a new array."""
        if out is None:
            return np.empty(shape, dtype=self.dtype)
        if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != self.dtype:
            got = f"{type(out).__name__} {getattr(out, 'shape', '')} {getattr(out, 'dtype', '')}"
            raise parameter_error("out", f"an array of shape {shape} and {self.dtype}", got=got)
        if not (out.flags.c_contiguous and out.flags.writeable):
            is_contiguous = out.flags.c_contiguous
            got = "a read-only array" if is_contiguous else "an array that is not contiguous"
            raise parameter_error("out", "C-contiguous and writeable", got=got)
        return out

    def _values(self):
        """Return the parameters of the kernel of `scaled_points`, with the default of gamma."""
        gamma = 1.0 / self.X.shape[1] if self.gamma is None else self.gamma
        return {
            "bandwidth": self.bandwidth if self._scales is None else self._scales.bandwidth,
            "alpha": self.alpha,
            "gamma": gamma,
            "coef0": self.coef0,
            "degree": self.degree,
        }

    def _check_range(self):
        """Raise ValueError if entries do not exist for these points or overflow the dtype."""
        spec = KERNELS[self.kernel]
        n_features = self.X.shape[1]
        if n_features < spec.min_dim:
            allowed = f"of at least {spec.min_dim} features for kernel {self.kernel!r}"
            raise parameter_error("X", allowed, got=n_features)
        if self._scales is not None and not self._scales.holds(self.scaled_points):
            units = "coordinates in units of the bandwidths"
            got = f"bandwidths from {self.bandwidth.min():.3g} to {self.bandwidth.max():.3g}"
            raise parameter_error("X", f"such that {units} do not overflow {self.dtype}", got=got)
        largest = spec.diagonal(self.X, self._values()).max()  # bounds all other entries
        limits = np.finfo(self.dtype)
        if not largest <= limits.max:
            allowed = f"such that entries of kernel {self.kernel!r} do not overflow {self.dtype}"
            got = f"a diagonal up to {largest:.2e} (scale X or the parameters, or use float64)"
            raise parameter_error("X", allowed, got=got)
        if self.kernel == "laplace_green" and largest < limits.tiny:
            allowed = (
                f"so small that entries of kernel 'laplace_green' in {n_features} dimensions do "
                f"not vanish in {self.dtype} (scale X)"
            )
            raise parameter_error("bandwidth", allowed, self.bandwidth)

    def _call(self, A, B):
        """Call the user's kernel for points A (m, d) and B (n, d); check its result, (m, n)."""
        entries = np.asarray(self.kernel(A, B))
        expected = (len(A), len(B))
        if entries.shape != expected:
            allowed = (
                f"a callable that returns shape {expected} for {expected[0]} and {expected[1]} "
                "points"
            )
            raise parameter_error("kernel", allowed, got=f"shape {entries.shape}")
        if entries.dtype not in (np.float32, np.float64):
            allowed = "a callable that returns float32 or float64"
            raise parameter_error("kernel", allowed, got=entries.dtype)
        if not np.isfinite(entries).all():
            allowed = "a callable that returns finite numbers"
            raise parameter_error("kernel", allowed, got="NaN or infinity")
        return entries

    def _probe(self):
        """Call the user's kernel for a few points, and return its dtype."""
        few = np.unique(np.linspace(0, len(self.X) - 1, _N_PROBED).astype(np.intp))
        self._call(
            self.X[few], self.X[few[:1]]
        )  # not square, so that a transposed result is noticed
        entries = self._call(self.X[few], self.X[few])
        difference = np.abs(entries - entries.T).max()
        if difference > np.sqrt(np.finfo(entries.dtype).eps) * np.abs(entries).max():
            allowed = "symmetric, f(A, B) == f(B, A).T"
            raise parameter_error("kernel", allowed, got=f"entries that differ by {difference:.2e}")
        return entries.dtype.newbyteorder("=")


def _text(value):
    """Return a parameter as text, a few entries of an array that has many."""
    if np.ndim(value) == 0:
        return repr(value)
    entries = list(map(repr, value.tolist()))
    if len(entries) > _MAX_SHOWN:
        entries[_MAX_SHOWN // 2 : -(_MAX_SHOWN // 2)] = ["..."]
    return f"[{', '.join(entries)}]"


def _indices(name, indices, n):
    """Return `indices` as a contiguous array of intp in [0, n)."""
    if isinstance(indices, slice):
        return np.arange(*indices.indices(n), dtype=np.intp)
    given = as_array(name, indices)
    if given.size == 0 and given.ndim == 1:
        return np.empty(0, dtype=np.intp)
    if given.ndim != 1 or given.dtype.kind not in "iu":
        got = f"{given.ndim} dimension(s) of {given.dtype}"
        allowed = "a slice or 1-dimensional integers"
        raise parameter_error(name, allowed, got=got, kind=IndexError)
    if given.min() < -n or given.max() >= n:
        got = f"{given.min()} to {given.max()}"
        raise parameter_error(name, f"in [{-n}, {n})", got=got, kind=IndexError)
    given = np.ascontiguousarray(given, dtype=np.intp)
    return np.where(given < 0, given + n, given) if given.min() < 0 else given


def round_to_float32(K, *, policy=FLOAT32):
    """Return a kernel matrix with its points in float32, or K itself where that is too inaccurate.

    If the kernel is a function of distances the points are centred first, which changes none.

    Parameters
    ----------
    K : KernelMatrix
    policy : Float32Policy

    Returns
    -------
    KernelMatrix
    """
    if callable(K.kernel):
        return K
    K = K.isotropic()
    is_radial = KERNELS[K.kernel].is_radial
    X = K.X - K.X.mean(axis=0) if is_radial else K.X
    rounding = np.finfo(np.float32).eps * np.abs(X).max()
    if is_radial and rounding > policy.max_coordinate_error * K.bandwidth:
        return K
    with np.errstate(over="ignore"):
        X = X.astype(np.float32)
    try:
        rounded = K.with_points(X)
    except ValueError:  # entries beyond the range of float32
        return K
    return rounded if rounded.diagonal().max() >= policy.min_largest_diagonal else K

"""`load_matrix`: the test matrices by name."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf
from numbers import Integral
from pathlib import Path

import numpy as np
from sklearn.datasets import get_data_home
from sklearn.utils import Bunch

from .._utils.validation import (
    check_boolean,
    check_dtype,
    check_integer,
    check_option,
    check_random_state,
    errors_name,
    parameter_error,
)
from ..linalg import from_file, to_file
from . import _graphs, _kernels, _networks, _operators
from ._dense import as_array, write
from ._grids import grid_points, grid_sides, nearest_sizes

_MIN_ROWS = 16


@dataclass(frozen=True)
class StoragePolicy:
    """Where dense matrices are kept.

    Attributes
    ----------
    max_rows_in_memory : int
        Rows up to which a matrix is held in memory, half a gigabyte in float64; larger ones are
        kept in files.
    """

    max_rows_in_memory: int = 8192


STORAGE = StoragePolicy()


@dataclass(frozen=True)
class Family:
    """One family of test matrices.

    Attributes
    ----------
    make : callable
        Called with those of the arguments n, rng, dtype, folder and download that its signature
        has. With dtype it returns the matrix, a KernelMatrix or callable; without, a function
        ``rows(start, stop)`` that computes rows of it. Its docstring is the description.
    table : str
        The table of the thesis that names the family; empty where none does.
    condition : float or None
        Condition number in float64 with `random_state` 0 and 2,048 rows (or the next size that the
        family has); inf beyond 1 / eps, None where it was not measured.
    dim : int or None
        Dimension of the grid that the rows lie on.
    steps : tuple (step, offset) or None
        n is a multiple of the step, plus the offset.
    largest : int or None
        Largest n.
    random : bool
        Whether `random_state` matters.
    """

    make: Callable
    table: str = ""
    condition: float | None = None
    dim: int | None = None
    steps: tuple | None = None
    largest: int | None = None
    random: bool = True

    @property
    def is_lazy(self):
        """Whether entries are computed on demand."""
        return "dtype" in self._arguments

    @property
    def _arguments(self):
        return inspect.signature(self.make).parameters

    def call(self, **available):
        """Call `make` with those of the arguments that its signature has."""
        return self.make(**{name: available[name] for name in self._arguments})

    def allowed_sizes(self, n):
        """Say what n must be if there is no matrix with n rows, or return None."""
        if n < _MIN_ROWS:
            return f"at least {_MIN_ROWS}"
        if self.largest is not None and n > self.largest:
            return f"at most {self.largest:,}, the number of points or nodes,"
        if self.dim is not None and grid_sides(n, self.dim) is None:
            sizes = {2: "s² or 2s²", 3: "s³, 2s³ or 4s³"}.get(self.dim, "s⁴, 2s⁴, 4s⁴ or 8s⁴")
            return _such_as(sizes, *nearest_sizes(n, self.dim))
        if self.steps is not None and (n - self.steps[1]) % self.steps[0]:
            step, offset = self.steps
            below = max((n - offset) // step, 1) * step + offset
            return _such_as(f"{step} h + {offset}", below, below + step)
        return None


def _such_as(sizes, below, above):
    return f"{sizes}, such as {below:,} and {above:,},"


FAMILIES = {
    "K01": Family(_operators.poisson_forward_2d, "6.2", 7.0e2, dim=2, random=False),
    "K02": Family(_operators.inverse_laplacian_squared_2d, "6.2", 9.8e3, dim=2, random=False),
    "K03": Family(_operators.inverse_helmholtz_squared_2d, "6.2", 7.9e3, dim=2, random=False),
    "K04": Family(_kernels.gaussian_narrow, "6.2", 4.4e5),
    "K05": Family(_kernels.gaussian_middle, "6.2", 4.8e10),
    "K06": Family(_kernels.gaussian_wide, "6.2", 5.0e15),
    "K07": Family(_kernels.laplace_green, "6.2", 14.4),
    "K08": Family(_kernels.quadratic, "6.2", inf),
    "K09": Family(_kernels.inverse_quadratic, "6.2", 7.4e3),
    "K10": Family(_kernels.polynomial, "6.2", inf),
    "K11": Family(_operators.inverse_poisson_squared_1d, "6.2", inf, dim=1),
    "K12": Family(_operators.inverse_advection_diffusion_smooth_2d, "6.2", 3.2e10, dim=2),
    "K13": Family(_operators.inverse_advection_diffusion_rough_2d, "6.2", 2.1e9, dim=2),
    "K14": Family(_operators.advection_diffusion_forward_2d, "6.2", 3.2e10, dim=2),
    "K15": Family(_operators.pseudo_spectral_smooth_2d, "6.2", 5.5e5, dim=2),
    "K16": Family(_operators.pseudo_spectral_rough_2d, "6.2", 1.2e8, dim=2),
    "K17": Family(_operators.pseudo_spectral_3d, "6.2", 3.5e7, dim=3),
    "K18": Family(_operators.inverse_laplacian_squared_3d, "6.2", 3.4e5, dim=3),
    "G01": Family(_graphs.power_grid, "6.2", 8.5e2),
    "G02": Family(_graphs.web, "6.2", 1.7e4),
    "G03": Family(_graphs.random_geometric, "6.2", 2.1e3),
    "G04": Family(_graphs.mesh, "6.2", 1.4e3),
    "G05": Family(_graphs.InverseLattice, "6.2", 1.6e3, dim=4, random=False),
    "GNH-DIGITS": Family(_networks.classifier_hessian, "6.3", steps=_networks.CLASSIFIER_SIZES),
    "GNH-AUTOENCODER": Family(
        _networks.autoencoder_hessian, "6.3", steps=_networks.AUTOENCODER_SIZES
    ),
    "KDE-10D": Family(_kernels.kde, "6.4", 5.4e7),
    "S-CURVE": Family(_kernels.s_curve, "6.4"),
    "K-DIGITS": Family(_kernels.digits, largest=_kernels.N_DIGITS),
    "K-PATCHES": Family(_kernels.patches, largest=200_000),
}
FAMILIES |= {
    name: Family(partial(_kernels.downloaded, name), "6.2", largest=data.n_points)
    for name, data in _kernels.DOWNLOADS.items()
}
FAMILIES |= {
    name: Family(partial(_graphs.suitesparse, name), "6.2", largest=graph.n_nodes)
    for name, graph in _graphs.SUITESPARSE.items()
}


def load_matrix(
    name, n, dtype=np.float64, random_state=0, *, data_home=None, download_if_missing=True
):
    """Load a test matrix of a given name and size.

    The families of tables 6.2 to 6.4 of [1]_: symmetric positive (semi-)definite matrices of
    differential operators, kernels, graphs and neural networks. What the tables leave open is
    written in the description of each matrix, its `DESCR`.

    - K01: forward 2-D Poisson operator
    - K02, K03: inverse of the squared 2-D Laplace and Helmholtz operators
    - K04, K05, K06: Gaussian kernel in six dimensions: narrow, middle, wide
    - K07: Green's function of the Laplace operator in six dimensions
    - K08, K09, K10: quadratic, inverse quadratic and polynomial kernels in six dimensions
    - K11, K18: inverse of the squared 1-D Poisson operator and 3-D Laplacian, with variable
      coefficients
    - K12, K13, K14: 2-D advection-diffusion with highly variable coefficients: inverse normal
      matrices (smooth, with jumps), normal matrix
    - K15, K16, K17: 2-D, 2-D and 3-D pseudo-spectral advection-diffusion-reaction, normal matrices
    - G01 to G05: inverse Laplacians of synthetic graphs: power grid, web, random geometric, mesh,
      lattice
    - powersim, poli_large, rgg_n_2_16_s0, denormal, conf6_0-8x8-30: inverse Laplacians of graphs
      from the SuiteSparse collection, downloaded
    - K-DIGITS, K-PATCHES: Gaussian kernel on digits and image patches, which scikit-learn has
    - K-MNIST, K-COVTYPE, K-HIGGS, K-SUSY: Gaussian kernel on datasets that scikit-learn downloads
    - KDE-10D, S-CURVE: Gaussian kernel on normal points in ten dimensions and on the S-curve
    - GNH-DIGITS, GNH-AUTOENCODER: Gauss-Newton Hessians of a classifier and an autoencoder of
      digits

    Parameters
    ----------
    name : str
        One of the names above.
    n : int
        Number of rows, at least 16. K01 to K03 and K12 to K16 live on a square or a double square,
        n = s² or 2s²; K17 and K18 on s³, 2s³ or 4s³ points; G05 on s⁴, 2s⁴, 4s⁴ or 8s⁴; GNH-DIGITS
        has 75 h + 10 rows and GNH-AUTOENCODER 129 h + 64. Real data have no more rows than points.
    dtype : dtype, default=numpy.float64
        float32 or float64. The computation is in float64, but for entries of kernels.
    random_state : int, RandomState, Generator or None, default=0
        Draws points, coefficients and graphs. The same integer gives the same matrix.
    data_home : str or path-like, default=None
        Folder for files, in which a folder "skhmat" is made; None means scikit-learn's,
        `sklearn.datasets.get_data_home`.
    download_if_missing : bool, default=True
        Whether files missing from `data_home` may be downloaded.

    Returns
    -------
    matrix : Bunch
        K : ndarray or memmap of shape (n, n), KernelMatrix, or callable
            The matrix, as `compress` takes it. Kernel matrices are a `KernelMatrix`, G05 is a
            callable ``K(rows, cols)`` with attributes shape and dtype, and all others are arrays:
            up to n = 8,192 in memory, beyond in a file, opened read-only. The file is written
            first, which takes minutes and, for a moment, twice its size on the disk.
        points : ndarray of shape (n, n_features) or None
            Where the rows are: points of the kernel, or of the grid.
        name, DESCR : str
            Name and description: what the matrix is, its source, its condition.
        condition : float or None
            Condition number with 2,048 rows (or the next size there is) in float64 and
            ``random_state=0``; inf where it is beyond 1 / eps, None where it is not known.

    Raises
    ------
    ValueError
        Unknown name or dtype, or a number of rows that the family does not have.
    OSError
        A download failed, or is needed and not allowed; or the disk is full.

    References
    ----------
    .. [1] S. Reiz. On the algorithmic impact of scientific computing on machine learning. PhD
       thesis, Technical University of Munich, 2024.
    .. [2] C. D. Yu, J. Levitt, S. Reiz, G. Biros. Geometry-oblivious FMM for compressing dense SPD
       matrices. SC17, 2017. https://doi.org/10.1145/3126908.3126921

    Examples
    --------
    >>> from skhmat.datasets import load_matrix
    >>> from skhmat.linalg import compress
    >>> matrix = load_matrix("K02", 1024)
    >>> matrix.K.shape, matrix.points.shape
    ((1024, 1024), (1024, 2))
    >>> H = compress(matrix.K, rtol=1e-3, leaf_size=64, random_state=0)
    >>> H.error_estimate_ <= 1e-3
    True
    """
    return load_stored(name, n, dtype, random_state, data_home, download_if_missing)


def load_stored(
    name, n, dtype, random_state=0, data_home=None, download_if_missing=True, *, policy=STORAGE
):
    """Load a test matrix as `load_matrix` does; `policy` is a `StoragePolicy`."""
    family = _check_name(name)
    n = _check_size(name, family, n)
    dtype = check_dtype(dtype)
    download_if_missing = check_boolean("download_if_missing", download_if_missing)
    in_file = n > policy.max_rows_in_memory and not family.is_lazy
    is_named_by_seed = in_file and family.random
    seed = _check_seed(random_state, policy if is_named_by_seed else None)
    with errors_name("data_home"):
        folder = Path(get_data_home(data_home)) / "skhmat"
    make = partial(
        family.call,
        n=n,
        rng=np.random.default_rng(seed),
        dtype=dtype,
        folder=folder,
        download=download_if_missing,
    )
    if family.is_lazy:
        K = make()
    elif not in_file:
        K = as_array(make(), n, dtype)
    else:
        stem = f"{name}-{n}-{seed}" if family.random else f"{name}-{n}"
        K = _from_file(folder / stem, n, dtype, make)
    if family.dim is not None:
        points = grid_points(grid_sides(n, family.dim)).astype(dtype)
    else:
        points = getattr(K, "points", None)
    return Bunch(K=K, points=points, name=name, DESCR=describe(name), condition=family.condition)


load_matrix.__module__ = "skhmat.datasets"


def _from_file(stem, n, dtype, make):
    """Open the file of a matrix; write it first if it is missing."""
    path, double = (stem.with_name(f"{stem.name}-{d}.bin") for d in (dtype, "float64"))
    if not path.exists():
        if double.exists():
            to_file(path, from_file(double, n, np.float64), dtype)
        else:
            write(path, make(), n, dtype)
    return from_file(path, n, dtype)


def describe(name):
    """Return the description of a family."""
    family = FAMILIES[name]
    make = family.make.func if isinstance(family.make, partial) else family.make
    text = inspect.getdoc(make).partition("\n\nParameters")[0]
    source = f"table {family.table} of Reiz (2024)" if family.table else "not in the thesis"
    condition = {None: "not measured", inf: "beyond 1e16"}.get(
        family.condition, f"{family.condition:.2g}" if family.condition else ""
    )
    return (
        f"{name}: {text}\n\nSource: {source}; made here.\n"
        f"Condition number with about 2,048 rows, in float64: {condition}.\n"
    )


def _check_name(name):
    """Return the family of a name."""
    return FAMILIES[check_option("name", name, tuple(FAMILIES))]


def _check_size(name, family, n):
    """Return the number of rows as an int if the family has a matrix of that size."""
    n = check_integer("n", n, 1)
    if allowed := family.allowed_sizes(n):
        raise parameter_error("n", f"{allowed} for {name!r}", n)
    return n


def _check_seed(random_state, policy):
    """Return an integer that stands for `random_state`; `policy` if a file is named by it."""
    if isinstance(random_state, Integral):
        check_random_state(random_state)  # raises if it is out of range
        return int(random_state)
    if policy is not None:
        allowed = (
            f"an integer above n = {policy.max_rows_in_memory:,}, where the matrix is kept in a "
            "file that it names"
        )
        raise parameter_error("random_state", allowed, random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))

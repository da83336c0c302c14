"""Hierarchical matrices as SciPy linear operators."""

from ._cholesky_preconditioner import CholeskyPreconditioner
from ._compress import compress
from ._eigsh import EigenInfo, eigsh
from ._factorization import Factorization
from ._hierarchical import HierarchicalMatrix
from ._inverse import inverse_diagonal, inverse_trace, logdet
from ._io import from_file, load, to_file
from ._kernel_matrix import KernelMatrix
from ._pivoted_cholesky import PivotedCholesky, pivoted_cholesky
from ._solve import SolveInfo
from ._spectral_density import SpectralDensity, spectral_density
from ._trace import Estimate

__all__ = [
    "CholeskyPreconditioner",
    "EigenInfo",
    "Estimate",
    "Factorization",
    "HierarchicalMatrix",
    "KernelMatrix",
    "PivotedCholesky",
    "SolveInfo",
    "SpectralDensity",
    "compress",
    "eigsh",
    "from_file",
    "inverse_diagonal",
    "inverse_trace",
    "load",
    "logdet",
    "pivoted_cholesky",
    "spectral_density",
    "to_file",
]

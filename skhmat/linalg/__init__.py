"""Hierarchical matrices as SciPy linear operators.

Reading order: `_operators`, `_kernels` and `_entries` say what a matrix is here; `_compress` runs
the phases of `_gofmm`, and `_hierarchical` has what can be done with the result. `_krylov`,
`_cholesky` and `_stochastic` are methods for any symmetric matrix; `_solvers`, `_inverse`,
`_spectral` and `_eigsh` combine these with hierarchical matrices.
"""

from ._cholesky.randomly_pivoted import PivotedCholesky, pivoted_cholesky
from ._cholesky.woodbury import CholeskyPreconditioner
from ._compress import compress
from ._eigsh import EigenInfo, eigsh
from ._entries.raw_file import from_file, to_file
from ._hierarchical.ulv import Factorization
from ._hierarchical_matrix import HierarchicalMatrix, load
from ._inverse import inverse_diagonal, inverse_trace, logdet
from ._kernels.matrix import KernelMatrix
from ._solvers.solve import SolveInfo
from ._spectral.density import SpectralDensity, spectral_density
from ._stochastic.trace import Estimate

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

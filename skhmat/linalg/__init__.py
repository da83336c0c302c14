"""Hierarchical matrices as SciPy linear operators."""

from ._compress import compress
from ._eigsh import eigsh
from ._factorization import Factorization
from ._hierarchical import HierarchicalMatrix
from ._io import from_file, load, to_file
from ._kernel_matrix import KernelMatrix

__all__ = [
    "Factorization",
    "HierarchicalMatrix",
    "KernelMatrix",
    "compress",
    "eigsh",
    "from_file",
    "load",
    "to_file",
]

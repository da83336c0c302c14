"""The test matrices of the theses, and kernel matrices of real data.

`_collection` has the table of all families and loads them by name; each family is a function in
`_operators`, `_graphs`, `_networks` or `_kernels`. `_grids` has what differential operators share,
and `_dense` writes large matrices to files.
"""

from ._collection import load_matrix

__all__ = ["load_matrix"]

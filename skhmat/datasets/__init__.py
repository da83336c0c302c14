"""The test matrices of the theses, and kernel matrices of real data."""

from ._collection import load_matrix

__all__ = ["load_matrix"]

"""Features of kernels, from more landmarks than a dense matrix allows."""

from ._hierarchical_nystroem import HierarchicalNystroem

__all__ = ["HierarchicalNystroem"]

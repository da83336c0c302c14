"""Features of kernels, from more landmarks than a dense matrix allows."""

# fit(X)
#   -> _landmarks.SampleKernel.measure: the kernel matrix K of the samples, its trace and its means
#   -> _landmarks.find_features: all samples, or landmarks that are given or drawn
#     -> _features.by_eigenpairs, by_cholesky or by_columns: Z = K W - offset, with K ~ Z Z^T
#   -> components_, normalization_ and offset_, all that `transform` needs

from ._hierarchical_nystroem import HierarchicalNystroem

__all__ = ["HierarchicalNystroem"]

"""Sums of density kernels: which algorithm, the sums themselves, and bandwidths."""

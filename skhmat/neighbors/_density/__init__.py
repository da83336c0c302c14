"""Densities: sums of a kernel over samples, the algorithms that compute them, and bandwidths.

What computes a density calls downwards only; the estimators hand their parameters to a `Mixture`.
"""

# KernelDensity.score_samples(X)
#   -> mixture.Mixture.log_densities: weights and normalisation; points in the units of units.Units
#     -> planner.log_sums: chooses among the algorithms by what each is predicted to cost
#       -> sums.DensitySums (direct, by_tree), any_metric.GenericMetricSums (direct), and
#          far_field.compressed_log_sums: log sum_j w_j k(|x - y_j| / h), from kernels and box_tree

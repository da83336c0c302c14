"""What estimators share.

`fit_context` surrounds each fit, so that one that is stopped changes nothing. For kernel matrices,
`compression` has the parameters that they pass to `compress`, with constraints and documentation;
`pairwise_kernels` makes a `KernelMatrix` of a kernel that scikit-learn names.
"""

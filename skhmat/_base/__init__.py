"""What all estimators on kernel matrices share.

`compression` has the parameters that they pass to `compress`, with constraints and documentation;
`pairwise_kernels` makes a `KernelMatrix` of a kernel that scikit-learn names.
"""

"""Inference with a Gaussian process: its likelihood and its posterior.

`shapes` has functions of the distance and `covariance` kernel objects as blocks of entries and sums
over derivatives. `sample` has what is known, `cholesky` computes everything from one dense
factorization, and `fourier` in the space of the modes of a `spectrum`. `choice` takes the one that
costs less, and `optimizer` finds hyperparameters.
"""

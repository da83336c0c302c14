"""Krylov subspace methods for several right-hand sides.

`conjugate_gradients` and `minres` iterate on all columns at once, with helpers in `columns`;
`driver` restarts them until true residuals are small. `lanczos` is the process behind both, for one
vector, of which Ritz values, functions of matrices and spectral densities are made.
"""

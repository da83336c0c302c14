"""Eigenpairs and spectral densities of symmetric operators.

`drivers` has the methods of `eigsh`, each built from one of the others: `start` makes the first
vectors, `chebyshev` filters a block of them, `shift_invert` makes (A - sigma I)^-1 an operator, and
`dense` decomposes arrays. All return `pairs.Eigenpairs`. `density` is independent of these.
"""

"""Linear systems with a hierarchical matrix: `solve` on top of `preconditioners`.

The iterations themselves are in `_krylov`, the direct solver in `_hierarchical/ulv`.
"""

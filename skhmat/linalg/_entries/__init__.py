"""The one interface to a matrix: its blocks, its diagonal, its shape and its dtype.

`sources` wraps what users give, `entries` adds the order of the tree and a safe scale, `symmetry`
says which matrices count as symmetric, and `raw_file` reads and writes matrices on disk.
"""

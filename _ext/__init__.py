"""The compiled core of skhmat: loops over numbers.

`simd` holds the loops that are compiled once per instruction set, `gofmm` the phases of
compression, products and factorization. Nothing here validates, prints or decides; arrays go in,
arrays come out.
"""

"""The compiled loops of GOFMM, in the order of its phases.

`neighbors` splits nodes and sorts lists, `row_sampling` draws far rows, `entries` copies blocks,
`interpolative` finds bases, `matvec` multiplies and `ulv` factorizes; the last two derive their
formulas.
"""

"""What a compressed matrix can do.

In reading order:

`form`                the data of a hierarchical matrix, which all the others read
`product`             products with vectors
`ulv`                 factorization (HSS format): solves, determinant, diagonal of the inverse
`treecode`            sums of a kernel at new points
`file`, `npz`         saving and loading; `checks` validates what was loaded
`report`, `summary`   what compression did, as data and as text
`plot`                the blocks and their ranks as a picture
"""

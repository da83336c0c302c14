"""Kernel matrices on points in one to three dimensions as sums over Fourier modes.

A smooth kernel that is made periodic around the points has few modes. With them the matrix is
F* D F: nonuniform fast Fourier transforms F, which the library FINUFFT computes, and the diagonal
matrix D of the coefficients of the kernel. Nothing of it is stored but the points and D.

References
----------
P. Greengard, M. Rachh, A. Barnett. Equispaced Fourier representations for efficient Gaussian
process regression from a billion data points. arXiv:2210.10210, 2022.
"""

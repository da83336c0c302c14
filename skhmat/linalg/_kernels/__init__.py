"""Kernels by name, and the exact matrix of points and a kernel."""

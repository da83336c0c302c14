"""Krylov subspace methods for several right-hand sides."""

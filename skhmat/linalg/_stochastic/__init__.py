"""Randomized estimates of traces, diagonals and log-determinants."""

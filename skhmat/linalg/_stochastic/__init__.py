"""Randomized estimates: `trace` of traces and diagonals, `logarithm` of log-determinants."""

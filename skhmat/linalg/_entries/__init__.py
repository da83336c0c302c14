"""The one interface to a matrix: its blocks, its diagonal, its shape and its dtype."""

"""The geometry-oblivious fast multipole method (GOFMM), from distances to blocks."""

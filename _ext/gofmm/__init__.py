"""The phases of GOFMM: neighbours, sampled rows, interpolative bases, products, factorization."""

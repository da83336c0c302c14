"""Leading eigenpairs of a normalised Gaussian kernel, and their extension to new points.

The modules stand in the order in which data flows through a fit; each step is a function from one
small frozen object to the next, and no step reaches back::

    X, an array of samples
      neighborhoods       NeighborhoodScales     order, bandwidth scale and radius of each point
      point_cloud         PointCloud             the samples in that order
      distance_histogram  DistanceHistogram      squared distances, sampled
      bandwidth           Bandwidth              epsilon, given or chosen by a rule
      samples             Samples                all of these
      gaussian            TruncatedGaussian      entries of the kernel, between any two clouds
      normalization       Normalization          row sums, weights, degrees
      affinity            NormalizedAffinity     symmetric conjugate of the Markov matrix, in the
                                                 form that costs least
      multilevel_start    StartBlock             block of vectors that the eigensolver starts from
      eigenpairs          LeadingEigenpairs      leading eigenpairs
      extension           NystroemExtension      eigenvectors at new points
      new_point_sums      NewPointSums           sums of the kernel there

A matrix that the user computed enters at `precomputed`, which normalises it; it has no points, so
it starts from random vectors and is extended by `PrecomputedExtension`.

`policy` gathers the thresholds of these modules in one object, which the estimators hold.
"""

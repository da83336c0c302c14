"""The geometry-oblivious fast multipole method (GOFMM), from distances to blocks.

In the order in which `_compress` runs them:

`distances`           what near means, from entries or points
`cluster_tree`        a balanced binary partition of the rows
`neighbors`           nearest neighbours of every row, by random trees
`interaction_lists`   near and far pairs of nodes
`plan`                which format, leaf size and near budget cost least, by the `cost_model` and
                      ranks that the `rank_pilot` measures
`row_sample`          far rows that a basis is computed from, and validated on
`skeletonization`     bases of all nodes, from the leaves up; `nested_bases` holds them
`blocks`              entries of near and far blocks; `structure` holds them
`error_estimate`      the error of the result on a sample of rows
"""

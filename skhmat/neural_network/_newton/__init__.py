"""The Newton-CG optimizer.

`newton_cg` puts a step together: `damping` chooses tau, `steihaug` solves the damped system, with a
`diagonal` preconditioner if asked for, and `line_search` or `trust_region` limits the step. `state`
and `history` hold what lasts from step to step; `train_step` gives Keras models the loss.
"""

"""The probabilistic preconditioner of stochastic gradient descent."""

"""The probabilistic preconditioner of stochastic gradient descent.

`inference` has the mathematics: a Gaussian model of the Hessian, from noisy products.
`hessian_estimate` applies it while training goes on, one product a step, `learning_rates` and
`restart` decide what follows, and `descent` takes the steps. `optimizer` is the public class.
"""

"""Products with Hessians and Gauss-Newton matrices of Keras models.

`tapes` and `gauss_newton` differentiate; `objectives` and `batch_objective` give the optimizers one
interface to losses; `parameter_vector` treats all weights as one vector; `hessian_operator` is a
SciPy operator over a whole dataset.
"""

"""Products with Hessians and Gauss-Newton matrices of Keras models."""

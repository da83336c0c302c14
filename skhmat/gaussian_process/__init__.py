"""Gaussian processes for more samples than a dense matrix allows."""

# fit(X, y)
#   -> _inference.covariance.covariance_of(kernel): blocks of entries, and sums over derivatives
#   -> _inference.choice.Inference: which way a set of hyperparameters is treated
#     -> cholesky (few samples), fourier (one to three features)
#   -> _inference.optimizer: the hyperparameters with the largest likelihood
#   -> predict, sample_y, loo_predict: the inference with these

from ._gaussian_process_regressor import GaussianProcessRegressor

__all__ = ["GaussianProcessRegressor"]

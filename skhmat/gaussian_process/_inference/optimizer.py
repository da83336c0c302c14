"""The hyperparameters with the largest likelihood."""

import math

import numpy as np
import scipy.optimize

from ..._utils.validation import errors_name
from ..._utils.warnings import warn


def maximize(likelihood, theta, bounds, optimizer, max_first_step=math.inf):
    """Return the theta with the largest likelihood that is found from a start, and that likelihood.

    Parameters
    ----------
    likelihood : callable
        ``likelihood(theta, eval_gradient)`` returns a float, and a gradient if asked for.
    theta : ndarray of shape (n_dims,)
    bounds : ndarray of shape (n_dims, 2)
    optimizer : "fmin_l_bfgs_b" or callable
        As `GaussianProcessRegressor` takes it.
    max_first_step : float
        Length of the first step of L-BFGS-B, at most. Between bounds on all sides it is as long as
        the gradient, which grows with the number of samples, and ends in a corner.

    Returns
    -------
    theta : ndarray of shape (n_dims,)
    value : float
    """

    def objective(theta, eval_gradient=True):
        if not eval_gradient:
            return -likelihood(theta, False)
        value, gradient = likelihood(theta, True)
        return -value, -gradient

    if callable(optimizer):
        with errors_name("optimizer"):
            theta, least = optimizer(objective, theta, bounds=bounds)
        return theta, -least
    start, first, scale = theta, None, 1.0
    if max_first_step < math.inf:
        first = objective(start)
        scale = max(1.0, float(np.linalg.norm(first[1])) / max_first_step)

    def scaled(theta):
        is_known = first is not None and np.array_equal(theta, start)
        value, gradient = first if is_known else objective(theta)
        return value / scale, gradient / scale

    result = scipy.optimize.minimize(
        scaled, theta, method="L-BFGS-B", jac=True, bounds=bounds, options={"gtol": 1e-5 / scale}
    )
    if result.status != 0:
        warn(
            f"the likelihood was not maximized: {result.message} (after {result.nit} iterations). "
            "Raise the bounds of the kernel, or scale the data."
        )
    return result.x, -scale * float(result.fun)


def starts(theta, bounds, n_restarts, rng):
    """Return the points from which the likelihood is maximized: theta, and some drawn at random."""
    drawn = [rng.uniform(bounds[:, 0], bounds[:, 1]) for _ in range(n_restarts)]
    return [np.asarray(theta, dtype=float), *drawn]

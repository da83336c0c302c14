"""What surrounds each method that fits an estimator."""

import functools

from sklearn_compat.base import _fit_context


def fit_context(fit):
    """Decorate a method that fits: it checks parameters first, and succeeds or changes nothing.

    Whatever is raised, Ctrl-C included, leaves the estimator with the attributes that it had. They
    are kept by reference, so a fit assigns new objects and never changes an old one in place.
    """
    checked_fit = _fit_context(prefer_skip_nested_validation=True)(fit)

    @functools.wraps(fit)
    def wrapper(estimator, *args, **kwargs):
        before = vars(estimator).copy()
        try:
            return checked_fit(estimator, *args, **kwargs)
        except BaseException:
            estimator.__dict__ = before
            raise

    return wrapper

"""What surrounds each method that fits an estimator."""

import functools

from sklearn_compat.base import _fit_context

from .._utils.parallel import budgeted
from .._utils.read_only import show_read_only


def fit_context(fit):
    """Decorate a method that fits: it checks parameters first, and succeeds or changes nothing.

    Whatever is raised, Ctrl-C included, leaves the estimator with the attributes that it had. They
    are kept by reference, so a fit assigns new objects and never changes an old one in place. Users
    cannot either: public attributes are read-only views of arrays. BLAS obeys `n_jobs` meanwhile.
    """
    checked_fit = _fit_context(prefer_skip_nested_validation=True)(budgeted(fit))

    @functools.wraps(fit)
    def wrapper(estimator, *args, **kwargs):
        before = vars(estimator).copy()
        try:
            result = checked_fit(estimator, *args, **kwargs)
            show_read_only(estimator)
            return result
        except BaseException:
            estimator.__dict__ = before
            raise

    return wrapper

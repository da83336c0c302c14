"""Warnings that point at the user's line."""

import sys
import warnings

from sklearn.exceptions import ConvergenceWarning

# Packages whose frames a user has not written; scikit-learn wraps the methods of estimators.
_INTERNAL_PACKAGES = (__name__.partition(".")[0], "sklearn", "sklearn_compat")


def warn(message, category=ConvergenceWarning):
    """Emit a warning at the innermost line outside this package and scikit-learn."""
    frame, level = sys._getframe(1), 2
    while frame is not None and _package_of(frame) in _INTERNAL_PACKAGES:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def _package_of(frame):
    return frame.f_globals.get("__name__", "").partition(".")[0]

"""Warnings at the line of the user."""

import sys
import warnings

from sklearn.exceptions import ConvergenceWarning

# Packages whose frames a user has not written; scikit-learn wraps the methods of estimators.
_OURS = (__name__.partition(".")[0], "sklearn", "sklearn_compat")


def warn(message, category=ConvergenceWarning):
    """Emit a warning at the line outside of this package and of scikit-learn."""
    frame, level = sys._getframe(1), 2
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _OURS:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)

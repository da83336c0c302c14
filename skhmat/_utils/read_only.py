"""Arrays that users may look at, and that later calls read: shown as read-only views."""

import copy

import numpy as np
from scipy import sparse


def read_only(values):
    """Return a read-only view of an ndarray or a csr_matrix; everything else as it is."""
    if isinstance(values, np.ndarray):
        view = values.view()
        view.flags.writeable = False
        return view
    if sparse.issparse(values) and values.format == "csr":
        view = copy.copy(values)
        view.data, view.indices, view.indptr = map(
            read_only, (values.data, values.indices, values.indptr)
        )
        return view
    return values


def show_read_only(estimator):
    """Make the arrays of a fitted estimator's public attributes read-only views.

    Predictions read them, or arrays that were computed from them: if one were changed in place, the
    model would contradict itself without a word.
    """
    for name, value in list(vars(estimator).items()):
        if name.endswith("_") and not name.startswith("_"):
            setattr(estimator, name, read_only(value))


class ReadOnlyResults:
    """A mixin for estimators: a copy or a pickle, too, shows its arrays as read-only views.

    NumPy does not pickle that an array is read-only. `fit_context` does the same after a fit.
    """

    def __setstate__(self, state):
        super().__setstate__(state)
        show_read_only(self)

"""What estimators that compress a matrix share: parameters, their constraints, their documentation.

The docstring of each of these estimators contains `PARAMETERS`, word for word, which
`tests/_base/test_compression.py` ensures.
"""

import math
from numbers import Integral

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from .._utils.read_only import ReadOnlyResults
from .._utils.validation import CheckedParameters
from ..linalg import compress
from ..linalg._parameters import COMPRESSION

PARAMETERS = """\
rtol : float, default=1e-4
    Relative error that the compressed matrix promises, in (0, 1); see
    :func:`skhmat.linalg.compress`.
leaf_size : int or "auto", default="auto"
    Largest number of points in a leaf of the tree, at least 2; "auto" takes what costs least.
max_rank : int, default=None
    Largest rank; None lets ranks grow until a dense matrix would be cheaper.
n_neighbors : int, default=32
    Neighbours of each point that guide the sampling of rows.
budget : float or "auto", default="auto"
    Largest fraction of all pairs of leaves that are held exactly, in [0, 1].
distance : {"auto", "kernel", "angle", "geometric", "lexicographic", "random"}, default="auto"
    Distance that decides which points are near each other.
n_jobs : int, default=None
    Number of threads, of BLAS, too. None means all that OpenMP would use; -1 as many as
    `joblib.cpu_count` says, which respects affinity and container limits (1 in a worker of
    joblib).
random_state : int, RandomState, Generator or None, default=None
    Draws the tree, the samples and the starting vectors of iterations.
verbose : int, default=0
    1 logs each phase to the logger "skhmat".
"""


def sklearn_constraints(constraint):
    """Return a `Constraint` as a list for `_parameter_constraints` of scikit-learn."""
    found = []
    if constraint.kind is not None:
        # scikit-learn requires an interval to be open at an infinite end.
        closed_low = constraint.low is not None and constraint.closed in ("both", "left")
        closed_high = constraint.high is not None and constraint.closed in ("both", "right")
        high = None if constraint.high == math.inf else constraint.high
        closed = {
            (True, True): "both",
            (True, False): "left",
            (False, True): "right",
            (False, False): "neither",
        }[closed_low, closed_high and high is not None]
        found.append(Interval(constraint.kind, constraint.low, high, closed=closed))
    if constraint.options:
        found.append(StrOptions(set(constraint.options)))
    if constraint.none:
        found.append(None)
    return found


CONSTRAINTS = {
    **{
        name: sklearn_constraints(COMPRESSION[name])
        for name in ("rtol", "leaf_size", "max_rank", "n_neighbors", "budget", "distance")
    },
    "n_jobs": [Integral, None],
    "random_state": ["random_state", np.random.Generator],
    "verbose": ["verbose"],
}


class CompressionMixin(ReadOnlyResults, CheckedParameters):
    """Passes the shared parameters of an estimator on to `compress`."""

    def _compress(self, K, **changes):
        """Compress a matrix with the parameters of the estimator, except for `changes`."""
        parameters = {name: getattr(self, name) for name in CONSTRAINTS}
        return compress(K, **(parameters | changes))

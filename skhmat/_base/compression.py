"""What all estimators that compress a matrix share: parameters, their checks, and their text."""

import re
import textwrap
from numbers import Integral, Real

from sklearn.utils._param_validation import Interval, StrOptions

from ..linalg import compress
from ..linalg._gofmm.distances import DISTANCES

CONSTRAINTS = {
    "rtol": [Interval(Real, 0, 1, closed="neither")],
    "leaf_size": [Interval(Integral, 2, None, closed="left")],
    "max_rank": [Interval(Integral, 1, None, closed="left"), None],
    "n_neighbors": [Interval(Integral, 1, None, closed="left")],
    "budget": [Interval(Real, 0, 1, closed="both"), StrOptions({"auto"})],
    "distance": [StrOptions({"auto", *DISTANCES})],
    "n_jobs": [Integral, None],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}

_PARAMETERS = """\
rtol : float, default=1e-4
    Promised relative error of the compressed matrix, in (0, 1); see
    :func:`skhmat.linalg.compress`.
leaf_size : int, default=256
    Largest number of points in a leaf of the tree.
max_rank : int, default=None
    Largest rank; None lets ranks grow until dense would be cheaper.
n_neighbors : int, default=32
    Neighbours of each point that guide the sampling of rows.
budget : float or "auto", default="auto"
    Largest fraction of all pairs of leaves that are held exactly.
distance : {"auto", "kernel", "angle", "geometric", "lexicographic", "random"}, default="auto"
    What near means.
n_jobs : int, default=None
    Threads; None means all that OpenMP would use, -1 all cores.
random_state : int, RandomState or None, default=None
    Draws the tree and the samples.
verbose : int, default=0
    1 logs each phase to the logger "skhmat"."""


def with_compression_parameters(cls):
    """Put the text of the shared parameters into a class docstring; a class decorator."""
    if cls.__doc__ is not None:  # python -OO
        # From Python 3.13 on, docstrings are not indented.
        indent = re.search(r"^( *)\{compression\}", cls.__doc__, re.MULTILINE)[1]
        text = textwrap.indent(_PARAMETERS, indent)
        cls.__doc__ = cls.__doc__.replace(indent + "{compression}", text)
    return cls


class CompressionMixin:
    """Passes the shared parameters of an estimator on to `compress`."""

    def _compress(self, K, **changes):
        names = set(CONSTRAINTS)
        return compress(K, **{**{name: getattr(self, name) for name in names}, **changes})

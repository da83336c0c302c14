"""Allowed values of the parameters of compression, for `compress` and for all estimators."""

import math
from numbers import Integral, Real

from .._utils.validation import Constraint
from ._gofmm.distances import DISTANCES

COMPRESSION = {
    "rtol": Constraint(Real, 0, 1, "neither"),
    "leaf_size": Constraint(Integral, 2, options=("auto",)),
    "max_rank": Constraint(Integral, 1, none=True),
    "n_neighbors": Constraint(Integral, 1),
    "budget": Constraint(Real, 0, 1, options=("auto",)),
    "distance": Constraint(options=("auto", *DISTANCES)),
    "n_products": Constraint(Integral, 1, none=True),
    "fallback": Constraint(options=("auto", "never", "exact")),
    "form": Constraint(options=("auto", "hierarchical", "fourier")),
    "max_bytes": Constraint(Real, 0, math.inf, none=True),
}

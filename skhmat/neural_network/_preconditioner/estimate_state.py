"""What an estimate of the Hessian keeps from step to step; the rules are in `hessian_estimate`."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from .._keras import keras
from .inference import Sums


class Phase(IntEnum):
    """What a minibatch is used for besides the update; the state holds the number."""

    IDLE = 0
    PRIOR = 1
    OBSERVING = 2

    @property
    def label(self):
        """The text that stands in the log."""
        return self.name.lower()


@dataclass(frozen=True)
class EstimateSettings:
    """The user's settings of an estimate.

    Attributes
    ----------
    prior_iterations, num_observations : int
        Products of the two phases.
    rank : int
        Number of the largest eigenvalues of each group that the preconditioner reduces; 0 if there
        is none.
    precondition : bool
        Whether the curvature that is left is that beyond the observed eigenvalues.
    exponent : float
        Of the factors by which eigenvalues are reduced.
    """

    prior_iterations: int
    num_observations: int
    rank: int
    precondition: bool
    exponent: float


class EstimateState:
    """The variables of an estimate: what is saved with a model, in the order of their creation.

    The names and the order are those of saved models, and must not change. Vectors hold all
    variables, group after group: n is the number of weights, m that of observations, and p that of
    products for the prior. What the settings do not need is None.

    Attributes
    ----------
    phase : () int
        A `Phase`.
    taken : () int
        Products of this phase.
    started, finished : () int
        Numbers of estimates.
    mean, scale, noise : (n_groups,)
        Parameters of the prior, but for factors of the size of the group.
    rho : (n_groups,)
        The curvature that the preconditioner leaves; "level" in saved models and in the log.
    signal : (n_groups,)
        The fraction of the squared length of gradients that is due to their mean.
    worst : ()
        The most negative curvature so far.
    sums : (n_groups, 3)
        Inner products of the prior, `Sums`.
    variance : (n_groups,)
        Sum of the noise variances of pairs of products.
    gradients : (n,)
        Sum of the gradients of the prior.
    squares : (n_groups,)
        Sum of their squared lengths.
    last_v, last_y : (n,)
        The last direction and its product.
    first_square : ()
        Squared length of the first gradient.
    last_weight : ()
        Squared length of the gradient of the last direction, relative to that of the first one.
    images : ((p + 1) // 2, n)
        Products with the gradients of the prior, one for each pair.
    anchor : (n,)
        The gradient that the estimate began with.
    directions, products : (m, n)
        Observations: S and Y of the posterior.
    ritz : (n_groups, m)
        Ritz values, largest first; -inf for those that do not exist.
    U : list of (rank, size)
        Eigenvectors by variable, so that gradients need not be concatenated to be multiplied.
    factors : (n_groups, rank)
        Of the eigenvectors in the preconditioner.
    """

    def __init__(self, add_variable, parameters, n_groups, dtype, settings):
        n, m, p = parameters.size, settings.num_observations, settings.prior_iterations
        add = add_variable
        self.phase = add("phase", dtype="int32")
        self.taken = add("products_of_this_phase", dtype="int32")
        self.started = add("estimates_started", dtype="int32")
        self.finished = add("estimates_finished", dtype="int32")
        self.mean = add("mean", (n_groups,))
        self.scale = add("scale", (n_groups,))
        self.noise = add("noise", (n_groups,))
        self.rho = add("level", (n_groups,))
        self.signal = add("signal", (n_groups,), initializer="ones")
        self.worst = add("most_negative_curvature")
        self.sums = self.variance = self.gradients = self.squares = self.last_v = None
        self.last_y = self.first_square = self.last_weight = self.images = None
        if p:
            self.sums = add("sums", (n_groups, len(Sums._fields)))
            self.variance = add("spread", (n_groups,))
            self.gradients = add("sum_of_gradients", (n,), dtype)
            self.squares = add("squares_of_gradients", (n_groups,))
            self.last_v = add("last_direction", (n,), dtype)
            self.last_y = add("last_product", (n,), dtype)
            self.first_square = add("square_of_first_gradient")
            self.last_weight = add("weight_of_last_direction")
            if m:
                self.images = add("images_of_gradients", ((p + 1) // 2, n), dtype)
        self.anchor = self.directions = self.products = self.ritz = None
        if m:
            below = keras.initializers.Constant(-np.inf)
            self.anchor = add("anchor", (n,), dtype)
            self.directions = add("directions", (m, n), dtype)
            self.products = add("products", (m, n), dtype)
            self.ritz = add("ritz_values", (n_groups, m), initializer=below)
        self.U = self.factors = None
        if settings.rank:
            self.U = [
                add(f"eigenvectors_{k}", (settings.rank, size), dtype)
                for k, size in enumerate(parameters.sizes)
            ]
            self.factors = add("factors", (n_groups, settings.rank), initializer="ones")

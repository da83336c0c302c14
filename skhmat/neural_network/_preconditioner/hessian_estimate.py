"""An estimate of the Hessian, made by one product a step while training goes on."""

from dataclasses import dataclass, field

import numpy as np

from .._keras import is_in_xla, machine_epsilon, tf
from . import inference
from .estimate_state import EstimateState, Phase
from .inference import InferencePolicy


@dataclass(frozen=True)
class EstimatePolicy:
    """Numbers that decide how an estimate is made.

    Attributes
    ----------
    chance : float
        Alignment of gradients that may be due to chance: two standard errors of the cosine of two
        vectors of noise in 8 dimensions.
    krylov_directions : int
        With noise, this many directions follow from the first gradient, and later ones from
        present gradients.
    inference : InferencePolicy
    """

    chance: float = 0.7
    krylov_directions: int = 3
    inference: InferencePolicy = field(default_factory=InferencePolicy)


POLICY = EstimatePolicy()


class HessianEstimate:
    """Gaussian models of the Hessian, one for each group of variables, and what follows from them.

    Parameters
    ----------
    add_variable : callable
        Creates state: ``add_variable(name, shape=(), dtype="float64", initializer="zeros")``.
    parameters : ParameterVector
        Of all variables, group after group.
    sizes : list of int
        Number of weights of each group.
    dtype : str
        Of the variables.
    rates : LearningRates
        Learns from estimates, and gives the curvature where no product does.
    diagnostics : Diagnostics
    transport_momentum : callable
        Called when a preconditioner is replaced, with a function that multiplies by the inverse of
        the last one.
    settings : EstimateSettings
    policy : EstimatePolicy

    Attributes
    ----------
    settings : EstimateSettings
    state : EstimateState
    """

    def __init__(
        self,
        add_variable,
        parameters,
        sizes,
        dtype,
        rates,
        diagnostics,
        transport_momentum,
        settings,
        policy=POLICY,
    ):
        self.settings = settings
        self.state = EstimateState(add_variable, parameters, len(sizes), dtype, settings)
        self._policy = policy
        self._parameters, self._sizes, self._dtype = parameters, sizes, dtype
        self._rates, self._diagnostics = rates, diagnostics
        self._transport_momentum = transport_momentum

    # ---- what is known

    @property
    def is_idle(self):
        """Whether no estimate is being made; a tensor of shape (), bool."""
        return self.state.phase.value == Phase.IDLE.value

    @property
    def started(self):
        """The number of estimates that were begun, a variable."""
        return self.state.started

    @property
    def finished(self):
        """The number of estimates that were finished, a variable."""
        return self.state.finished

    @property
    def kept_eigenvalues(self):
        """Eigenvalues that are reduced, (n_groups, rank); -inf for those that do not exist."""
        return self.state.ritz.value[:, : self.settings.rank]

    def log(self):
        """Return what has been learned, as numbers and arrays."""
        state = self.state
        has_spectrum = self.settings.num_observations > 0
        ritz = state.ritz.numpy() if has_spectrum else np.empty((len(self._sizes), 0))
        return {
            "phase": Phase(int(state.phase.numpy())).label,
            "estimates": int(state.finished.numpy()),
            "curvature": state.mean.numpy(),
            "level": state.rho.numpy(),
            "noise": state.noise.numpy(),
            "spectrum": [row[np.isfinite(row)] for row in ritz],
        }

    def precondition(self, groups):
        """Return P g for the gradients g of each group, and g'P g - g'g, of shape (n_groups,).

        groups : list of lists of tensors
        """
        return _precondition([u.value for u in self.state.U], self.state.factors.value, groups)

    # ---- the phases

    def begin(self, gradients, squares):
        """Begin with the first phase; until it is finished, the last estimate stays in force.

        gradients : list of tensors
        squares : tensor of shape (n_groups,)
            Squared lengths of the gradients.
        """
        state, settings = self.state, self.settings
        state.started.assign_add(1)
        state.taken.assign(0)
        if settings.num_observations:
            state.anchor.assign(self._parameters.pack(gradients))
            _clear(state.directions, state.products)
        if settings.prior_iterations:
            _clear(state.sums, state.variance, state.gradients, state.squares)
            state.first_square.assign(tf.reduce_sum(squares))
            if settings.num_observations:
                _clear(state.images)
            state.phase.assign(Phase.PRIOR.value)
        elif settings.num_observations:
            curvature = self._rates.curvature()
            self._set_prior(curvature, curvature, tf.zeros_like(curvature))
            state.phase.assign(Phase.OBSERVING.value)

    def advance(self, objective, squares, is_able):
        """Learn from a product, if one is wanted; return whether it is finite, or True.

        squares : tensor of shape (n_groups,)
            Squared lengths of the gradients.
        is_able : tensor of shape (), bool
            Whether something can be learned from these gradients.
        """
        if not self.settings.prior_iterations + self.settings.num_observations:
            return tf.constant(True)
        v, needed, is_over = self._choose_direction(objective, squares, is_able)
        y = objective.product_where(needed, v)
        usable = ~needed | tf.math.is_finite(tf.nn.l2_loss(y))
        is_over |= self._learn(objective, squares, v, y, needed & usable)
        # An estimate ends in several ways, and what it ends with is traced once for all of them.
        tf.cond(is_over, self._finish, lambda: None)
        return usable

    def _choose_direction(self, objective, squares, is_able):
        """Return a vector whose product is wanted, and what becomes of the estimate.

        Everything is computed within the branches: most steps take none of them.

        Returns
        -------
        v : tensor of shape (n,), or (0,) if no product is wanted
        is_wanted : tensor of shape (), bool
        is_over : tensor of shape (), bool
            Whether the estimate is over because no product is worth its cost.
        """

        def nothing():
            # XLA wants one shape from all branches.
            size = self._parameters.size if is_in_xla() else 0
            return tf.zeros(size, self._dtype), tf.constant(False), tf.constant(False)

        return self._in_phase(
            is_able,
            lambda: self._prior_direction(objective, squares),
            lambda: self._observed_direction(objective),
            nothing,
        )

    def _learn(self, objective, squares, v, y, where):
        """Learn from the product y of the Hessian with v, (n,), if `where`, (), is True.

        Return whether the estimate is over with it; a tensor of shape (), bool.
        """
        size = self._parameters.size

        def add_to_prior():
            self._add_gradient(objective.gradients, squares)
            return self._add_to_prior(tf.ensure_shape(v, [size]), tf.ensure_shape(y, [size]))

        def observe():
            return self._observe(tf.ensure_shape(v, [size]), tf.ensure_shape(y, [size]))

        return self._in_phase(where, add_to_prior, observe, lambda: tf.constant(False))

    def _in_phase(self, where, in_prior, observing, otherwise):
        """Return what one of three functions does, the last one unless `where`, (), is True.

        Phases that the settings leave out are not traced.
        """
        branches = {}
        if self.settings.prior_iterations:
            branches[Phase.PRIOR] = in_prior
        if self.settings.num_observations:
            branches[Phase.OBSERVING] = observing
        phase = tf.where(where, self.state.phase.value, Phase.IDLE.value)
        return tf.switch_case(phase, [branches.get(each, otherwise) for each in Phase])

    # ---- the prior

    def _prior_direction(self, objective, squares):
        """Return what `_choose_direction` does: the gradient, or the last direction again."""
        # Of length one: products with vectors as long as gradients may overflow.
        g = self._parameters.pack(objective.gradients)
        g /= tf.cast(tf.sqrt(tf.reduce_sum(squares)), g.dtype)
        # Every other product is one with the last direction again: their difference is noise.
        v = tf.where(self._is_second(), tf.convert_to_tensor(self.state.last_v), g)
        return v, tf.constant(True), tf.constant(False)

    def _is_second(self):
        """Return whether the next product is the second of a pair; a tensor of shape (), bool."""
        return self.state.taken.value % 2 == 1

    def _add_gradient(self, gradients, squares):
        """Add to the sums that show how much of the gradients is signal."""
        state = self.state
        state.gradients.assign_add(self._parameters.pack(gradients))
        state.squares.assign_add(squares)
        weight = tf.reduce_sum(squares) / state.first_square.value
        state.last_weight.assign(tf.where(self._is_second(), state.last_weight.value, weight))

    def _add_to_prior(self, v, y):
        """Add an observation y = H v, both (n,), and complete the prior if it is the last.

        Return whether the estimate is over with it; a tensor of shape (), bool.
        """
        state = self.state
        sums = self._add_sums(v, y)
        if self.settings.num_observations:
            self._add_image(y)
        state.last_v.assign(v)
        state.last_y.assign(y)
        state.taken.assign_add(1)
        mean, scale, noise = self._fit_priors(sums, machine_epsilon(v))
        # Without a gradient, or with negative curvature, the last learning rate gives the mean.
        mean, curvature = tf.where(mean > 0, mean, self._rates.curvature()), mean
        # Until there is an estimate, what is known so far must do. One product does not show
        # whether batches agree.
        is_alone = (state.taken.value < 2) & (self.settings.prior_iterations > 1)
        is_useful = (state.finished.value == 0) & (curvature > 0)
        self._rates.guess(mean, (noise > 0) | is_alone, is_useful)
        is_last = state.taken.value >= self.settings.prior_iterations
        tf.cond(
            is_last,
            lambda: self._complete_prior(sums, mean, scale, noise, curvature),
            lambda: None,
        )
        return tf.constant(False) if self.settings.num_observations else is_last

    def _add_sums(self, v, y):
        """Add the observation to the sums of each group; return these, a list of `Sums`."""
        state = self.state
        sums, variances, weight = [], [], state.last_weight.value
        for row, v_part, y_part, last_y in zip(
            tf.unstack(state.sums.value),
            self._split(v),
            self._split(y),
            self._split(state.last_y),
            strict=True,
        ):
            row = inference.Sums(*tf.unstack(row))
            sums.append(inference.accumulate(row, v_part, y_part, weight))
            variances.append(inference.noise_variance(v, y_part, last_y))
        state.sums.assign(tf.stack([tf.stack(row) for row in sums]))
        nothing = tf.zeros_like(state.variance)
        state.variance.assign_add(tf.where(self._is_second(), tf.stack(variances), nothing))
        return sums

    def _add_image(self, y):
        """Store the product with a gradient of the prior: the two of a pair make one row."""
        state = self.state
        image = tf.where(self._is_second(), (y + state.last_y.value) / np.sqrt(2), y)
        image *= tf.cast(tf.sqrt(state.last_weight.value), image.dtype)
        _write(state.images, state.taken.value // 2, image)

    def _fit_priors(self, sums, epsilon):
        """Return mean, scale and noise of the priors, each of shape (n_groups,)."""
        n_pairs = max(self.settings.prior_iterations // 2, 1)
        variances = tf.unstack(self.state.variance.value / n_pairs)
        priors = [
            inference.fit_prior(row, 1, variance, epsilon, self._policy.inference)
            for row, variance in zip(sums, variances, strict=True)
        ]
        return [tf.stack(numbers) for numbers in zip(*priors, strict=True)]

    def _complete_prior(self, sums, mean, scale, noise, curvature):
        """Set the prior, and go on to observations, if any. All arrays are of shape (n_groups,)."""
        state = self.state
        self._learn_signal(noise > 0)
        worst = tf.reduce_min(tf.where(curvature < 0, -scale, tf.zeros_like(scale)))
        along = tf.stack([row.vy for row in sums])
        lengths = tf.stack([row.vv for row in sums])
        is_negative = tf.reduce_any((along <= 0) & (lengths > 0))
        self._diagnostics.count("negative_curvature", is_negative)
        state.worst.assign(tf.minimum(state.worst.value, worst))
        self._set_prior(mean, scale, noise)
        state.taken.assign(0)
        if self.settings.num_observations:
            state.phase.assign(Phase.OBSERVING.value)

    def _learn_signal(self, is_noisy):
        """Learn the signal: a sum of gradients is longer than a sum of noise."""
        state = self.state
        n = tf.cast(state.taken.value, tf.float64)
        pairs = self._squared_lengths(state.gradients) - state.squares.value
        signal = tf.math.divide_no_nan(pairs, (n - 1) * state.squares.value)
        signal -= self._policy.chance * tf.math.rsqrt(tf.maximum(n * (n - 1) / 2, 1))
        state.signal.assign(tf.where(is_noisy, signal, tf.ones_like(signal)))

    def _set_prior(self, mean, scale, noise):
        self.state.mean.assign(mean)
        self.state.scale.assign(scale)
        self.state.noise.assign(noise)

    # ---- observations

    def _observed_direction(self, objective):
        """Return what `_choose_direction` does: the direction of most uncertain curvature."""
        found = []
        for group, start in enumerate(self._split(self._first_vector(objective))):
            posterior = self._posterior(group)
            s = inference.next_direction(posterior, start)
            is_worthwhile = inference.is_worthwhile(posterior, s, self._policy.inference)
            found.append(tf.where(is_worthwhile, s, tf.zeros_like(s)))
        v = tf.concat(found, axis=0)
        is_wanted = tf.norm(v) > 0
        return v, is_wanted, ~is_wanted

    def _first_vector(self, objective):
        """Return the vector, (n,), that the inverse of B maps to the next direction.

        Large curvature stands out in the products of the prior, so it is their sum, and, against
        rounding, the gradient that the estimate began with: updates may have removed much of it
        from the present one. With noise, later directions come from present gradients, which may
        show others.
        """
        state = self.state
        first = tf.convert_to_tensor(state.anchor)
        if not self.settings.prior_iterations:
            return first
        images = tf.reduce_sum(state.images.value, axis=0)
        image, anchor = [tf.math.divide_no_nan(x, tf.norm(x)) for x in (images, first)]
        noisy = tf.reduce_any(state.noise.value > 0)
        start = tf.where(noisy, image, image + anchor)
        return tf.cond(
            noisy & (state.taken.value >= self._policy.krylov_directions),
            lambda: self._parameters.pack(objective.gradients),
            lambda: start,
        )

    def _observe(self, s, y):
        """Store the observation y = H s, both (n,); return whether it is the last, (), bool."""
        state = self.state
        _write(state.directions, state.taken.value, s)
        _write(state.products, state.taken.value, y)
        state.taken.assign_add(1)
        return state.taken.value >= self.settings.num_observations

    def _posterior(self, group):
        """Return the posterior of the block of a group."""
        state = self.state
        S, Y = (self._split(rows)[group] for rows in (state.directions, state.products))
        # Directions have length one in each group, and noise belongs to all of them.
        prior = inference.Prior(
            state.mean.value[group],
            state.scale.value[group] / np.sqrt(self._sizes[group]),
            state.noise.value[group] * np.sqrt(len(self._sizes) / self._sizes[group]),
        )
        return inference.fit_posterior(prior, S, Y)

    # ---- the result

    def _finish(self):
        """Make the preconditioner and the learning rate from what was observed."""
        state = self.state
        rho = state.mean.value
        if self.settings.num_observations:
            pairs = [inference.ritz_pairs(self._posterior(k)) for k in range(len(self._sizes))]
            state.ritz.assign(tf.stack([values for values, *_ in pairs]))
            if self.settings.precondition:
                rho = self._find_rhos(pairs, rho)
            if self.settings.rank:
                rho = self._set_preconditioner(pairs, rho)
        # At the first estimate nothing is known about losses, so with noise it counts only by half.
        is_first = state.finished.value == 0
        prior = tf.where(state.noise.value > 0, state.mean.value, tf.zeros_like(rho))
        last_rho = tf.where(is_first, prior, state.rho.value)
        self._rates.learn(rho, last_rho, state.signal.value, is_first)
        state.rho.assign(rho)
        state.phase.assign(Phase.IDLE.value)
        state.finished.assign_add(1)

    def _find_rhos(self, pairs, means):
        """Return `_find_rho` of all groups, of shape (n_groups,)."""
        found = [
            self._find_rho(values, error, mean)
            for (values, _, error), mean in zip(pairs, tf.unstack(means), strict=True)
        ]
        return tf.stack(found)

    def _find_rho(self, ritz, error, mean):
        """Return the largest curvature of a group that is not reduced, if it is above noise, ().

        ritz : tensor of shape (m,)
        error, mean : tensors of shape ()
            Of the Ritz values, and of the prior.
        """
        # If directions ran out, the smallest of the existing ones stands for the rest.
        existing = tf.where(ritz > 0, ritz, np.inf)
        following = tf.where(tf.math.is_inf(ritz[-1]), tf.reduce_min(existing), np.inf)
        rank = self.settings.rank
        if rank < self.settings.num_observations:
            following = tf.where(ritz[rank] > 0, ritz[rank], following)
        rho = tf.where(tf.math.is_finite(following), following, mean)
        return tf.maximum(rho, error)

    def _set_preconditioner(self, pairs, rho):
        """Set the preconditioner; return the curvature that it leaves, of shape (n_groups,).

        pairs : list of tuples
            Ritz values, vectors and error of each group.
        rho : tensor of shape (n_groups,)
            The curvature beyond the eigenvalues that are reduced.
        """
        state = self.state
        preconditioners = [
            inference.make_preconditioner(
                values, vectors, at, self.settings.rank, self.settings.exponent
            )
            for (values, vectors, _), at in zip(pairs, tf.unstack(rho), strict=True)
        ]
        factors = tf.stack([P.factors for P in preconditioners])
        self._replace(tf.concat([P.U for P in preconditioners], axis=1), factors)
        kept = self.kept_eigenvalues
        clipped = tf.math.is_finite(kept) & (kept <= 0)
        self._diagnostics.count("clipped", tf.reduce_sum(tf.cast(clipped, tf.int32)))
        rho = tf.maximum(rho, tf.reduce_max(kept * factors, axis=1))
        if self.settings.prior_iterations:
            rho = tf.maximum(rho, self._curvature_along_gradients(preconditioners))
            # After negative curvature, the mean is that which belongs to the last learning rate.
            is_known = state.sums.value[:, 0] > 0
            rho = tf.where(is_known, rho, tf.maximum(rho, state.mean.value))
        return rho

    def _replace(self, U, factors):
        """Replace the preconditioners, and let momentum follow.

        U : tensor of shape (rank, n)
        factors : tensor of shape (n_groups, rank)
        """
        state = self.state
        last_U = [tf.identity(u.value) for u in state.U]
        last_factors = tf.identity(state.factors.value)
        for u, new in zip(state.U, tf.split(U, self._parameters.sizes, axis=1), strict=True):
            u.assign(new)
        state.factors.assign(factors)
        self._transport_momentum(lambda groups: _precondition(last_U, 1 / last_factors, groups)[0])

    def _curvature_along_gradients(self, preconditioners):
        """Return the curvature y'P y / v'y of the gradients of the prior, (n_groups,).

        That is b_0 of the preconditioned problem: of the operator root(P) H root(P), and of its
        product with the inverse of root(P) times v, which is root(P) y.
        """
        found = []
        for P, images, sums in zip(
            preconditioners,
            self._split(self.state.images),
            tf.unstack(self.state.sums.value),
            strict=True,
        ):
            squares = tf.reduce_sum(tf.cast(images, tf.float64) ** 2)
            along = tf.cast(tf.linalg.matmul(images, P.U, transpose_b=True), tf.float64)
            squares += tf.reduce_sum((P.factors - 1) * along**2)
            found.append(tf.math.divide_no_nan(squares, tf.maximum(sums[0], 0)))
        return tf.stack(found)

    # ---- vectors by groups

    def _split(self, x):
        """Return the pieces of the groups of a vector, (n,), or of vectors as rows, (k, n)."""
        x = tf.convert_to_tensor(x)
        return [x] if len(self._sizes) == 1 else tf.split(x, self._sizes, axis=-1)

    def _squared_lengths(self, x):
        return tf.stack([2 * tf.cast(tf.nn.l2_loss(part), tf.float64) for part in self._split(x)])


def _precondition(U, factors, groups):
    """Return P g and g'P g - g'g of each group, as `HessianEstimate.precondition` does."""
    parts, changes, start = [], [], 0
    for group, own in zip(groups, tf.unstack(factors), strict=True):
        part, change = inference.apply_preconditioner(U[start : start + len(group)], own, group)
        start += len(group)
        parts.append(part)
        changes.append(change)
    return parts, tf.stack(changes)


def _clear(*variables):
    for variable in variables:
        variable.assign(tf.zeros_like(variable))


def _write(rows, row, vector):
    """Replace a row; XLA has no slices at variable places."""
    rows.assign(tf.tensor_scatter_nd_update(rows.value, [[row]], vector[tf.newaxis]))

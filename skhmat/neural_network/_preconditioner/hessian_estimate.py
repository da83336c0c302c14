"""An estimate of the Hessian, made in phases of one product a step, while training goes on."""

import numpy as np

from .._curvature.layout import epsilon
from .._keras import in_xla, keras, tf
from . import inference

#: What is done with a minibatch besides the update, by the number that stands in the state.
PHASES = ("idle", "prior", "observing")
_IDLE, _PRIOR, _OBSERVING = range(3)

#: Two standard errors of the cosine of two vectors of noise in 8 dimensions.
_CHANCE = 0.7

#: Directions that follow from the first, before those of present gradients.
_KRYLOV = 3


class Estimate:
    """Gaussian models of the Hessian, one for each group of variables, and what is made of them.

    Parameters
    ----------
    add : callable
        Makes state: ``add(name, shape=(), dtype="float64", initializer="zeros")``.
    layout : Layout
        Of all variables, group after group.
    sizes : list of int
        Components of each group.
    dtype : str
        Of the variables.
    rates : LearningRates
        Told what is learned, and asked for curvature where nothing else tells it.
    trouble : callable
        Counts it: ``trouble(name, happened)``.
    carry_over : callable
        Called where a preconditioner is replaced, with a function that multiplies by the inverse of
        the last one.
    prior_iterations, num_observations : int
        Products of the two phases.
    rank : int
        Eigenvalues of each group that are taken down.
    precondition : bool
        Whether the curvature that is left is that beyond them.
    exponent : float
    """

    def __init__(
        self,
        add,
        layout,
        sizes,
        dtype,
        rates,
        trouble,
        carry_over,
        *,
        prior_iterations,
        num_observations,
        rank,
        precondition,
        exponent,
    ):
        self._layout, self._sizes, self._dtype = layout, sizes, dtype
        self._rates, self._trouble, self._carry_over = rates, trouble, carry_over
        self.prior_iterations, self.num_observations = prior_iterations, num_observations
        self._rank, self._precondition, self._exponent = rank, precondition, exponent
        n, n_groups = layout.size, len(sizes)
        self._phase = add("phase", dtype="int32")
        self._taken = add("products_of_this_phase", dtype="int32")
        self.started = add("estimates_started", dtype="int32")
        self.finished = add("estimates_finished", dtype="int32")
        # Those of the prior, but for factors of the size.
        self._mean = add("mean", (n_groups,))
        self._scale = add("scale", (n_groups,))
        self._noise = add("noise", (n_groups,))
        self._level = add("level", (n_groups,))
        # The part of the squared lengths of gradients that is that of their mean.
        self._signal = add("signal", (n_groups,), initializer="ones")
        self.worst = add("most_negative_curvature")
        if prior_iterations:
            self._sums = add("sums", (n_groups, len(inference.Sums._fields)))
            self._spread = add("spread", (n_groups,))
            self._gradients = add("sum_of_gradients", (n,), dtype)
            self._squares = add("squares_of_gradients", (n_groups,))
            self._last_v = add("last_direction", (n,), dtype)
            self._last_y = add("last_product", (n,), dtype)
            # Squared lengths of gradients: of that of the last direction, over the first one's.
            self._first_square = add("square_of_first_gradient")
            self._last_weight = add("weight_of_last_direction")
            if num_observations:
                self._images = add("images_of_gradients", ((prior_iterations + 1) // 2, n), dtype)
        if num_observations:
            m = num_observations
            below = keras.initializers.Constant(-np.inf)
            self._anchor = add("anchor", (n,), dtype)
            self._S = add("directions", (m, n), dtype)
            self._Y = add("products", (m, n), dtype)
            self._ritz = add("ritz_values", (n_groups, m), initializer=below)
        if rank:
            # By variable, so that gradients need not be put together to be multiplied.
            self.U = [
                add(f"eigenvectors_{k}", (rank, size), dtype) for k, size in enumerate(layout.sizes)
            ]
            self._factors = add("factors", (n_groups, rank), initializer="ones")

    @property
    def is_idle(self):
        """Whether no estimate is being made; a tensor."""
        return self._phase.value == _IDLE

    @property
    def kept(self):
        """Eigenvalues that are taken down, (n_groups, rank); -inf for those that are not there."""
        return self._ritz.value[:, : self._rank]

    def log(self):
        """Return what has been learned, as numbers and arrays."""
        ritz = self._ritz.numpy() if self.num_observations else np.empty((len(self._sizes), 0))
        return {
            "phase": PHASES[int(self._phase.numpy())],
            "estimates": int(self.finished.numpy()),
            "curvature": self._mean.numpy(),
            "level": self._level.numpy(),
            "noise": self._noise.numpy(),
            "spectrum": [row[np.isfinite(row)] for row in ritz],
        }

    def preconditioned(self, groups):
        """Return the gradients g of each group multiplied by P, and g'P g - g'g of each group."""
        return self._multiplied([u.value for u in self.U], self._factors.value, groups)

    @staticmethod
    def _multiplied(U, factors, groups, inverse=False):
        parts, changes, start = [], [], 0
        for group, own in zip(groups, tf.unstack(1 / factors if inverse else factors), strict=True):
            part, change = inference.precondition(U[start : start + len(group)], own, group)
            start += len(group)
            parts.append(part)
            changes.append(change)
        return parts, tf.stack(changes)

    def begin(self, gradients, squares):
        """Begin with the first phase; nothing of the last estimate is changed by that."""
        self.started.assign_add(1)
        self._taken.assign(0)
        if self.num_observations:
            self._anchor.assign(self._layout.pack(gradients))
            self._S.assign(tf.zeros_like(self._S))
            self._Y.assign(tf.zeros_like(self._Y))
        if self.prior_iterations:
            self._sums.assign(tf.zeros_like(self._sums))
            self._spread.assign(tf.zeros_like(self._spread))
            self._gradients.assign(tf.zeros_like(self._gradients))
            self._squares.assign(tf.zeros_like(self._squares))
            self._first_square.assign(tf.reduce_sum(squares))
            if self.num_observations:
                self._images.assign(tf.zeros_like(self._images))
            self._phase.assign(_PRIOR)
        elif self.num_observations:
            curvature = self._rates.curvature()
            self._set_prior(curvature, curvature, tf.zeros_like(curvature))
            self._phase.assign(_OBSERVING)

    def advance(self, objective, squares, able):
        """Learn from a product where one is wanted; return whether it is finite.

        squares : tensor of shape (n_groups,)
            Squared lengths of the gradients.
        able : tensor of shape (), bool
            Whether they are fit to be learned from.
        """
        if not self.prior_iterations + self.num_observations:
            return tf.constant(True)
        v, needed = self._direction(objective, squares, able)
        y = objective.product_where(needed, v)
        return tf.cond(
            needed, lambda: self._learn(objective, squares, v, y), lambda: tf.constant(True)
        )

    def _direction(self, objective, squares, able):
        """Return the vector whose product is wanted, and whether one is; else the vector is empty.

        Nothing here is computed outside of the branches: most steps take none of them.
        """
        steps = {}
        if self.prior_iterations:
            steps[_PRIOR] = lambda: self._prior_direction(objective, squares)
        if self.num_observations:
            steps[_OBSERVING] = lambda: self._new_direction(objective)

        def nothing():
            # XLA wants one shape from all branches.
            size = self._layout.size if in_xla() else 0
            return tf.zeros(size, self._dtype), tf.constant(False)

        phase = tf.where(able, self._phase.value, _IDLE)
        return tf.switch_case(phase, [steps.get(k, nothing) for k in range(len(PHASES))])

    def _prior_direction(self, objective, squares):
        # Of length one: products with vectors as long as gradients may overflow.
        g = self._layout.pack(objective.gradients)
        g /= tf.cast(tf.sqrt(tf.reduce_sum(squares)), g.dtype)
        # Every other product is one with the last direction again: their difference is noise.
        v = tf.where(self._is_second(), tf.convert_to_tensor(self._last_v), g)
        return v, tf.constant(True)

    def _squared_lengths(self, x):
        return tf.stack([2 * tf.cast(tf.nn.l2_loss(part), tf.float64) for part in self._blocks(x)])

    def _new_direction(self, objective):
        found = []
        for group, start in enumerate(self._blocks(self._start(objective))):
            posterior = self._posterior(group)
            s = inference.new_direction(posterior, start)
            found.append(tf.where(inference.worth(posterior, s), s, tf.zeros_like(s)))
        v = tf.concat(found, axis=0)
        wanted = tf.norm(v) > 0
        tf.cond(wanted, lambda: None, self._finish)
        return v, wanted

    def _start(self, objective):
        """Return the vector that the inverse of B maps to the next direction.

        Large curvature stands out of the products of the prior, so their sum, and, against
        rounding, the gradient that the estimate began with: the present one may have lost much of
        it to updates. With noise, later, present gradients: they may show other directions.
        """
        first = tf.convert_to_tensor(self._anchor)
        if not self.prior_iterations:
            return first
        images = tf.reduce_sum(self._images.value, axis=0)
        unit = [tf.math.divide_no_nan(x, tf.norm(x)) for x in (images, first)]
        noisy = tf.reduce_any(self._noise.value > 0)
        start = tf.where(noisy, unit[0], unit[0] + unit[1])
        return tf.cond(
            noisy & (self._taken.value >= _KRYLOV),
            lambda: self._layout.pack(objective.gradients),
            lambda: start,
        )

    def _is_second(self):
        return self._taken.value % 2 == 1

    def _learn(self, objective, squares, v, y):
        """Take up the product y of the Hessian with v; return whether it is finite."""
        size = self._layout.size
        v, y = tf.ensure_shape(v, [size]), tf.ensure_shape(y, [size])
        usable = tf.math.is_finite(tf.nn.l2_loss(y))

        def learn():
            def add_to_prior():
                self._add_gradient(objective.gradients, squares)
                self._add_to_prior(v, y)

            if not self.num_observations:
                add_to_prior()
            elif not self.prior_iterations:
                self._observe(v, y)
            else:
                is_prior = self._phase.value == _PRIOR
                tf.cond(is_prior, add_to_prior, lambda: self._observe(v, y))

        tf.cond(usable, learn, lambda: None)
        return usable

    def _add_gradient(self, gradients, squares):
        self._gradients.assign_add(self._layout.pack(gradients))
        self._squares.assign_add(squares)
        weight = tf.reduce_sum(squares) / self._first_square.value
        self._last_weight.assign(tf.where(self._is_second(), self._last_weight.value, weight))

    def _add_to_prior(self, v, y):
        sums, apart, weight = [], [], self._last_weight.value
        of_group = zip(
            tf.unstack(self._sums.value),
            *map(self._blocks, (v, y, self._last_y)),
            strict=True,
        )
        for row, v_part, y_part, last in of_group:
            row = inference.Sums(*tf.unstack(row))
            sums.append(inference.accumulate(row, v_part, y_part, weight))
            apart.append(inference.spread(v, y_part, last))
        self._sums.assign(tf.stack([tf.stack(row) for row in sums]))
        spread = tf.where(self._is_second(), tf.stack(apart), tf.zeros_like(self._spread))
        self._spread.assign_add(spread)
        if self.num_observations:
            image = tf.where(self._is_second(), (y + self._last_y.value) / np.sqrt(2), y)
            image *= tf.cast(tf.sqrt(weight), image.dtype)
            _write(self._images, self._taken.value // 2, image)
        self._last_v.assign(v)
        self._last_y.assign(y)
        self._taken.assign_add(1)
        variances = tf.unstack(self._spread.value / max(self.prior_iterations // 2, 1))
        given = [
            inference.prior(row, 1, variance, epsilon(v))
            for row, variance in zip(sums, variances, strict=True)
        ]
        mean, scale, noise = (tf.stack(numbers) for numbers in zip(*given, strict=True))
        # Where there was no gradient, or negative curvature, the last learning rate tells the mean.
        mean, curvature = tf.where(mean > 0, mean, self._rates.curvature()), mean
        # At first there is no estimate yet, and what is known so far has to do.
        # Whether batches agree is not known from one product.
        is_alone = (self._taken.value < 2) & (self.prior_iterations > 1)
        is_useful = (self.finished.value == 0) & (curvature > 0)
        self._rates.guess(mean, (noise > 0) | is_alone, is_useful)

        def complete():
            self._learn_signal(noise > 0)
            worst = tf.reduce_min(tf.where(curvature < 0, -scale, tf.zeros_like(scale)))
            along = tf.stack([row.vy for row in sums])
            lengths = tf.stack([row.vv for row in sums])
            self._trouble("negative_curvature", tf.reduce_any((along <= 0) & (lengths > 0)))
            self.worst.assign(tf.minimum(self.worst.value, worst))
            self._set_prior(mean, scale, noise)
            self._taken.assign(0)
            if self.num_observations:
                self._phase.assign(_OBSERVING)
            else:
                self._finish()

        tf.cond(self._taken.value >= self.prior_iterations, complete, lambda: None)

    def _learn_signal(self, is_noisy):
        """Learn it from how much longer a sum of gradients is than a sum of noise."""
        n = tf.cast(self._taken.value, tf.float64)
        pairs = self._squared_lengths(self._gradients) - self._squares.value
        signal = tf.math.divide_no_nan(pairs, (n - 1) * self._squares.value)
        signal -= _CHANCE * tf.math.rsqrt(tf.maximum(n * (n - 1) / 2, 1))
        self._signal.assign(tf.where(is_noisy, signal, tf.ones_like(signal)))

    def _set_prior(self, mean, scale, noise):
        self._mean.assign(mean)
        self._scale.assign(scale)
        self._noise.assign(noise)

    def _observe(self, s, y):
        _write(self._S, self._taken.value, s)
        _write(self._Y, self._taken.value, y)
        self._taken.assign_add(1)
        tf.cond(self._taken.value >= self.num_observations, self._finish, lambda: None)

    def _posterior(self, group):
        """Return the posterior of the block of a group."""
        S, Y = (self._blocks(rows)[group] for rows in (self._S, self._Y))
        # Directions have length one in each group, and noise goes with all of them.
        prior = inference.Prior(
            self._mean.value[group],
            self._scale.value[group] / np.sqrt(self._sizes[group]),
            self._noise.value[group] * np.sqrt(len(self._sizes) / self._sizes[group]),
        )
        return inference.posterior(prior, S, Y)

    def _finish(self):
        """Make the preconditioner and the learning rate of what was observed."""
        level = self._mean.value
        if self.num_observations:
            pairs = [inference.ritz_pairs(self._posterior(k)) for k in range(len(self._sizes))]
            self._ritz.assign(tf.stack([values for values, *_ in pairs]))
            if self._precondition:
                level = tf.stack(
                    [
                        self._level_of(values, error, mean)
                        for (values, _, error), mean in zip(pairs, tf.unstack(level), strict=True)
                    ]
                )
        if self._rank:
            made = [
                inference.preconditioner(values, vectors, at, self._rank, self._exponent)
                for (values, vectors, _), at in zip(pairs, tf.unstack(level), strict=True)
            ]
            factors = tf.stack([P.factors for P in made])
            self._replace(tf.concat([P.U for P in made], axis=1), factors)
            kept = self.kept
            clipped = tf.math.is_finite(kept) & (kept <= 0)
            self._trouble("clipped", tf.reduce_sum(tf.cast(clipped, tf.int32)))
            level = tf.maximum(level, tf.reduce_max(kept * factors, axis=1))
            if self.prior_iterations:
                level = tf.maximum(level, self._along_gradients(made))
                # After negative curvature the mean stands for the last learning rate.
                is_known = self._sums.value[:, 0] > 0
                level = tf.where(is_known, level, tf.maximum(level, self._mean.value))
        # Nothing is known of losses yet at the first, so with noise it is only half believed.
        is_first = self.finished.value == 0
        prior = tf.where(self._noise.value > 0, self._mean.value, tf.zeros_like(level))
        last_level = tf.where(is_first, prior, self._level.value)
        self._rates.learn(level, last_level, self._signal.value, is_first)
        self._level.assign(level)
        self._phase.assign(_IDLE)
        self.finished.assign_add(1)

    def _replace(self, U, factors):
        """Take other preconditioners, and tell what has been multiplied by those before."""
        old = [tf.identity(u.value) for u in self.U], tf.identity(self._factors.value)
        for u, new in zip(self.U, tf.split(U, self._layout.sizes, axis=1), strict=True):
            u.assign(new)
        self._factors.assign(factors)
        self._carry_over(lambda groups: self._multiplied(*old, groups, inverse=True)[0])

    def _level_of(self, ritz, error, mean):
        """Return the largest curvature of a group that is not taken down, if it is above noise."""
        # Where directions ran out, what is left is the smallest of those that there are.
        there = tf.where(ritz > 0, ritz, np.inf)
        next_one = tf.where(tf.math.is_inf(ritz[-1]), tf.reduce_min(there), np.inf)
        if self._rank < self.num_observations:
            next_one = tf.where(ritz[self._rank] > 0, ritz[self._rank], next_one)
        level = tf.where(tf.math.is_finite(next_one), next_one, mean)
        return tf.maximum(level, error)

    def _along_gradients(self, made):
        """Return the curvature y'P y / v'y of the gradients of the prior, preconditioned.

        That is b_0 again, for the operator root(P) H root(P) and its product with the inverse of
        root(P) times v, which is root(P) y.
        """
        found = []
        for P, images, sums in zip(
            made, self._blocks(self._images), tf.unstack(self._sums.value), strict=True
        ):
            squares = tf.reduce_sum(tf.cast(images, tf.float64) ** 2)
            along = tf.cast(tf.linalg.matmul(images, P.U, transpose_b=True), tf.float64)
            squares += tf.reduce_sum((P.factors - 1) * along**2)
            found.append(tf.math.divide_no_nan(squares, tf.maximum(sums[0], 0)))
        return tf.stack(found)

    def _blocks(self, x):
        """Return the pieces of the groups of a vector, or of vectors as rows."""
        x = tf.convert_to_tensor(x)
        return [x] if len(self._sizes) == 1 else tf.split(x, self._sizes, axis=-1)


def _write(rows, row, vector):
    """Replace a row; XLA knows no slices that are variable."""
    rows.assign(tf.tensor_scatter_nd_update(rows.value, [[row]], vector[tf.newaxis]))

"""The probabilistic preconditioner: an optimizer for Keras that wraps another. Not public yet."""

import numpy as np

from ..linalg._checks import check_integer, warn
from . import _hessian_inference as inference
from ._checks import check_real
from ._keras import (
    check_function,
    check_precision,
    check_replicas,
    checked_optimizer,
    checked_type,
    in_xla,
    keras,
    tf,
    with_optimizer,
)
from ._newton_cg import NewtonCG
from ._objectives import FunctionObjective, GradientObjective
from ._restart import Forecast, Losses, check_restart, mean_of, metric_of
from ._variable_groups import check_groups, grouped
from ._vectors import Layout, epsilon, values

#: What is done with a minibatch besides the update, by the number that stands in the state.
PHASES = ("idle", "prior", "observing")
_IDLE, _PRIOR, _OBSERVING = range(3)

#: Directions that follow from the first, before those of present gradients.
_KRYLOV = 3

#: The learning rate is this many times one over the curvature that is left by a preconditioner, and
#: the last one is kept where it is not more than `_KEPT` times that. Steps of gradient descent
#: converge below 2.
_SAFETY = 1.5
_KEPT = 1.2

#: From one estimate to the next the learning rate becomes at most this many times as large: where
#: the mean of the losses has fallen, and where it has not.
_RISE = 10.0
_FALL = 0.5

#: Steps are at most this many times as long as those of the last estimate were.
_LONGEST = 2.0


#: What can go wrong in a graph, which cannot warn, and how to say it afterwards.
_TROUBLES = {
    "negative_curvature": (
        "{new} priors saw negative curvature along the gradient (down to {worst:.2g}); the last "
        "learning rate was kept for them."
    ),
    "clipped": (
        "{new} of the largest eigenvalues found were not positive, and left as they are: noise or "
        "negative curvature. More num_observations or larger batches help."
    ),
    "carried_over": (
        "{new} epochs ended before the estimate of {length} steps was finished; it was carried "
        "over into the next. Take smaller batches, less prior_iterations and num_observations, or "
        "restart after a number of steps."
    ),
    "not_finite": "{new} steps were left out because the gradient or the product was not finite.",
}


@keras.saving.register_keras_serializable(package="skhmat")
class ProbabilisticPreconditioner(keras.optimizers.Optimizer):
    r"""Gradients rescaled by a learned inverse of the Hessian, before any other optimizer.

    From products of the Hessian with a few vectors, each on a minibatch and so noisy, Gaussian
    inference gives a mean of the Hessian, :math:`B = b_0 I` and a low rank. Its largest eigenvalues
    are taken down to the level :math:`\rho` of the others by

    .. math:: P = I + \sum_i \left((\rho/\sigma_i)^p - 1\right) u_i u_i^T,

    every gradient is multiplied by P, and the learning rate is :math:`1.5/\rho` [1]_, [2]_. An
    estimate takes `prior_iterations` steps for the prior (:math:`b_0`, its uncertainty and the
    noise), then `num_observations` for the posterior, one product each; all other steps cost
    what they cost without.

    It works in a plain ``model.compile(optimizer=ProbabilisticPreconditioner())``. Compile with
    ``jit_compile=False``: XLA, which Keras turns on where there is a GPU, takes a product in each
    step, needed or not.

    Parameters
    ----------
    inner : str or keras.optimizers.Optimizer, default="sgd"
        The optimizer that is given the rescaled gradients. A copy is trained.
    est_rank : int, default=2
        Eigenvalues of each group that are taken down, at most `num_observations`.
    num_observations : int, default=5
        Products for the posterior. Less are taken where the variance of the posterior says that
        another product would tell nothing. With 0, the learning rate alone is learned
        ("OnlyAdaptiveSGD" in [2]_).
    prior_iterations : int, default=10
        Products with the gradient for the prior. With 0, :math:`b_0` is one over the learning rate.
    weight_decay : float, default=0
        Given to the inner optimizer: each step takes this part of the weights, times the learning
        rate. Where it is 0, that of the inner optimizer stays.
    learning_rate : float, default=None
        The learning rate until the second estimate begins: in the first epoch. None for one from
        curvature from the first step on.
    parameter_groups : list of str, default=None
        Regular expressions. The variables whose path contains the first are a group with a learning
        rate of its own, and so on; those without a match are the last group.
    restart : {"epoch", "auto"}, int or None, default="epoch"
        When a new estimate begins: with each epoch of ``fit``; after that many steps; where the
        present one no longer foretells gradients, by a test of the errors of prediction in
        two windows of 10 steps (false alarms: 0.1 %); or never. An estimate that is not
        finished when an epoch ends is carried over into the next.
    precondition : bool, default=True
        Whether gradients are multiplied by P. If not, the learning rate is :math:`1/b_0`
        ("AdaptiveSGD" in [2]_).
    adapt_learning_rate : bool, default=True
        Whether the learning rate is learned. If not, `learning_rate` or that of the inner optimizer
        is used ("PreconditionedTuned"). Optimizers of Keras that scale gradients themselves (Adam,
        RMSprop, ...) keep theirs in any case: one over a curvature has no meaning for them.
    exponent : float, default=1.0
        The power p, not above 1: 1 makes all kept directions equal to the rest, 0 changes nothing.
        Below 1 the learning rate is 1.5 over the largest curvature that is left,
        :math:`\rho (\sigma_1/\rho)^{1-p}`.
    update_while_estimating : bool, default=True
        Whether the weights are updated while an estimate is being made, with the last estimate
        (with one over the curvature seen so far in the first one).
    name : str, default="probabilistic_preconditioner"

    Notes
    -----
    There is one Gaussian model for each group of variables. In each step that takes a product, it
    is that of the whole Hessian with directions in all groups, of which each group sees its own
    part: so curvature that groups share counts. (The original has a model for each tensor. On
    digits, one for all of them ends with a lower training loss, in two thirds of the time.)

    The learning rate is 1.5 over the larger of :math:`\rho` and the curvature
    :math:`y^T P y / v^T y` of the gradients v of the prior, :math:`y = H v`, which is the
    :math:`b_0` of the preconditioned problem and takes no further products. Of the last two
    estimates the larger counts (in the first, where there is noise, :math:`b_0`), and a learning
    rate stays where it is as long as that is between this and 1.2 times this. Three limits make up
    for what a curvature cannot tell, which is true near one point, and of one batch:

    - where the mean loss since the last estimate is not below that before it, the new learning
      rate is at most half the last; else at most 10 times the last;
    - a step is at most twice as long as those of the last estimate, in the norm of P;
    - SGD with momentum has (1 - momentum) times the learning rate, as every gradient is added up
      to 1 / (1 - momentum) times itself.

    Losses are those of ``fit`` or of :meth:`minimize`; in other loops the first limit is not there.

    Take at least twice as many observations as `est_rank`: the smallest of the eigenvalues found
    are those most in error.

    Memory: ``prior_iterations / 2 + 2 * num_observations + est_rank + 3`` vectors as long as all
    weights.

    The expected difference of Hessian and prior mean is :math:`w = |a/c| / \sqrt{n}` in each entry,
    for a variable of size n, where [1]_ has :math:`|a/c|`: the latter expects a difference of
    :math:`\sqrt{n}` times the curvature in each product, and takes noise for signal.

    References
    ----------
    .. [1] F. de Roos, P. Hennig, "Active probabilistic inference on matrices for pre-conditioning
       in stochastic optimization", AISTATS 2019.
    .. [2] L. Bald, "Investigating probabilistic preconditioning on artificial neural networks",
       Bachelor thesis, University of Tübingen, 2019.

    Examples
    --------
    >>> import keras
    >>> from skhmat.neural_network._probabilistic_preconditioner import (
    ...     ProbabilisticPreconditioner,
    ... )
    >>> x = keras.Variable([3.0, -2.0])
    >>> optimizer = ProbabilisticPreconditioner(est_rank=1, prior_iterations=2)
    >>> for _ in range(30):
    ...     loss = optimizer.minimize(lambda: 100 * x[0] ** 2 + x[1] ** 2, [x])
    >>> bool(abs(x.numpy()).max() < 1e-5)
    True
    """

    def __init__(
        self,
        inner="sgd",
        *,
        est_rank=2,
        num_observations=5,
        prior_iterations=10,
        weight_decay=0,
        learning_rate=None,
        parameter_groups=None,
        restart="epoch",
        precondition=True,
        adapt_learning_rate=True,
        exponent=1.0,
        update_while_estimating=True,
        name="probabilistic_preconditioner",
    ):
        check_integer("est_rank", est_rank, 0)
        check_integer("num_observations", num_observations, 0)
        check_integer("prior_iterations", prior_iterations, 0)
        check_real("weight_decay", weight_decay, 0)
        check_real("exponent", exponent, 0, 1)
        check_real("learning_rate", learning_rate, 0, none=True, open_low=True)
        for key, value in (
            ("precondition", precondition),
            ("adapt_learning_rate", adapt_learning_rate),
            ("update_while_estimating", update_while_estimating),
        ):
            if not isinstance(value, (bool, np.bool_)):
                raise ValueError(f"{key} must be True or False, not {value!r}.")
        check_restart(restart, prior_iterations + num_observations)
        inner = checked_optimizer("inner", inner)
        _check_inner(inner, adapt_learning_rate)
        check_groups(parameter_groups)
        super().__init__(learning_rate=_rate_of(inner), name=name)
        self.inner = inner
        self.est_rank = est_rank
        self.num_observations = num_observations
        self.prior_iterations = prior_iterations
        self.first_learning_rate = learning_rate
        self.parameter_groups = parameter_groups
        self.restart = restart
        self.precondition = precondition
        self.adapt_learning_rate = adapt_learning_rate
        self.exponent = exponent
        self.update_while_estimating = update_while_estimating
        self.inner_weight_decay = weight_decay
        if weight_decay:
            inner.weight_decay = float(weight_decay)
        if learning_rate is not None and not callable(inner._learning_rate):
            inner.learning_rate = float(learning_rate)
        # As they were given, whatever the learning rate is set to later.
        self._first_rate = _rate_of(inner)
        self._given_inner = keras.optimizers.serialize(inner)
        self._reported = dict.fromkeys(_TROUBLES, 0)

    def get_config(self):
        """Return the parameters, as :meth:`from_config` takes them."""
        own = (
            "est_rank num_observations prior_iterations parameter_groups restart precondition "
            "adapt_learning_rate exponent update_while_estimating name"
        )
        config = {key: getattr(self, key) for key in own.split()}
        config["parameter_groups"] = (
            None if self.parameter_groups is None else list(self.parameter_groups)
        )
        config["learning_rate"] = self.first_learning_rate
        config["weight_decay"] = self.inner_weight_decay
        config["inner"] = self._given_inner
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Return an optimizer with the parameters of `get_config`."""
        config = with_optimizer(config, "inner", custom_objects)
        return cls(**config)

    # ---- state

    def build(self, variables):
        """Create the state for these variables."""
        if self.built:
            return
        dtype = checked_type("ProbabilisticPreconditioner", variables)
        groups = grouped(variables, self.parameter_groups)
        super().build(variables)
        # Variables in the order of their groups, so that each group is one piece of all vectors.
        self._ordered = [variable for group in groups for variable in group]
        self._layout = Layout(values(self._ordered))
        self._lengths = [len(group) for group in groups]
        self._sizes = [Layout(group).size for group in groups]
        self._inners = [self.inner]
        for _ in groups[1:]:
            with tf.init_scope():
                self._inners.append(keras.optimizers.deserialize(self._given_inner))
        for inner, group in zip(self._inners, groups, strict=True):
            inner.build(group)
        self._add_state(dtype)

    def _add_state(self, dtype):
        n, n_groups, m = self._layout.size, len(self._sizes), self.num_observations

        def add(name, shape=(), dtype="float64", initializer="zeros"):
            return self.add_variable(shape, dtype=dtype, name=name, initializer=initializer)

        def constant(value):
            return keras.initializers.Constant(value)

        self._phase = add("phase", dtype="int32")
        self._taken = add("products_of_this_phase", dtype="int32")
        self._since = add("steps_since_start", dtype="int32")
        self._started = add("estimates_started", dtype="int32")
        self._finished = add("estimates_finished", dtype="int32")
        self._requested = add("requested", dtype="bool", initializer="ones")
        self._rate = add("rate", (n_groups,), initializer=constant(self._first_rate))
        # Those of the prior, but for factors of the size.
        self._mean = add("mean", (n_groups,))
        self._scale = add("scale", (n_groups,))
        self._noise = add("noise", (n_groups,))
        self._level = add("level", (n_groups,))
        # A number, and the sum of squared lengths of steps in this estimate; the mean of the last.
        self._squares = add("squares_of_steps", (n_groups, 2))
        self._typical = add("typical_square", (n_groups,))
        self._shortened = add("shortened", dtype="int32")
        self._losses = Losses(add)
        self._most = add("most_of_the_last_rate", initializer=constant(np.inf))
        self._troubles = add("troubles", (len(_TROUBLES),), dtype="int32")
        self._worst = add("most_negative_curvature")
        if self.prior_iterations:
            self._sums = add("sums", (n_groups, len(inference.Sums._fields)))
            self._spread = add("spread", (n_groups,))
            if m:
                self._images = add(
                    "images_of_gradients", ((self.prior_iterations + 1) // 2, n), dtype
                )
            self._last_v = add("last_direction", (n,), dtype)
            self._last_y = add("last_product", (n,), dtype)
        if m:
            self._anchor = add("anchor", (n,), dtype)
            self._S = add("directions", (m, n), dtype)
            self._Y = add("products", (m, n), dtype)
            self._ritz = add("ritz_values", (n_groups, m), initializer=constant(-np.inf))
        if self._rank:
            # By variable, so that gradients need not be put together to be multiplied.
            self._U = [
                add(f"eigenvectors_{k}", (self._rank, size), dtype)
                for k, size in enumerate(self._layout.sizes)
            ]
            self._factors = add("factors", (n_groups, self._rank), initializer="ones")
        if self.restart == "auto" and self._rank:
            self._forecast = Forecast(add, values(self._ordered), n_groups * self._rank)

    @property
    def _rank(self):
        return min(self.est_rank, self.num_observations) if self.precondition else 0

    @property
    def _safety(self):
        return _SAFETY if self._rank else 1.0

    @property
    def variables(self):
        """All state, that of the inner optimizers included."""
        inners = self._inners if self.built else [self.inner]
        return super().variables + [v for inner in inners for v in inner.variables]

    def save_own_variables(self, store):
        """Put the state into `store`. The inner optimizers are saved by Keras, as attributes."""
        for i, variable in enumerate(super().variables):
            store[str(i)] = variable.numpy()

    def load_own_variables(self, store):
        """Take the state from `store`."""
        own = super().variables
        if len(store.keys()) != len(own):
            raise ValueError(
                f"The state of ProbabilisticPreconditioner has {len(own)} variables, and "
                f"{len(store.keys())} were saved: it was saved by one with other parameters, or "
                "not built before it was loaded."
            )
        for i, variable in enumerate(own):
            variable.assign(store[str(i)])

    @property
    def learning_rate(self):
        """That of the inner optimizer of the first group; learned ones replace one that is set."""
        return self.inner.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate):
        for inner in self._inners if self.built else [self.inner]:
            inner.learning_rate = learning_rate

    # ---- the two ways in

    def apply(self, grads, trainable_variables=None):
        """Take a step from gradients, in the graph they were made in."""
        if trainable_variables is None:
            trainable_variables = self._trainable_variables
        trainable_variables = list(trainable_variables)
        grads = list(grads)
        if all(gradient is None for gradient in grads):
            raise ValueError("No gradients provided for any variable.")
        if tf.executing_eagerly():
            raise RuntimeError(
                "ProbabilisticPreconditioner cannot differentiate gradients again outside of a "
                "graph. Leave run_eagerly=False, or call optimizer.minimize(loss, variables)."
            )
        check_precision()
        check_replicas()
        if not self.built:
            self.build(trainable_variables)
        self._check_variables_are_known(trainable_variables)
        found = {self._var_key(v): g for v, g in zip(trainable_variables, grads, strict=True)}
        grads = [found.get(self._var_key(variable)) for variable in self._ordered]
        metric = metric_of(self)
        if metric is None and self.restart == "epoch":
            warn(
                "ProbabilisticPreconditioner: restart='epoch' sees epochs of model.fit only. Call "
                "start_estimate() when an epoch begins, or restart after a number of steps."
            )
        self._request_in_time(self._losses.take(metric))
        self._advance(GradientObjective(grads, self._ordered), [g is not None for g in grads])

    def minimize(self, loss, variables):
        """Take one step on a plain function of variables. It has no epochs to restart with.

        Parameters
        ----------
        loss : callable
            Without arguments; returns the loss, a scalar tensor, twice differentiable in
            `variables`.
        variables : list of keras.Variable or tf.Variable

        Returns
        -------
        loss : tensor of shape ()
            Before the step.
        """
        check_function(loss, variables)
        if not self.built:
            self.build(list(variables))
        self._check_variables_are_known(variables)
        if len(variables) != len(self._trainable_variables):
            raise ValueError(
                f"variables are {len(variables)} of the {len(self._trainable_variables)} that the "
                "optimizer was built with; it needs all of them in each step."
            )
        objective = FunctionObjective(loss, self._ordered)
        self._losses.add(objective.loss)
        self._request_in_time(tf.constant(False))
        self._advance(objective, [True] * len(self._ordered))
        if tf.executing_eagerly():
            self._report()
        return objective.loss

    def start_estimate(self):
        """Begin a new estimate with the next step, or when the present one is finished."""
        if self.built:
            self._requested.assign(True)

    def maybe_start_estimate(self):
        """Begin a new estimate if the present one no longer foretells gradients.

        Errors of prediction in the last 10 steps are compared with those in the 10 steps after the
        estimate was finished. The sums of squares of both have chi-square distributions of the
        same variance, if nothing has changed; then their ratio has an F distribution, and is
        above its quantile of 99.9 % in one comparison out of 1,000. Called before each step with
        ``restart="auto"``.

        Raises
        ------
        ValueError
            With any other `restart`: errors are not recorded then.
        """
        if self.restart != "auto":
            raise ValueError(
                f"maybe_start_estimate needs restart='auto', and restart is {self.restart!r}."
            )
        if not self.built or not self._rank:
            return
        there = tf.math.is_finite(self._ritz.value[:, : self._rank])
        failed = self._forecast.has_failed(tf.reduce_sum(tf.cast(there, tf.int32)))
        self._requested.assign(self._requested.value | failed)

    def finalize_variable_values(self, var_list):
        """Finish training: Keras calls it at the end of ``fit``."""
        for inner in self._inners:
            inner.finalize_variable_values(inner._trainable_variables)
        self._report()

    def get_log(self):
        r"""Return what has been learned.

        Returns
        -------
        log : dict
            ``phase``: "idle", "prior" or "observing"; ``step``; ``estimates``, finished ones.
            Arrays, one number per group: ``learning_rate`` of the inner optimizers;
            ``curvature``, :math:`b_0`; ``level``, the curvature :math:`\rho` that is left;
            ``noise``, the standard deviation of the length of a product with a unit vector.
            ``spectrum``: for each group an array, the eigenvalues of the last estimate on the
            directions observed, largest first. And counts: ``negative_curvature``, priors that
            saw it; ``clipped``, eigenvalues to be taken down that were not positive;
            ``carried_over``, epochs that ended before an estimate was finished;
            ``not_finite``, steps left out; ``shortened``, steps that were too long.
        """
        if not self.built:
            return {"phase": PHASES[_IDLE], "step": 0, "estimates": 0}
        ritz = self._ritz.numpy() if self.num_observations else np.empty((len(self._sizes), 0))
        rates = [keras.ops.convert_to_numpy(inner.learning_rate) for inner in self._inners]
        return {
            "phase": PHASES[int(self._phase.numpy())],
            "step": int(self._iterations.numpy()),
            "estimates": int(self._finished.numpy()),
            "learning_rate": np.array(rates, dtype=float),
            "curvature": self._mean.numpy(),
            "level": self._level.numpy(),
            "noise": self._noise.numpy(),
            "spectrum": [row[np.isfinite(row)] for row in ritz],
            "shortened": int(self._shortened.numpy()),
            **dict(zip(_TROUBLES, map(int, self._troubles.numpy()), strict=True)),
        }

    # ---- a step

    def _advance(self, objective, has_gradient):
        """Learn from the batch, then let the inner optimizers update the weights."""
        gradients = objective.gradients
        if self.restart == "auto" and self._rank:
            U = self._by_group([u.value for u in self._U])
            is_known = (self._phase.value == _IDLE) & (self._finished.value > 0)
            self._forecast.watch(gradients, U, self._ritz.value[:, : self._rank], is_known)
            self.maybe_start_estimate()
        # What a step without a product costs is passes over gradients: one for all that follows.
        squares = self._squared_lengths(gradients)
        finite = tf.math.is_finite(tf.reduce_sum(squares))
        self._begin(objective, finite & tf.reduce_any(squares > 0))
        usable = self._take_product(objective, finite)
        self._trouble("not_finite", ~finite | ~usable)
        tf.cond(finite, lambda: self._update(gradients, squares, has_gradient), lambda: None)
        self._since.assign_add(1)
        self._iterations.assign_add(1)

    def _squared_lengths(self, gradients):
        """Return those of the gradients of the groups."""
        return tf.stack(
            [
                2 * tf.add_n([tf.cast(tf.nn.l2_loss(g), tf.float64) for g in group])
                for group in self._by_group(gradients)
            ]
        )

    def _begin(self, objective, able):
        """Begin a new estimate where one was asked for and none is being made."""

        def begin():
            self._most.assign(self._losses.judge(_RISE, _FALL, np.inf))
            self._requested.assign(False)
            self._since.assign(0)
            self._started.assign_add(1)
            self._taken.assign(0)
            if self.num_observations:
                self._anchor.assign(self._layout.pack(objective.gradients))
                self._S.assign(tf.zeros_like(self._S))
                self._Y.assign(tf.zeros_like(self._Y))
            if self.prior_iterations:
                self._sums.assign(tf.zeros_like(self._sums))
                self._spread.assign(tf.zeros_like(self._spread))
                if self.num_observations:
                    self._images.assign(tf.zeros_like(self._images))
                self._phase.assign(_PRIOR)
            elif self.num_observations:
                curvature = 1 / self._rate.value
                self._set_prior(curvature, curvature, tf.zeros_like(curvature))
                self._phase.assign(_OBSERVING)

        # Nothing can be learned from a gradient that is zero.
        start = self._requested.value & (self._phase.value == _IDLE) & able
        tf.cond(start, begin, lambda: None)

    def _direction(self, objective, able):
        """Return the vector whose product is wanted, and whether one is; else the vector is empty.

        Nothing here is computed outside of the branches: most steps take none of them.
        """
        steps = {}
        if self.prior_iterations:
            steps[_PRIOR] = lambda: self._prior_direction(objective)
        if self.num_observations:
            steps[_OBSERVING] = lambda: self._new_direction(objective)

        def nothing():
            # XLA wants one shape from all branches.
            size = self._layout.size if in_xla() else 0
            return tf.zeros(size, self._ordered[0].dtype), tf.constant(False)

        phase = tf.where(able, self._phase.value, _IDLE)
        return tf.switch_case(phase, [steps.get(k, nothing) for k in range(len(PHASES))])

    def _prior_direction(self, objective):
        # Every other product is one with the last direction again: their difference is noise.
        v = tf.cond(
            self._is_second(),
            lambda: tf.identity(self._last_v.value),
            lambda: self._layout.pack(objective.gradients),
        )
        return v, tf.constant(True)

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

    def _take_product(self, objective, able):
        """Learn from a product where one is wanted; return whether it is finite."""
        if not self.prior_iterations + self.num_observations:
            return tf.constant(True)
        v, needed = self._direction(objective, able)
        y = objective.product_where(needed, v)
        return tf.cond(needed, lambda: self._learn(v, y), lambda: tf.constant(True))

    def _learn(self, v, y):
        """Take up the product y of the Hessian with v; return whether it is finite."""
        size = self._layout.size
        v, y = tf.ensure_shape(v, [size]), tf.ensure_shape(y, [size])
        usable = tf.math.is_finite(tf.nn.l2_loss(y))

        def learn():
            if not self.num_observations:
                self._add_to_prior(v, y)
            elif not self.prior_iterations:
                self._observe(v, y)
            else:
                is_prior = self._phase.value == _PRIOR
                tf.cond(is_prior, lambda: self._add_to_prior(v, y), lambda: self._observe(v, y))

        tf.cond(usable, learn, lambda: None)
        return usable

    def _add_to_prior(self, v, y):
        sums, apart = [], []
        of_group = zip(
            tf.unstack(self._sums.value),
            *map(self._blocks, (v, y, self._last_y)),
            strict=True,
        )
        for row, v_part, y_part, last in of_group:
            sums.append(inference.accumulate(inference.Sums(*tf.unstack(row)), v_part, y_part))
            apart.append(inference.spread(v, y_part, last))
        self._sums.assign(tf.stack([tf.stack(row) for row in sums]))
        spread = tf.where(self._is_second(), tf.stack(apart), tf.zeros_like(self._spread))
        self._spread.assign_add(spread)
        if self.num_observations:
            image = tf.where(self._is_second(), (y + self._last_y.value) / np.sqrt(2), y)
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
        mean, curvature = tf.where(mean > 0, mean, self._safety / self._rate.value), mean
        if self.adapt_learning_rate:
            # At first there is no estimate yet, and what is known so far has to do.
            rate = self._rate.value
            early = (self._finished.value == 0) & (curvature > 0)
            self._rate.assign(tf.where(early, 1 / mean, rate))

        def complete():
            worst = tf.reduce_min(tf.where(curvature < 0, -scale, tf.zeros_like(scale)))
            self._trouble("negative_curvature", worst < 0)
            self._worst.assign(tf.minimum(self._worst.value, worst))
            self._set_prior(mean, scale, noise)
            self._taken.assign(0)
            if self.num_observations:
                self._phase.assign(_OBSERVING)
            else:
                self._finish()

        tf.cond(self._taken.value >= self.prior_iterations, complete, lambda: None)

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
            if self.precondition:
                level = tf.stack(
                    [
                        self._level_of(values, error, mean)
                        for (values, _, error), mean in zip(pairs, tf.unstack(level), strict=True)
                    ]
                )
        if self._rank:
            made = [
                inference.preconditioner(values, vectors, at, self._rank, self.exponent)
                for (values, vectors, _), at in zip(pairs, tf.unstack(level), strict=True)
            ]
            vectors = tf.split(tf.concat([P.U for P in made], axis=1), self._layout.sizes, axis=1)
            for u, new in zip(self._U, vectors, strict=True):
                u.assign(new)
            factors = tf.stack([P.factors for P in made])
            self._factors.assign(factors)
            kept = self._ritz.value[:, : self._rank]
            clipped = tf.math.is_finite(kept) & (kept <= 0)
            self._trouble("clipped", tf.reduce_sum(tf.cast(clipped, tf.int32)))
            level = tf.maximum(level, tf.reduce_max(kept * factors, axis=1))
            if self.prior_iterations:
                level = tf.maximum(level, self._along_gradients(made))
        if self.adapt_learning_rate:
            self._rate.assign(self._next_rate(level))
        self._level.assign(level)
        if self.restart == "auto" and self._rank:
            self._forecast.reset()
        self._phase.assign(_IDLE)
        self._typical.assign(mean_of(self._squares))
        self._squares.assign(tf.zeros_like(self._squares))
        self._finished.assign_add(1)

    def _level_of(self, ritz, error, mean):
        """Return the largest curvature of a group that is not taken down, if it is above noise."""
        level = mean
        if self._rank < self.num_observations:
            level = tf.where(ritz[self._rank] > 0, ritz[self._rank], mean)
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

    def _next_rate(self, level):
        """Return the learning rate that goes with a level, if the last estimate agrees."""
        is_first = self._finished.value == 0
        # Single estimates are noisy, and too large a rate costs more than too small a one.
        # Nothing is known of losses yet at the first, so with noise it is only half believed.
        prior = tf.where(self._noise.value > 0, self._mean.value, tf.zeros_like(level))
        last = tf.where(is_first, prior, self._level.value)
        rate = self._safety / tf.maximum(level, last)
        # A smaller rate lets the curvature of networks grow until it is too large, again.
        kept = tf.clip_by_value(self._rate.value, rate, _KEPT * rate)
        return tf.where(is_first, rate, tf.minimum(kept, self._most.value * self._rate.value))

    def _update(self, gradients, squares, has_gradient):
        """Hand the rescaled gradients to the inner optimizers."""
        parts = self._by_group(gradients)
        if self._rank:
            rescaled = [
                inference.precondition([u.value for u in U], factors, group)
                for U, factors, group in zip(
                    self._by_group(self._U), tf.unstack(self._factors.value), parts, strict=True
                )
            ]
            parts = [group for group, _ in rescaled]
            squares += tf.stack([change for _, change in rescaled])
        shortening = self._shortening(squares)
        if self.adapt_learning_rate:
            parts = tf.cond(
                tf.reduce_any(shortening < 1), lambda: _scaled(parts, shortening), lambda: parts
            )
        rates = tf.convert_to_tensor(self._rate)
        if self.first_learning_rate is not None:
            rates = tf.where(
                self._started.value <= 1, tf.cast(self.first_learning_rate, rates.dtype), rates
            )

        def move():
            known = self._by_group(has_gradient)
            for inner, rate, group, there in zip(
                self._inners, tf.unstack(rates), parts, known, strict=True
            ):
                self._apply(inner, rate, zip(group, there, strict=True))

        if self.update_while_estimating:
            move()
        else:
            tf.cond(self._phase.value == _IDLE, move, lambda: None)

    def _apply(self, inner, rate, pieces):
        gradients = [part if known else None for part, known in pieces]
        if all(gradient is None for gradient in gradients):
            return  # or Keras would raise an error; of some that are None it warns
        if self.adapt_learning_rate and _is_linear(inner):
            # With momentum, a gradient is added up to 1 / (1 - momentum) times itself.
            rate *= 1 - getattr(inner, "momentum", 0.0)
            inner.learning_rate.assign(tf.cast(rate, inner.learning_rate.dtype))
        inner.apply(gradients, inner._trainable_variables)

    def _shortening(self, squares):
        """Return factors, at most 1, for the steps of the groups, of squared lengths g'P g.

        The curvature was seen from steps as long as those of the estimate, and a gradient that is
        much longer says that the loss is another one there: that it is no longer true, or that
        the learning rate is too large.
        """
        measuring = tf.cast(self._phase.value != _IDLE, tf.float64)
        self._squares.assign_add(measuring * tf.stack([tf.ones_like(squares), squares], axis=1))
        typical = tf.where(self._finished.value > 0, self._typical.value, mean_of(self._squares))
        limit = _LONGEST**2 * typical
        is_long = (limit > 0) & (squares > limit)
        self._shortened.assign_add(tf.cast(tf.reduce_any(is_long), tf.int32))
        ratio = tf.math.divide_no_nan(limit, squares)
        return tf.where(is_long, tf.sqrt(ratio), tf.ones_like(ratio))

    def _blocks(self, x):
        """Return the pieces of the groups of a vector, or of vectors as rows."""
        x = tf.convert_to_tensor(x)
        return [x] if len(self._sizes) == 1 else tf.split(x, self._sizes, axis=-1)

    def _by_group(self, items):
        """Return lists of what there is one of for each variable, one for each group."""
        stops = np.cumsum(self._lengths)
        return [items[stop - n : stop] for n, stop in zip(self._lengths, stops, strict=True)]

    # ---- when to begin again

    def _request_in_time(self, is_new_epoch):
        """Ask for a new estimate where an epoch or a number of steps is over."""
        if self.restart == "epoch":
            busy = self._phase.value != _IDLE
            self._trouble("carried_over", is_new_epoch & busy)
            self._requested.assign(self._requested.value | (is_new_epoch & ~busy))
        elif self.restart not in (None, "auto"):
            due = (self._since.value >= self.restart) & (self._started.value > 0)
            self._requested.assign(self._requested.value | due)

    # ---- trouble

    def _trouble(self, trouble, happened):
        """Count it, once (bool) or so many times."""
        where = tf.one_hot(list(_TROUBLES).index(trouble), len(_TROUBLES), dtype=tf.int32)
        self._troubles.assign_add(where * tf.cast(happened, tf.int32))

    def _report(self):
        """Warn of the trouble since the last report."""
        counts = dict(zip(_TROUBLES, map(int, self._troubles.numpy()), strict=True))
        for trouble, text in _TROUBLES.items():
            new = counts[trouble] - self._reported[trouble]
            if new > 0:
                length = self.prior_iterations + self.num_observations
                text = text.format(new=new, worst=float(self._worst.numpy()), length=length)
                warn(f"ProbabilisticPreconditioner: {text}")
        self._reported = counts


def _write(rows, row, vector):
    """Replace a row; XLA knows no slices that are variable."""
    rows.assign(tf.tensor_scatter_nd_update(rows.value, [[row]], vector[tf.newaxis]))


def _scaled(parts, factors):
    factors = tf.unstack(tf.cast(factors, parts[0][0].dtype))
    return [[factor * g for g in group] for factor, group in zip(factors, parts, strict=True)]


def _check_inner(inner, adapt_learning_rate):
    if isinstance(inner, (NewtonCG, ProbabilisticPreconditioner)) or hasattr(
        inner, "inner_optimizer"
    ):
        raise ValueError(
            f"inner must be a first-order optimizer, which wraps no other, not {inner!r}."
        )
    if inner.gradient_accumulation_steps:
        raise ValueError(
            "inner must not accumulate gradients (gradient_accumulation_steps): a product belongs "
            "to one batch. Take larger batches."
        )
    if adapt_learning_rate and callable(inner._learning_rate) and _is_linear(inner):
        raise ValueError(
            "inner has a schedule of learning rates, which cannot be adapted: give it a number, or "
            "set adapt_learning_rate=False."
        )


def _is_linear(optimizer):
    """Return whether steps are proportional to gradients: a rate is one over a curvature then."""
    own = (keras.optimizers.Adam, keras.optimizers.RMSprop, keras.optimizers.Adagrad)
    own += (keras.optimizers.Adadelta, keras.optimizers.Ftrl, keras.optimizers.Lion)
    own += (keras.optimizers.Nadam, keras.optimizers.Adafactor, keras.optimizers.Adamax)
    return not isinstance(optimizer, own)


def _rate_of(optimizer):
    return float(keras.ops.convert_to_numpy(optimizer.learning_rate))

"""The probabilistic preconditioner: an optimizer for Keras that wraps another."""

import numpy as np

from ..._utils.validation import check_integer, check_real
from ..._utils.warnings import warn
from .._curvature.layout import Layout, values
from .._curvature.objectives import FunctionObjective, GradientObjective
from .._keras import (
    check_function,
    check_precision,
    check_replicas,
    checked_optimizer,
    checked_type,
    keras,
    tf,
    with_optimizer,
)
from .._newton.newton_cg import NewtonCG
from .diagnostics import TROUBLES, Troubles
from .hessian_estimate import PHASES, Estimate
from .inner_optimizer import check_inner, is_linear, rate_of
from .learning_rates import LearningRates
from .restart import Forecast, Losses, check_restart, metric_of
from .variable_groups import VariableGroups, check_groups


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
        The optimizer that is given the rescaled gradients. A copy is trained, made from its
        configuration.
    est_rank : int, default=2
        Eigenvalues of each group that are taken down, at most `num_observations`.
    num_observations : int, default=5
        Products for the posterior. Less are taken where the variance of the posterior says that
        another product would tell nothing. With 0, the learning rate alone is learned
        ("OnlyAdaptiveSGD" in [2]_).
    prior_iterations : int, default=10
        Products with the gradient for the prior. With 0, :math:`b_0` is the curvature that goes
        with the learning rate. With less than 2, noise is not known, and taken for none: then
        batches must agree.
    weight_decay : float, default=0
        Given to the inner optimizer: each step takes this part of the weights, times the learning
        rate. Where it is 0, that of the inner optimizer stays.
    learning_rate : float, default=None
        The learning rate until the second estimate begins: in the first epoch. (Where nothing ends
        that, with ``restart=None`` or "auto" and in loops other than ``fit``, until the first
        estimate is finished; always where none is learned.) None for one from curvature from the
        first step on.
    parameter_groups : "per_variable" or list of str, default=None
        Groups of variables with a model and a learning rate of their own: each variable, or those
        whose path contains the first of these regular expressions, and so on; those without a match
        are the last group. None for one group.
    restart : {"epoch", "auto"}, int or None, default="epoch"
        When a new estimate begins: with each epoch of ``fit`` (other loops have none, so give a
        number there); after that many steps; where the
        present one no longer foretells gradients, by a test of the errors of prediction in
        two windows of 10 steps (false alarms: 0.1 %); or never. An estimate that is not
        finished when an epoch ends is carried over into the next.
    precondition : bool, default=True
        Whether gradients are multiplied by P. If not, the learning rate is :math:`1/b_0`, with the
        larger :math:`b_0` of the last two estimates ("AdaptiveSGD" in [2]_).
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
        (with what is known so far in the first one).
    name : str, default="probabilistic_preconditioner"

    Notes
    -----
    There is one Gaussian model for each group of variables, by default one for all of them. In each
    step that takes a product, it is that of the whole Hessian with directions in all groups, of
    which each group sees its own part: so curvature that groups share counts. (The original has a
    model for each tensor. On digits, one for all of them ends with a lower training loss, in two
    thirds of the time.)

    The learning rate is 1.5 (1 with ``est_rank=0``) over the larger of :math:`\rho` and the
    curvature :math:`y^T P y / v^T y` of the gradients v of the prior, :math:`y = H v`, which is the
    :math:`b_0` of the preconditioned problem and takes no further products. Of the last two
    estimates the larger counts (in the first, where there is noise, :math:`b_0`), and a learning
    rate stays where it is as long as that is between this and 2.5 times this: with a smaller one,
    the curvature of networks grows until it is 2 over that rate [3]_. Four limits make up for
    what a curvature cannot tell, which is true near one point, and of one batch:

    - where batches differ, the first estimate is made with a twentieth of the learning rate. The
      first one learned is that part of it, too, if gradients are all noise, and all of it if a
      fifth of their squared length, besides what may be chance, is that of their mean. At the
      start of some networks all gradients vanish, and curvature does, too: what that allows would
      ruin the weights. (It is no less than a given `learning_rate`, unless curvature allows less.)
    - it rises threefold at most from one estimate to the next, and so from a given `learning_rate`
      to the first learned one. Where the mean loss since the last estimate is not below that before
      it, it is at most half the last, and from then on rises by a fifth at most: so it comes down
      to what noise allows. (On the way up to those of curvature, only where the loss is higher by
      two standard errors: small steps change little.)
    - where rates are learned, a step is at most twice as long as those of the last estimate, in
      the norm of P;
    - SGD with momentum has (1 - momentum) times the learning rate, as every gradient is added up
      to 1 / (1 - momentum) times itself.

    Losses are those of ``fit`` or of :meth:`minimize`; in other loops they count as falling. And
    what goes wrong is warned of at the end of ``fit``, by :meth:`minimize` outside of a
    ``tf.function``, and in other loops by :meth:`get_log`.

    A learning rate that is set, as callbacks of Keras do, is used until the next estimate is
    finished, and is then the last one for all of this.

    Take at least twice as many observations as `est_rank`: the smallest of the eigenvalues found
    are those most in error.

    Memory: ``prior_iterations / 2 + 2 * num_observations + est_rank + 4`` vectors as long as all
    weights, two more with ``restart="auto"``, and those of the inner optimizer.

    The expected difference of Hessian and prior mean is :math:`w = |a/c| / \sqrt{n}` in each entry,
    for a variable of size n, where [1]_ has :math:`|a/c|`: the latter expects a difference of
    :math:`\sqrt{n}` times the curvature in each product, and takes noise for signal.

    References
    ----------
    .. [1] F. de Roos, P. Hennig, "Active probabilistic inference on matrices for pre-conditioning
       in stochastic optimization", AISTATS 2019.
    .. [2] L. Bald, "Investigating probabilistic preconditioning on artificial neural networks",
       Bachelor thesis, University of Tübingen, 2019.
    .. [3] J. Cohen, S. Kaur, Y. Li, J. Z. Kolter, A. Talwalkar, "Gradient descent on neural
       networks typically occurs at the edge of stability", ICLR 2021.

    Examples
    --------
    >>> import keras
    >>> from skhmat.neural_network import ProbabilisticPreconditioner
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
        check_real("learning_rate", learning_rate, 0, closed="neither", none=True)
        for key, value in (
            ("precondition", precondition),
            ("adapt_learning_rate", adapt_learning_rate),
            ("update_while_estimating", update_while_estimating),
        ):
            if not isinstance(value, (bool, np.bool_)):
                raise ValueError(f"{key} must be True or False, not {value!r}.")
        check_restart(restart, prior_iterations + num_observations)
        if restart == "auto" and not (precondition and est_rank and num_observations):
            raise ValueError(
                "restart='auto' looks at what a preconditioner foretells, so it needs "
                "precondition=True, and est_rank and num_observations above 0."
            )
        inner = checked_optimizer("inner", inner)
        if isinstance(inner, (NewtonCG, ProbabilisticPreconditioner)) or hasattr(
            inner, "inner_optimizer"
        ):
            raise ValueError(
                f"inner must be a first-order optimizer, which wraps no other, not {inner!r}."
            )
        check_inner(inner, learning_rate, adapt_learning_rate)
        check_groups(parameter_groups)
        super().__init__(learning_rate=rate_of(inner), name=name)
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
        self._exclude = lambda inner: None
        # One for each group, once there are variables.
        self._inners = [inner]
        # As it was given, whatever the learning rate is set to later.
        self._given_inner = keras.optimizers.serialize(inner)
        self._configure(inner)
        self._first_rate = rate_of(inner)
        self._n_unbuilt = len(super().variables)

    def get_config(self):
        """Return the parameters, as :meth:`from_config` takes them."""
        own = (
            "est_rank num_observations prior_iterations parameter_groups restart precondition "
            "adapt_learning_rate exponent update_while_estimating name"
        )
        config = {key: getattr(self, key) for key in own.split()}
        groups = self.parameter_groups
        config["parameter_groups"] = list(groups) if isinstance(groups, (list, tuple)) else groups
        config["learning_rate"] = self.first_learning_rate
        config["weight_decay"] = self.inner_weight_decay
        config["inner"] = self._given_inner
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Return an optimizer with the parameters of `get_config`."""
        config = with_optimizer(config, "inner", custom_objects)
        return cls(**config)

    def _configure(self, inner):
        if self.inner_weight_decay:
            inner.weight_decay = float(self.inner_weight_decay)
        if self.first_learning_rate is not None:
            inner.learning_rate = float(self.first_learning_rate)

    def exclude_from_weight_decay(self, var_list=None, var_names=None):
        """Leave variables out of the weight decay of the inner optimizer.

        Call it before the first step, and again where a saved model was loaded: as with all
        optimizers of Keras, this is not part of what is saved.

        Parameters
        ----------
        var_list : list of keras.Variable, default=None
        var_names : list of str, default=None
            Regular expressions for names.
        """
        # In a function: Keras would take variables in a list for state of the optimizer.
        self._exclude = lambda inner: inner.exclude_from_weight_decay(var_list, var_names)
        for inner in self._inners:
            self._exclude(inner)

    # ---- state

    def build(self, variables):
        """Create the state for these variables."""
        if self.built or not variables:
            return
        dtype = checked_type("ProbabilisticPreconditioner", variables)
        groups = VariableGroups(variables, self.parameter_groups)
        super().build(variables)
        # In an object: Keras would take variables in a list for state of the optimizer.
        self._groups = groups
        self._layout = Layout(values(groups.ordered))
        for _ in range(1, len(groups)):
            with tf.init_scope():
                # By its type, which may not be registered.
                inner = type(self.inner).from_config(dict(self._given_inner["config"]))
                self._configure(inner)
                self._exclude(inner)
                self._inners.append(inner)
        for inner, group in zip(self._inners, groups.split(groups.ordered), strict=True):
            inner.build(group)
        self._add_state(dtype)

    def _add_state(self, dtype):
        def add(name, shape=(), dtype="float64", initializer="zeros"):
            return self.add_variable(shape, dtype=dtype, name=name, initializer=initializer)

        self._requested = add("requested", dtype="bool", initializer="ones")
        self._since = add("steps_since_start", dtype="int32")
        self._troubles = Troubles(add)
        self._losses = Losses(add)
        groups, n_groups, rank = self._groups, len(self._groups), self._rank
        self._rates = LearningRates(
            add,
            n_groups,
            self._first_rate / self._left,
            is_given=self.first_learning_rate is not None,
            is_preconditioned=rank > 0,
            adapts=self.adapt_learning_rate,
        )
        self._estimate = Estimate(
            add,
            self._layout,
            [Layout(group).size for group in groups.split(groups.ordered)],
            dtype,
            self._rates,
            self._troubles.count,
            self._carry_over,
            prior_iterations=self.prior_iterations,
            num_observations=self.num_observations,
            rank=rank,
            precondition=self.precondition,
            exponent=self.exponent,
        )
        self._forecast = None
        if self.restart == "auto" and rank:
            self._forecast = Forecast(add, values(groups.ordered), n_groups * rank)

    @property
    def _left(self):
        """What momentum leaves of a learning rate: it adds a gradient up to 1 / that many times."""
        return 1 - self.inner.momentum if isinstance(self.inner, keras.optimizers.SGD) else 1.0

    @property
    def _learns_rates(self):
        return self.adapt_learning_rate and is_linear(self.inner)

    @property
    def _rank(self):
        return min(self.est_rank, self.num_observations) if self.precondition else 0

    @property
    def variables(self):
        """All state, that of the inner optimizers included."""
        return super().variables + [v for inner in self._inners for v in inner.variables]

    def save_own_variables(self, store):
        """Put the state into `store`. The inner optimizers are saved by Keras, as attributes."""
        for i, variable in enumerate(super().variables):
            store[str(i)] = variable.numpy()

    def load_own_variables(self, store):
        """Take the state from `store`."""
        own = super().variables
        if len(store.keys()) == self._n_unbuilt:
            return  # it was saved before it was used, so there is nothing to take
        if not self.built:
            warn(
                "ProbabilisticPreconditioner: the saved state was not loaded, since the optimizer "
                "is not built: call optimizer.build(model.trainable_variables) before."
            )
            return
        if len(store.keys()) != len(own):
            raise ValueError(
                f"The state of ProbabilisticPreconditioner has {len(own)} variables, and "
                f"{len(store.keys())} were saved: it was saved by one with other parameters."
            )
        for i, variable in enumerate(own):
            variable.assign(store[str(i)])
        self._troubles.leave_out_the_past()

    @property
    def learning_rate(self):
        """That of the inner optimizer of the first group.

        One that is set is used until the next estimate is finished, where rates are learned.
        """
        return self.inner.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate):
        if self._learns_rates and callable(learning_rate):
            raise ValueError(
                "learning_rate cannot be a schedule where it is learned: set "
                "adapt_learning_rate=False."
            )
        for inner in self._inners:
            inner.learning_rate = learning_rate
        if callable(learning_rate):
            return
        if self.built:
            self._rates.set(learning_rate / self._left)
        else:
            self._first_rate = rate_of(self.inner)

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
        ordered = self._groups.ordered
        grads = [found.get(self._var_key(variable)) for variable in ordered]
        metric = metric_of(self)
        if metric is None and self.restart == "epoch":
            warn(
                "ProbabilisticPreconditioner: restart='epoch' sees epochs of model.fit only. Call "
                "start_estimate() when an epoch begins, or restart after a number of steps."
            )
        is_new_epoch, is_seen = self._losses.take(metric)
        if metric is not None and self.restart == "epoch":
            self._troubles.count("unseen", ~is_seen)
        self._request_in_time(is_new_epoch)
        known = [g is not None for g in grads]
        self._advance(GradientObjective(grads, ordered), known, self._has_epochs(metric))

    def minimize(self, loss, variables):
        """Take one step on a plain function of variables.

        There are no epochs: with ``restart="epoch"`` one estimate is made, and others where
        :meth:`start_estimate` is called.

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
        objective = FunctionObjective(loss, self._groups.ordered)
        self._losses.add(objective.loss)
        self._request_in_time(tf.constant(False))
        self._advance(objective, [True] * len(variables), self._has_epochs(None))
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
        if self.built and self._forecast is not None:
            failed = self._forecast.has_failed(self._estimate.kept)
            self._requested.assign(self._requested.value | failed)

    def finalize_variable_values(self, var_list):
        """Finish training: Keras calls it at the end of ``fit``."""
        if not self.built:
            return
        for inner in self._inners:
            inner.finalize_variable_values(inner._trainable_variables)
        self._losses.end_of_training()
        self._report()

    def get_log(self):
        r"""Return what has been learned, and warn of the trouble since the last warning.

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
            ``carried_over``, epochs that ended before an estimate was finished; ``unseen``, steps
            in which epochs could not be seen; ``not_finite``, steps left out; ``shortened``, steps
            that were too long.
        """
        if not self.built:
            nothing = dict.fromkeys(("curvature", "level", "noise"), np.empty(0))
            learned = {"phase": PHASES[0], "estimates": 0, **nothing, "spectrum": []}
            counts = dict.fromkeys(("shortened", *TROUBLES), 0)
            return {
                "step": 0,
                "learning_rate": np.array([rate_of(self.inner)]),
                **learned,
                **counts,
            }
        self._report()
        rates = [keras.ops.convert_to_numpy(inner.learning_rate) for inner in self._inners]
        return {
            "step": int(self._iterations.numpy()),
            "learning_rate": np.array(rates, dtype=float),
            **self._estimate.log(),
            "shortened": int(self._rates.shortened.numpy()),
            **self._troubles.counts(),
        }

    # ---- a step

    def _advance(self, objective, has_gradient, has_epochs):
        """Learn from the batch, then let the inner optimizers update the weights."""
        gradients = objective.gradients
        estimate = self._estimate
        if self._forecast is not None:
            U = self._groups.split([u.value for u in estimate.U])
            self._forecast.watch(gradients, U, estimate)
            self.maybe_start_estimate()
        # What a step without a product costs is passes over gradients: one for all that follows.
        squares = self._squared_lengths(gradients)
        finite = tf.math.is_finite(tf.reduce_sum(squares))
        # Nothing can be learned from a gradient that is zero.
        able = finite & tf.reduce_any(squares > 0)
        begins = self._requested.value & estimate.is_idle & able
        tf.cond(begins, lambda: self._begin(gradients, squares), lambda: None)
        usable = estimate.advance(objective, squares, able)
        self._troubles.count("not_finite", ~finite | ~usable)
        if self._learns_rates and self.first_learning_rate is None:
            # Where curvature is beyond all numbers, the rate that nobody gave would be, too.
            finite &= usable | (estimate.finished.value > 0)
        tf.cond(
            finite,
            lambda: self._update(gradients, squares, has_gradient, has_epochs),
            lambda: None,
        )
        self._since.assign_add(1)
        self._iterations.assign_add(1)

    def _squared_lengths(self, gradients):
        """Return those of the gradients of the groups."""
        return tf.stack(
            [
                2 * tf.add_n([tf.cast(tf.nn.l2_loss(g), tf.float64) for g in group])
                for group in self._groups.split(gradients)
            ]
        )

    def _begin(self, gradients, squares):
        self._rates.limit(self._losses)
        self._requested.assign(False)
        self._since.assign(0)
        self._estimate.begin(gradients, squares)

    def _update(self, gradients, squares, has_gradient, has_epochs):
        """Hand the rescaled gradients to the inner optimizers."""
        parts = self._groups.split(gradients)
        if self._rank:
            parts, changes = self._estimate.preconditioned(parts)
            squares += changes
        is_known = self._estimate.finished.value > 0
        if self.adapt_learning_rate:
            shortening = self._rates.shortening(squares, ~self._estimate.is_idle, is_known)
            parts = tf.cond(
                tf.reduce_any(shortening < 1), lambda: _scaled(parts, shortening), lambda: parts
            )
        rates = self._rates.value
        if self.first_learning_rate is not None:
            # In the first epoch; where nothing ends that, until the first estimate is finished.
            is_first = self._estimate.started.value <= 1 if has_epochs else ~is_known
            given = tf.cast(self.first_learning_rate / self._left, rates.dtype)
            rates = tf.where(is_first, given, rates)

        def move():
            known = self._groups.split(has_gradient)
            for inner, rate, group, there in zip(
                self._inners, tf.unstack(rates), parts, known, strict=True
            ):
                self._apply(inner, rate, zip(group, there, strict=True))

        if self.update_while_estimating:
            move()
        else:
            tf.cond(self._estimate.is_idle, move, lambda: None)

    def _apply(self, inner, rate, pieces):
        gradients = [part if known else None for part, known in pieces]
        if all(gradient is None for gradient in gradients):
            return  # or Keras would raise an error; of some that are None it warns
        if self._learns_rates:
            rate = tf.cast(self._left * rate, inner.learning_rate.dtype)
            inner.learning_rate.assign(rate)
        inner.apply(gradients, inner._trainable_variables)

    def _carry_over(self, undo):
        """Take momentum, which is a sum of rescaled gradients, from the last P to the new one.

        Else what had built up against a large eigenvalue would go on where nothing holds it any
        more.
        """
        if not (isinstance(self.inner, keras.optimizers.SGD) and self.inner.momentum):
            return
        momentums = [[m.value for m in inner.momentums] for inner in self._inners]
        carried, _ = self._estimate.preconditioned(undo(momentums))
        for inner, group in zip(self._inners, carried, strict=True):
            for momentum, new in zip(inner.momentums, group, strict=True):
                momentum.assign(new)

    # ---- when to begin again

    def _has_epochs(self, metric):
        """Return whether something ends what begins with an estimate, so that there is a first."""
        return self.restart not in (None, "auto", "epoch") or (
            self.restart == "epoch" and metric is not None
        )

    def _request_in_time(self, is_new_epoch):
        """Ask for a new estimate where an epoch or a number of steps is over."""
        if self.restart == "epoch":
            busy = ~self._estimate.is_idle
            self._troubles.count("carried_over", is_new_epoch & busy)
            self._requested.assign(self._requested.value | (is_new_epoch & ~busy))
        elif self.restart not in (None, "auto"):
            due = (self._since.value >= self.restart) & (self._estimate.started.value > 0)
            self._requested.assign(self._requested.value | due)

    def _report(self):
        """Warn of the trouble since the last report."""
        length = self.prior_iterations + self.num_observations
        self._troubles.report(worst=float(self._estimate.worst.numpy()), length=length)


def _scaled(parts, factors):
    factors = tf.unstack(tf.cast(factors, parts[0][0].dtype))
    return [[factor * g for g in group] for factor, group in zip(factors, parts, strict=True)]

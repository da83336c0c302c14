"""The probabilistic preconditioner: an optimizer for Keras that wraps another."""

import copy

import numpy as np

from ..._utils.validation import check_integer, check_real, parameter_error
from ..._utils.warnings import warn
from .._curvature.objectives import FunctionObjective, GradientObjective
from .._keras import (
    as_plain,
    check_function,
    check_optimizer,
    check_precision,
    check_replicas,
    check_variable_dtype,
    deserialize_optimizer,
    keras,
    not_converted,
    outside_of_graphs,
    tf,
)
from .._newton.newton_cg import NewtonCG
from .descent import POLICY, DescentSettings, PreconditionedDescent
from .diagnostics import TROUBLES
from .estimate_state import EstimateSettings, Phase
from .inner_optimizer import check_inner, is_linear, learning_rate_of
from .restart import check_restart, find_loss_metric
from .variable_groups import VariableGroups, check_groups

#: Parameters that configurations store as they are, but for types of NumPy.
_PLAIN_PARAMETERS = (
    "est_rank",
    "num_observations",
    "prior_iterations",
    "parameter_groups",
    "restart",
    "precondition",
    "adapt_learning_rate",
    "exponent",
    "update_while_estimating",
    "name",
)


@keras.saving.register_keras_serializable(package="skhmat")
class ProbabilisticPreconditioner(keras.optimizers.Optimizer):
    r"""Gradients rescaled by a learned inverse of the Hessian, before any other optimizer.

    Products of the Hessian with a few vectors, each on a minibatch and so noisy, give a mean of the
    Hessian by Gaussian inference: :math:`B`, which is :math:`b_0 I` plus a matrix of low rank. Its
    largest eigenvalues are reduced to the level :math:`\rho` of the others by

    .. math:: P = I + \sum_i \left((\rho/\sigma_i)^p - 1\right) u_i u_i^T.

    Every gradient is multiplied by P, and the learning rate is :math:`1.5/\rho` [1]_, [2]_. An
    estimate takes `prior_iterations` steps for the prior (:math:`b_0`, its uncertainty and the
    noise), then `num_observations` steps for the posterior, each with one product. All other steps
    cost as much as without the preconditioner.

    It works in a plain ``model.compile(optimizer=ProbabilisticPreconditioner())``. Compile with
    ``jit_compile=False``: XLA, which Keras turns on if there is a GPU, takes a product in every
    step, needed or not.

    Parameters
    ----------
    inner : str or keras.optimizers.Optimizer, default="sgd"
        The optimizer that takes the rescaled gradients. A copy made from its configuration is
        used.
    est_rank : int, default=2
        Number of eigenvalues of each group that are reduced, at most `num_observations`.
    num_observations : int, default=5
        Products for the posterior. Fewer are taken if the variance of the posterior shows that
        another product would add nothing. With 0, only the learning rate is learned
        ("OnlyAdaptiveSGD" in [2]_).
    prior_iterations : int, default=10
        Products with the gradient for the prior. With 0, :math:`b_0` is the curvature that belongs
        to the learning rate. With fewer than 2, the noise is not known, and assumed to be zero:
        then batches must agree.
    weight_decay : float, default=0
        Passed to the inner optimizer: each step subtracts this fraction of the weights, times the
        learning rate. If it is 0, that of the inner optimizer stays.
    learning_rate : float, default=None
        The learning rate until the second estimate begins, which is that of the first epoch. (If
        nothing ends that epoch, with ``restart=None`` or "auto" and in loops other than ``fit``,
        until the first estimate is finished; always if none is learned.) None takes the rate from
        the curvature, from the first step.
    parameter_groups : "per_variable" or list of str, default=None
        Groups of variables with a model and a learning rate of their own: each variable, or one
        group for each of these regular expressions, with the variables whose path contains it and
        none of those before it; variables without a match are the last group. None for one group.
    restart : {"epoch", "auto"}, int or None, default="epoch"
        When a new estimate begins: with each epoch of ``fit`` (other loops have none, so pass a
        number there); if the present one no longer predicts gradients ("auto", by a test of the
        errors of prediction in two windows of 10 steps, with 0.1 % of false alarms); after that
        many steps; or never (None). An estimate that is not finished when an epoch ends is carried
        over into the next.
    precondition : bool, default=True
        Whether gradients are multiplied by P. If not, the learning rate is :math:`1/b_0`, with the
        larger :math:`b_0` of the last two estimates ("AdaptiveSGD" in [2]_).
    adapt_learning_rate : bool, default=True
        Whether the learning rate is learned. If not, `learning_rate` or that of the inner optimizer
        is used ("PreconditionedTuned"). Optimizers of Keras that scale gradients themselves (Adam,
        RMSprop, ...) always keep theirs: the inverse of a curvature has no meaning for them.
    exponent : float, default=1.0
        The power p, not above 1: 1 makes all kept directions equal to the rest, 0 changes nothing.
        Below 1 the learning rate is 1.5 over the largest curvature that is left,
        :math:`\rho (\sigma_1/\rho)^{1-p}`.
    update_while_estimating : bool, default=True
        Whether the weights are updated while an estimate is being made, with the last estimate
        (during the first one, with what is known so far).
    name : str, default="probabilistic_preconditioner"

    Notes
    -----
    There is one Gaussian model for each group of variables, by default one for all of them. In each
    step that takes a product, it is the product of the whole Hessian with a vector in all groups,
    of which each group uses its own part, so curvature shared by groups counts. (The original has
    a model for each tensor. On digits, one for all of them ends with a lower training loss, in two
    thirds of the time.)

    The learning rate is 1.5 (1 with ``est_rank=0``) over the larger of :math:`\rho` and the
    curvature :math:`y^T P y / v^T y` of the gradients v of the prior, :math:`y = H v`, which is the
    :math:`b_0` of the preconditioned problem and takes no further products. Of the last two
    estimates the larger counts (in the first, where there is noise, :math:`b_0`), and a learning
    rate stays as it is while it is between this and 2.5 times this: with a smaller one, the
    curvature of networks grows until it is 2 over that rate [3]_. A curvature is that near one
    point and of one batch. Five limits make up for what it does not show:

    - If batches differ, the first estimate is made with a twentieth of the learning rate. The first
      learned rate is also a twentieth of what curvature allows if gradients are all noise, and all
      of it if a fifth of their squared length, beyond what chance explains, is due to their mean.
      At the start of some networks all gradients vanish, and curvature vanishes with them: the rate
      that it allows would ruin the weights. (It is no less than a given `learning_rate`, unless
      curvature allows less.)
    - It rises at most threefold from one estimate to the next, and so from a given `learning_rate`
      to the first learned one. If the mean loss since the last estimate is not below that before
      it, the rate is at most half the last, and from then on it rises by a fifth at most: so it
      comes down to what noise allows. (While rates are still rising to those of curvature, only if
      the loss is higher by two standard errors: small steps change little.)
    - If the mean of four losses in a row, and two of them, are above every loss between the
      beginnings of the last two estimates, the learning rate is halved at once, and rises by a
      fifth at most from then on. It is halved again where the next four are higher still.
    - If rates are learned, a step is at most twice as long as those of the last estimate, in the
      norm of P.
    - SGD with momentum gets (1 - momentum) times the learning rate, as every gradient is added up
      to 1 / (1 - momentum) times itself.

    Losses are those of ``fit`` or of :meth:`minimize`; in other loops they count as falling.
    Warnings of trouble come at the end of ``fit``, from :meth:`minimize` outside of a
    ``tf.function``, and in other loops from :meth:`get_log`.

    A learning rate that is set, as callbacks of Keras do, is used until the next estimate is
    finished, and is then the last one in all of the above.

    Take at least twice as many observations as `est_rank`: the smallest eigenvalues that are found
    are the least accurate.

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

    _policy = POLICY
    __module__ = "skhmat.neural_network"

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
                raise parameter_error(key, "True or False", value)
        check_restart(restart, prior_iterations + num_observations)
        if restart == "auto" and not (precondition and est_rank and num_observations):
            raise ValueError(
                "restart='auto' looks at what a preconditioner predicts, so it needs "
                "precondition=True, and est_rank and num_observations above 0."
            )
        inner = check_optimizer("inner", inner)
        if isinstance(inner, (NewtonCG, ProbabilisticPreconditioner)) or hasattr(
            inner, "inner_optimizer"
        ):
            raise parameter_error("inner", "a first-order optimizer that wraps no other", inner)
        check_inner(inner, learning_rate, adapt_learning_rate)
        check_groups(parameter_groups)
        super().__init__(learning_rate=learning_rate_of(inner), name=name)
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
        # One for each group, once there are variables.
        self._inners = [inner]
        # As it was given, whatever the learning rate is set to later.
        self._given_inner = keras.optimizers.serialize(inner)
        self._exclude = lambda inner: None
        self._configure(inner)
        self._first_rate = learning_rate_of(inner)
        self._n_unbuilt = len(super().variables)
        self._descent = None

    def get_config(self):
        """Return the parameters, as :meth:`from_config` takes them."""
        config = {key: getattr(self, key) for key in _PLAIN_PARAMETERS}
        config["learning_rate"] = self.first_learning_rate
        config["weight_decay"] = self.inner_weight_decay
        config["inner"] = copy.deepcopy(self._given_inner)
        return as_plain(config)

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Return an optimizer with the parameters of `get_config`."""
        config = deserialize_optimizer(config, "inner", custom_objects)
        return cls(**config)

    def _configure(self, inner):
        if self.inner_weight_decay:
            inner.weight_decay = float(self.inner_weight_decay)
        if self.first_learning_rate is not None:
            inner.learning_rate = float(self.first_learning_rate)

    def exclude_from_weight_decay(self, var_list=None, var_names=None):
        """Leave variables out of the weight decay of the inner optimizer.

        Call it before the first step, and again after a saved model was loaded: as with all
        optimizers of Keras, this is not saved.

        Parameters
        ----------
        var_list : list of keras.Variable, default=None
        var_names : list of str, default=None
            Regular expressions for names.
        """
        # In a function: Keras would regard variables in a list as state of the optimizer.
        self._exclude = lambda inner: inner.exclude_from_weight_decay(var_list, var_names)
        for inner in self._inners:
            self._exclude(inner)

    # ---- state

    @not_converted
    def build(self, variables):
        """Create the state for these variables."""
        if self.built or not variables:
            return
        dtype = check_variable_dtype("ProbabilisticPreconditioner", variables)
        groups = VariableGroups(variables, self.parameter_groups)
        with outside_of_graphs():
            super().build(variables)
            for _ in range(1, len(groups)):
                # By its type, which may not be registered.
                inner = type(self.inner).from_config(dict(self._given_inner["config"]))
                self._configure(inner)
                self._exclude(inner)
                self._inners.append(inner)
            for inner, group in zip(self._inners, groups.split(groups.ordered), strict=True):
                inner.build(group)
            self._descent = PreconditionedDescent(
                self._add_variable, groups, self._inners, dtype, self._settings(), self._policy
            )

    def _add_variable(self, name, shape=(), dtype="float64", initializer="zeros"):
        return self.add_variable(shape, dtype=dtype, name=name, initializer=initializer)

    def _settings(self):
        return DescentSettings(
            estimate=EstimateSettings(
                prior_iterations=self.prior_iterations,
                num_observations=self.num_observations,
                rank=min(self.est_rank, self.num_observations) if self.precondition else 0,
                precondition=self.precondition,
                exponent=self.exponent,
            ),
            restart=self.restart,
            adapts=self.adapt_learning_rate,
            sets_rates=self._learns_rates,
            given_rate=self.first_learning_rate,
            first_rate=self._first_rate,
            update_while_estimating=self.update_while_estimating,
        )

    @property
    def _learns_rates(self):
        return self.adapt_learning_rate and is_linear(self.inner)

    @property
    def variables(self):
        """All state, that of the inner optimizers included."""
        return super().variables + [v for inner in self._inners for v in inner.variables]

    def set_weights(self, weights):
        """Set all state, that of the inner optimizers included.

        Parameters
        ----------
        weights : list of arrays or variables
            In the order of `variables`, of an optimizer with the same parameters.
        """
        if not self.built:
            raise ValueError(
                "ProbabilisticPreconditioner has no state yet, so none can be set: call "
                "optimizer.build(model.trainable_variables) before."
            )
        variables = self.variables
        given = [tuple(np.shape(weight)) for weight in weights]
        needed = [tuple(variable.shape) for variable in variables]
        if given != needed:
            wrong = [i for i, (a, b) in enumerate(zip(given, needed, strict=False)) if a != b]
            got = f"shape {given[wrong[0]]} at index {wrong[0]}" if wrong else len(given)
            allowed = f"the {len(needed)} arrays of `variables`, in their shapes"
            raise parameter_error("weights", allowed, got=got)
        for variable, weight in zip(variables, weights, strict=True):
            variable.assign(weight)

    def save_own_variables(self, store):
        """Write the state to `store`. Keras saves the inner optimizers, as attributes."""
        for i, variable in enumerate(super().variables):
            store[str(i)] = variable.numpy()

    def load_own_variables(self, store):
        """Read the state from `store`."""
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
        self._descent.diagnostics.mark_reported()

    @property
    def learning_rate(self):
        """The learning rate of the inner optimizer of the first group.

        If rates are learned, one that is set is used until the next estimate is finished.
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
            self._descent.set_rate(learning_rate)
        else:
            self._first_rate = learning_rate_of(self.inner)

    # ---- entry points: gradients of Keras and functions of variables

    @not_converted
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
        descent = self._descent
        ordered = descent.groups.ordered
        grads = [found.get(self._var_key(variable)) for variable in ordered]
        metric = find_loss_metric(self)
        if metric is None and self.restart == "epoch":
            warn(
                "ProbabilisticPreconditioner: restart='epoch' sees epochs of model.fit only. Call "
                "start_estimate() when an epoch begins, or restart after a number of steps."
            )
        is_new_epoch, is_seen = descent.losses.add_from_metric(metric)
        if metric is not None and self.restart == "epoch":
            descent.diagnostics.count("unseen", ~is_seen)
        descent.request_if_due(is_new_epoch)
        is_known = [g is not None for g in grads]
        has_epochs = descent.request.has_epochs(metric)
        descent.step(GradientObjective(grads, ordered), is_known, has_epochs)
        self._iterations.assign_add(1)

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
        check_replicas()
        if not self.built:
            self.build(list(variables))
        self._check_variables_are_known(variables)
        if len(variables) != len(self._trainable_variables):
            raise ValueError(
                f"variables are {len(variables)} of the {len(self._trainable_variables)} that the "
                "optimizer was built with; it needs all of them in each step."
            )
        objective = FunctionObjective(loss, self._descent.groups.ordered)
        self._take_step(objective, len(variables))
        return objective.loss

    @not_converted
    def _take_step(self, objective, n_variables):
        """Take a step on an objective that has a loss."""
        descent = self._descent
        descent.losses.add(objective.loss)
        descent.request_if_due(tf.constant(False))
        has_epochs = descent.request.has_epochs(None)
        descent.step(objective, [True] * n_variables, has_epochs)
        self._iterations.assign_add(1)
        if tf.executing_eagerly():
            descent.report()

    def start_estimate(self):
        """Begin a new estimate with the next step, or when the present one is finished."""
        if self.built:
            self._descent.request.add()

    def maybe_start_estimate(self):
        """Begin a new estimate if the present one no longer predicts gradients.

        The errors of prediction in the last 10 steps are compared with those in the 10 steps after
        the estimate was finished. If nothing has changed, their sums of squares have chi-square
        distributions of the same variance, and the ratio of these has an F distribution: it is
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
        if self.built:
            self._descent.request_if_predictions_fail()

    def finalize_variable_values(self, var_list):
        """Finish training: Keras calls it at the end of ``fit``."""
        if not self.built:
            return
        for inner in self._inners:
            inner.finalize_variable_values(inner._trainable_variables)
        self._descent.losses.end_training()
        self._descent.report()

    def get_log(self):
        r"""Return what has been learned, and warn of problems since the last warning.

        Returns
        -------
        log : dict
            ``phase``: "idle", "prior" or "observing"; ``step``; ``estimates``, the number of
            finished ones. Arrays with one number per group: ``learning_rate`` of the inner
            optimizers; ``curvature``, :math:`b_0`; ``level``, the curvature :math:`\rho` that is
            left; ``noise``, the standard deviation of the length of a product with a unit vector.
            ``spectrum``: for each group an array of the eigenvalues of the last estimate on the
            observed directions, largest first. And counts: ``negative_curvature``, priors that
            saw it; ``clipped``, eigenvalues to be reduced that were not positive;
            ``carried_over``, epochs that ended before an estimate was finished; ``unseen``, steps
            whose epoch could not be seen; ``not_finite``, steps left out; ``shortened``, steps
            that were too long.
        """
        if not self.built:
            nothing = dict.fromkeys(("curvature", "level", "noise"), np.empty(0))
            return {
                "step": 0,
                "learning_rate": np.array([learning_rate_of(self.inner)]),
                "phase": Phase.IDLE.label,
                "estimates": 0,
                **nothing,
                "spectrum": [],
                **dict.fromkeys(("shortened", *TROUBLES), 0),
            }
        descent = self._descent
        descent.report()
        rates = [keras.ops.convert_to_numpy(inner.learning_rate) for inner in self._inners]
        return {
            "step": int(self._iterations.numpy()),
            "learning_rate": np.array(rates, dtype=float),
            **descent.estimate.log(),
            "shortened": int(descent.rates.shortened.numpy()),
            **descent.diagnostics.counts(),
        }

"""Newton-CG: an optimizer for Keras with curvature by Hessian-vector products."""

import warnings
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..._utils.validation import check_integer, check_option, check_real
from .._curvature.objectives import FunctionObjective, GradientObjective
from .._curvature.parameter_vector import ParameterVector
from .._keras import (
    as_plain,
    check_function,
    check_learning_rate,
    check_optimizer,
    check_precision,
    check_replicas,
    check_variable_dtype,
    deserialize_optimizer,
    keras,
    machine_epsilon,
    not_converted,
    outside_of_graphs,
    tf,
    unwrap_variables,
)
from .damping import DampingPolicy, damping_rule, prediction_error, update_damping
from .diagonal import DiagonalPolicy, divide_by_diagonal, update_diagonal
from .history import Fallback, History, empty_history
from .line_search import LineSearchPolicy, backtrack
from .state import NewtonState
from .steihaug import Solution, steihaug
from .trust_region import (
    TrustRegionPolicy,
    adapt_radius_to_gradient,
    adapt_radius_to_reduction,
    note_boundary,
)


@dataclass(frozen=True)
class NewtonPolicy:
    """Numbers that decide a step, where no parameter does.

    Attributes
    ----------
    max_cg_steps, max_unrolled_cg_steps : int
        Maximum number of steps of conjugate gradients: in a loop, and if each step is traced
        separately.
    largest_tolerance : float
        The largest tolerance for conjugate gradients that is chosen automatically.
    tolerance_rounding : float
        The smallest one, in relative rounding errors of the weights.
    probe : float
        Length of the random right-hand side where the gradient is 0, in units of the radius of
        the trust region and for each weight.
    shrinkage_limit : float
        Shrinking the weights changes the next gradient by at most this fraction of the part of the
        present one that was not predicted.
    damping, diagonal, line_search, trust_region
        The policies of these modules.
    """

    max_cg_steps: int = 20
    max_unrolled_cg_steps: int = 10
    largest_tolerance: float = 0.2
    tolerance_rounding: float = 10
    probe: float = 1e-3
    shrinkage_limit: float = 0.3
    damping: DampingPolicy = field(default_factory=DampingPolicy)
    diagonal: DiagonalPolicy = field(default_factory=DiagonalPolicy)
    line_search: LineSearchPolicy = field(default_factory=LineSearchPolicy)
    trust_region: TrustRegionPolicy = field(default_factory=TrustRegionPolicy)


POLICY = NewtonPolicy()

#: Parameters that configurations store unchanged, besides those of all optimizers of Keras.
_PLAIN_PARAMETERS = (
    "tau",
    "cg_tol",
    "max_cg_steps",
    "armijo",
    "curvature",
    "blocks",
    "preconditioner",
    "warm_start",
    "curvature_fraction",
    "trust_radius",
    "shrinkage",
    "pretrain_steps",
    "history_size",
)


@keras.saving.register_keras_serializable(package="skhmat")
class NewtonCG(keras.optimizers.Optimizer):
    r"""Newton's method with truncated conjugate gradients.

    Each step solves :math:`(G + \tau I) d = -g` approximately by conjugate gradients, where
    :math:`G` is the Hessian or the Gauss-Newton matrix of the loss, known only by its products
    with vectors, and moves the weights by :math:`\alpha d` (algorithm 7.5 of [1]_).

    Attached to a model by :func:`~skhmat.neural_network.second_order`, the optimizer knows the
    loss, and uses Gauss-Newton products, a line search and the reduction ratio. In a plain
    ``model.compile(optimizer=NewtonCG())`` it sees only gradients: it then uses the Hessian, and a
    trust region in place of the line search. `minimize` takes any function of variables.

    Parameters
    ----------
    learning_rate : float or keras.optimizers.schedules.LearningRateSchedule, default=1.0
        The step length; the first one that a line search tries.
    tau : float, "auto" or "levenberg-marquardt", default="auto"
        The damping :math:`\tau`, in units of the Hessian. "auto" is the curvature along the
        gradient (or 0.3 of its value at the last step, if that is larger) times the square of the
        prediction error: the distance of this gradient from the one that the model of the last
        step predicted, relative to the gradient and at most 1. It vanishes where the loss is
        quadratic and the batch the same, and stays large where batches disagree.
        "levenberg-marquardt" (only if the loss is known) adapts it from the ratio of the reduction
        of the loss to the predicted one, on the same batch: it is multiplied by 1.5 if the ratio
        is below 1/4, and divided by 1.5 above 3/4.
    cg_tol : float or "auto", default="auto"
        Conjugate gradients stop where the residual is this small relative to the gradient.
        "auto" is the prediction error, as above, but at most 0.2: a forcing term in the sense of
        Eisenstat and Walker [2]_.
    max_cg_steps : int, default=None
        Maximum number of steps of conjugate gradients, each of one product. None means 20, or 10 if
        only gradients are known and each step is traced separately.
    armijo : float or None, default=1e-4
        The part of the decrease of the linear model that the line search requires [3]_; None
        for no line search.
    curvature : {"gauss_newton", "hessian"}, default="gauss_newton"
        The Gauss-Newton matrix has no negative curvature if the loss is convex in the outputs.
        If only gradients are known (see above), for plain functions, and for models whose only
        losses are those that layers add (``add_loss``), the Hessian is used.
    blocks : {"global", "per_variable"}, default="global"
        Whether one system is solved for all weights, or one for each variable, with the
        diagonal blocks of the matrix.
    preconditioner : {None, "jacobi", "empirical_fisher"}, default=None
        A diagonal preconditioner: a running mean of the diagonal of the matrix, estimated with
        one more product per step, or of squared gradients [4]_.
    warm_start : float, default=0.0
        Conjugate gradients start from this multiple of the last direction.
    curvature_fraction : float, default=1.0
        Products are taken on this fraction of the batch: its first samples.
    trust_radius : float, default=1.0
        The initial radius of the trust region, in units of the weights. It limits steps along
        directions of negative curvature [5]_, and all steps if the loss is not known.
    pretrain_steps : int, default=0
        Steps that `pretrain_optimizer` takes before the first Newton step.
    pretrain_optimizer : str or keras.optimizers.Optimizer, default="adam"
    history_size : int, default=10000
        Number of steps that `history` keeps.
    shrinkage : float, default=1e-3
        Each step shrinks the weights by this fraction of them, times its length and the square of
        the prediction error: it matters where batches disagree, and vanishes where steps are exact.
        Weights of one dimension (biases, scales), those that the loss does not depend on, and the
        variables of plain functions are left alone.
    name : str, default="newton_cg"
    **kwargs : dict
        ``weight_decay``, ``clipnorm``, ``clipvalue``, ``global_clipnorm``, ``use_ema``,
        ``ema_momentum`` and ``ema_overwrite_frequency``, as in
        :class:`keras.optimizers.Optimizer`. Clipping acts on the gradient that the system is
        solved for.

    References
    ----------
    .. [1] S. Reiz, "On the Algorithmic Impact of Scientific Computing on Machine Learning",
       PhD thesis, Technical University of Munich, 2023.
    .. [2] S. C. Eisenstat, H. F. Walker, "Choosing the forcing terms in an inexact Newton
       method", SIAM J. Sci. Comput. 17 (1996).
    .. [3] L. Armijo, "Minimization of functions having Lipschitz continuous first partial
       derivatives", Pacific J. Math. 16 (1966).
    .. [4] J. Martens, "Deep learning via Hessian-free optimization", ICML 2010.
    .. [5] T. Steihaug, "The conjugate gradient method and trust regions in large scale
       optimization", SIAM J. Numer. Anal. 20 (1983).

    Examples
    --------
    >>> import keras
    >>> from skhmat.neural_network import NewtonCG
    >>> x = keras.Variable([3.0, -2.0])
    >>> optimizer = NewtonCG()
    >>> loss = optimizer.minimize(lambda: x[0] ** 2 + 4 * x[1] ** 2, [x])
    >>> bool(abs(x.numpy()).max() < 1e-5)
    True
    """

    #: Parameters of Keras' optimizers that this one does not have.
    refused = frozenset({"gradient_accumulation_steps", "loss_scale_factor"})

    _policy = POLICY
    __module__ = "skhmat.neural_network"

    def __init__(
        self,
        learning_rate=1.0,
        *,
        tau="auto",
        cg_tol="auto",
        max_cg_steps=None,
        armijo=1e-4,
        curvature="gauss_newton",
        blocks="global",
        preconditioner=None,
        warm_start=0.0,
        curvature_fraction=1.0,
        trust_radius=1.0,
        shrinkage=1e-3,
        pretrain_steps=0,
        pretrain_optimizer="adam",
        history_size=10_000,
        name="newton_cg",
        **kwargs,
    ):
        for refused in sorted(self.refused):
            if kwargs.pop(refused, None) is not None:
                raise ValueError(
                    f"NewtonCG does not support {refused}: a step needs gradient and curvature "
                    "of one batch. Take larger batches, with curvature_fraction below 1."
                )
        check_real("tau", tau, 0, options=("auto", "levenberg-marquardt"))
        check_real("cg_tol", cg_tol, 0, 1, options=("auto",))
        check_real("armijo", armijo, 0, 1, none=True)
        check_real("warm_start", warm_start, 0, 1)
        check_real("curvature_fraction", curvature_fraction, 0, 1, closed="right")
        check_real("shrinkage", shrinkage, 0, 1)
        check_real("trust_radius", trust_radius, 0, closed="neither")
        learning_rate = check_learning_rate(learning_rate)
        if max_cg_steps is not None:
            check_integer("max_cg_steps", max_cg_steps, 1)
        check_integer("pretrain_steps", pretrain_steps, 0)
        check_integer("history_size", history_size, 1)
        check_option("curvature", curvature, ("gauss_newton", "hessian"))
        check_option("blocks", blocks, ("global", "per_variable"))
        check_option("preconditioner", preconditioner, (None, "jacobi", "empirical_fisher"))
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.tau = tau
        self.cg_tol = cg_tol
        self.max_cg_steps = max_cg_steps
        self.armijo = armijo
        self.curvature = curvature
        self.blocks = blocks
        self.preconditioner = preconditioner
        self.warm_start = warm_start
        self.curvature_fraction = curvature_fraction
        self.trust_radius = trust_radius
        self.shrinkage = shrinkage
        self.pretrain_steps = pretrain_steps
        self.pretrain_optimizer = check_optimizer("pretrain_optimizer", pretrain_optimizer)
        self.history_size = history_size
        self._warned = False
        self._state = None
        self._history = None

    def get_config(self):
        """Return the parameters, as :meth:`from_config` takes them."""
        config = super().get_config()
        del config["gradient_accumulation_steps"], config["loss_scale_factor"]
        config |= {key: getattr(self, key) for key in _PLAIN_PARAMETERS}
        config["pretrain_optimizer"] = keras.optimizers.serialize(self.pretrain_optimizer)
        return as_plain(config)

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Return an optimizer with the parameters of `get_config`."""
        config = deserialize_optimizer(config, "pretrain_optimizer", custom_objects)
        return super().from_config(config, custom_objects=custom_objects)

    @not_converted
    def build(self, variables):
        """Create the state for these variables."""
        if self.built or not variables:
            return
        dtype = check_variable_dtype("NewtonCG", variables)
        with outside_of_graphs():
            super().build(variables)
            self._state = NewtonState(
                self.add_variable,
                ParameterVector(unwrap_variables(variables), self.blocks == "per_variable"),
                dtype,
                trust_radius=self.trust_radius,
                warm_start=self.warm_start > 0,
                has_diagonal=self.preconditioner is not None,
            )
            if self.pretrain_steps:
                self.pretrain_optimizer.build(variables)
            self._history = History(self.history_size)

    # ---- entry points: gradients of Keras, functions of variables, and models (`second_order`)

    @not_converted
    def apply(self, grads, trainable_variables=None):
        """Take a step from gradients, in the graph that they were made in."""
        trainable_variables = (
            self._trainable_variables if trainable_variables is None else list(trainable_variables)
        )
        if tf.executing_eagerly():
            raise RuntimeError(
                "NewtonCG cannot differentiate gradients again outside of a graph. Use "
                "skhmat.neural_network.second_order(model), leave run_eagerly=False, or call "
                "optimizer.minimize(loss, variables)."
            )
        if self.tau == "levenberg-marquardt":
            raise ValueError(
                "tau='levenberg-marquardt' needs the loss, and the optimizer sees gradients alone: "
                "use skhmat.neural_network.second_order(model), or tau='auto'."
            )
        check_precision()
        check_replicas()
        if not self._warned:
            self._warned = True
            warnings.warn(
                "NewtonCG: the optimizer sees gradients alone, so this is damped Newton-CG with "
                "the Hessian and a trust region. skhmat.neural_network.second_order(model) adds "
                "Gauss-Newton products and a line search, and is traced faster.",
                UserWarning,
                stacklevel=3,
            )
        if not self.built:
            self.build(trainable_variables)
        grads = list(grads)
        self._filter_empty_gradients(grads, trainable_variables)  # warns of them
        self._check_variables_are_known(trainable_variables)
        if len(trainable_variables) != len(self._trainable_variables):
            raise ValueError(
                "NewtonCG needs the gradient of every variable that it was built with: "
                f"{len(trainable_variables)} of {len(self._trainable_variables)} are there."
            )
        objective = GradientObjective(grads, trainable_variables, self.blocks == "per_variable")
        self.take_step(objective)

    def minimize(self, loss, variables):
        """Take one step on a plain function of variables.

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
            self.build(variables)
        self._check_variables_are_known(variables)
        objective = FunctionObjective(loss, variables, self.blocks == "per_variable")
        self.take_step(objective)
        return objective.loss

    @property
    def history(self):
        """What each step did, oldest first.

        A dictionary of arrays of shape (n_steps,): ``step``; ``loss`` before the step, NaN if it
        is not known; ``gradient_norm``; ``cg_steps``, the products taken, one more than steps with
        `warm_start`; ``cg_residual``, relative; ``curvature``, the least that conjugate gradients
        encountered, negative if they met negative curvature; ``tau``;
        ``prediction_error``; ``step_length``; ``reduction_ratio``; and ``fallback``, strings: ""
        for a plain Newton step. The history is not saved: that of a loaded optimizer is empty.
        """
        return empty_history() if self._history is None else self._history.as_arrays()

    # ---- a step

    @not_converted
    def take_step(self, objective):
        """Take a step on an objective, by Newton's method or by the pretraining optimizer."""
        built_for = self._state.predicted.shape[0]
        if objective.parameters.size != built_for:
            raise ValueError(
                f"NewtonCG was built for {built_for} trainable weights, and there are "
                f"{objective.parameters.size} now. Compile the model again, with a new optimizer."
            )
        if not self.pretrain_steps:
            self._newton_step(objective, self._solve(objective))
        else:
            # Bare gradients cannot be differentiated within a branch.
            system = self._solve(objective) if objective.evaluate is None else None
            tf.cond(
                self.iterations < self.pretrain_steps,
                lambda: self._pretrain_step(objective),
                lambda: self._newton_step(objective, system or self._solve(objective)),
            )
        self._finish_step()

    def _finish_step(self):
        """Do what Keras does after each step."""
        variables = self._trainable_variables
        self._apply_weight_decay(variables)
        if self.use_ema:
            self._update_model_variables_moving_average(variables)
            if self.ema_overwrite_frequency:
                tf.cond(
                    (self.iterations + 1) % self.ema_overwrite_frequency == 0,
                    lambda: self._overwrite_model_variables_with_average_value(variables),
                    lambda: None,
                )
        for variable in variables:
            if getattr(variable, "constraint", None) is not None:
                variable.assign(variable.constraint(variable))
        self.iterations.assign_add(1)

    def _pretrain_step(self, objective):
        gradients = objective.parameters.unpack(objective.gradient)
        self.pretrain_optimizer.apply(gradients, self._trainable_variables)
        self._record(objective, cg_steps=0, fallback=Fallback.PRETRAINING.value)

    def _solve(self, objective):
        """Return the Newton system of an objective and its solution."""
        policy, state = self._policy, self._state
        parameters, g = objective.parameters, objective.gradient
        error = prediction_error(objective, state, policy.damping)
        gradients_alone = objective.evaluate is None
        if gradients_alone:
            adapt_radius_to_gradient(g, state, policy.trust_region)
        b = -parameters.pack(self._clip_gradients(parameters.unpack(g)))
        probing = False
        if objective.indefinite:
            probing = tf.reduce_all(b == 0)
            b = self._probe(b, probing)
        rule = damping_rule(self.tau, error, state, policy.damping)
        precondition = start = known_damping = None
        if self.warm_start:
            start = self.warm_start * state.direction
            known_damping = rule(state.scale)
            unknown = -tf.ones_like(known_damping)
            known_damping = tf.where(state.scale == 0, unknown, known_damping)
        if self.preconditioner:
            diagonal = update_diagonal(
                self.preconditioner,
                objective,
                self.iterations,
                self.pretrain_steps,
                state,
                policy.diagonal,
            )
            damping = rule(tf.convert_to_tensor(state.scale))
            precondition = divide_by_diagonal(diagonal, damping, parameters, policy.diagonal)
        tolerance = self.cg_tol
        if tolerance == "auto":
            smallest = policy.tolerance_rounding * machine_epsilon(g)
            tolerance = tf.clip_by_value(error, smallest, policy.largest_tolerance)
        max_steps = policy.max_unrolled_cg_steps if gradients_alone else policy.max_cg_steps
        solution = steihaug(
            objective.product,
            b,
            parameters,
            damping=rule,
            known_damping=known_damping,
            tolerance=tf.cast(tolerance, g.dtype),
            max_steps=self.max_cg_steps or max_steps,
            radius=tf.convert_to_tensor(state.radius),
            bounded=gradients_alone,
            probing=probing,
            precondition=precondition,
            start=start,
            product_where=objective.product_where if gradients_alone else None,
        )
        return _System(solution, b, error)

    def _probe(self, b, is_zero):
        """Return a random right-hand side if b, (n,), is zero, to look for a way down."""

        def probe():
            seed = tf.stack([self.iterations.value, 0])
            noise = tf.random.stateless_normal(tf.shape(b), tf.cast(seed, tf.int32), dtype=b.dtype)
            return self._policy.probe * self._state.radius * noise

        return tf.cond(is_zero, probe, lambda: b)

    def _newton_step(self, objective, system):
        """Move along the solution by the length that the line search allows."""
        g, parameters, solution = objective.gradient, objective.parameters, system.solution
        d, Bd, fallback = _safeguard(objective, system)
        slope, curvature = tf.tensordot(g, d, 1), tf.tensordot(d, Bd, 1)
        weights = [tf.identity(variable) for variable in objective.variables]
        parts = parameters.unpack(d)

        def move(length):
            for variable, weight, part in zip(objective.variables, weights, parts, strict=True):
                variable.assign(weight + length * part)

        def evaluate(length):
            move(length)
            return tf.cast(objective.evaluate(), g.dtype)

        length = tf.cast(self.learning_rate, g.dtype)
        ratio = tf.constant(np.nan, g.dtype)
        if self._searches_lines(objective):
            loss = tf.cast(objective.loss, g.dtype)
            length, reached = backtrack(
                evaluate, loss, slope, curvature, length, self.armijo, self._policy.line_search
            )
            predicted = -(slope * length + curvature * length**2 / 2)
            ratio = tf.math.divide_no_nan(loss - reached, predicted)
        broken = fallback == Fallback.NOT_FINITE.value
        length = tf.where(broken, tf.zeros_like(length), length)
        move(length)
        rejected = (length == 0) & (tf.tensordot(g, g, 1) > 0)
        fallback = tf.where(rejected & ~broken, Fallback.REJECTED.value, fallback)

        def keep():
            self._shrink(objective, system, length)
            self._remember(objective, solution, d, g + length * Bd, length, ratio, rejected)

        # Values that are not finite must not enter the state either.
        tf.cond(broken, lambda: None, keep)
        self._record(
            objective,
            cg_steps=solution.n_products,
            cg_residual=solution.residual,
            curvature=solution.curvature,
            tau=tf.reduce_mean(solution.damping),
            prediction_error=system.error,
            step_length=length,
            reduction_ratio=ratio,
            fallback=fallback,
        )

    def _searches_lines(self, objective):
        return objective.evaluate is not None and self.armijo is not None

    def _shrink(self, objective, system, length):
        """Shrink the weights a little where batches disagree."""
        if not self.shrinkage or not objective.shrinks:
            return
        gradients = objective.parameters.unpack(objective.gradient)
        shrunk = [
            # Weights that the loss does not depend on, such as those of other outputs, stay.
            (variable, tf.cast(tf.reduce_any(gradient != 0), gradient.dtype))
            for variable, gradient in zip(objective.variables, gradients, strict=True)
            if len(variable.shape) > 1
        ]
        if not shrunk:
            return
        # The next prediction does not know of this change. It must stay well below the part of
        # the present gradient that was not predicted, or each would feed the other.
        curvature = tf.reduce_max(tf.abs(system.solution.first_curvature))
        unpredicted = system.error * tf.norm(objective.gradient)
        most = tf.math.divide_no_nan(
            self._policy.shrinkage_limit * unpredicted,
            curvature * tf.linalg.global_norm([factor * variable for variable, factor in shrunk]),
        )
        part = tf.minimum(self.shrinkage * length * system.error**2, most)
        for variable, factor in shrunk:
            variable.assign((1 - part * factor) * variable)

    def _remember(self, objective, solution, d, predicted, length, ratio, rejected):
        """Update the state after a step of this length along d, (n,).

        predicted : tensor of shape (n,)
            The gradient that is predicted for the next step.
        ratio : tensor of shape ()
            The reduction of the loss over the predicted one; NaN if it is not known.
        rejected : tensor of shape (), bool
        """
        policy, state = self._policy, self._state
        state.predicted.assign(predicted)
        state.rejected.assign(tf.cast(rejected, d.dtype))
        state.has_prediction.assign(tf.ones([], d.dtype))
        state.last_norm.assign(tf.norm(objective.gradient))
        at_boundary = note_boundary(length * tf.norm(d), state, policy.trust_region)
        if self._searches_lines(objective):
            adapt_radius_to_reduction(
                ratio, at_boundary, solution, rejected, state, policy.trust_region
            )
        if self.warm_start:
            state.direction.assign(d)
        update_damping(self.tau, solution, ratio, rejected, state, policy.damping)

    def _record(self, objective, **entries):
        if objective.loss is not None:
            entries["loss"] = objective.loss
        self._history.record(
            step=self.iterations.value,
            gradient_norm=tf.norm(objective.gradient),
            **entries,
        )


class _System(NamedTuple):
    solution: Solution
    b: Any  # (n,) right-hand side
    error: Any  # () of the last prediction


def _safeguard(objective, system):
    """Return a descent direction, (n,), the curvature matrix times it, (n,), and the fallback, ().

    That is the solution of the system, unless it is not finite or does not descend.
    """
    solution, b = system.solution, system.b
    g, d, Bd = objective.gradient, solution.direction, solution.product
    at_zero = tf.reduce_all(g == 0)
    flat = at_zero & ~solution.negative
    finite = tf.math.is_finite(tf.norm(d)) & tf.math.is_finite(tf.norm(Bd))
    descends = (tf.tensordot(g, d, 1) < 0) | at_zero
    steepest = ~(finite & descends)
    scale = tf.abs(solution.first_curvature) + solution.damping
    scale = objective.parameters.broadcast(tf.where(scale > 0, scale, tf.ones_like(scale)))
    d = tf.where(steepest, b / scale, d)
    Bd = tf.where(steepest, b, Bd)
    d, Bd = (tf.where(flat, tf.zeros_like(v), v) for v in (d, Bd))
    fallback = tf.where(solution.negative, Fallback.NEGATIVE_CURVATURE.value, Fallback.NONE.value)
    fallback = tf.where(steepest, Fallback.STEEPEST_DESCENT.value, fallback)
    broken = ~tf.math.is_finite(tf.norm(d))
    d, Bd = (tf.where(broken, tf.zeros_like(v), v) for v in (d, Bd))
    return d, Bd, tf.where(broken, Fallback.NOT_FINITE.value, fallback)

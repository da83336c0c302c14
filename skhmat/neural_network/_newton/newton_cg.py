"""Newton-CG: an optimizer for Keras with curvature by Hessian-vector products."""

import warnings
from typing import Any, NamedTuple

import numpy as np

from ..._utils.validation import check_integer, check_option, check_real
from .._curvature.layout import Layout, epsilon, values
from .._curvature.objectives import FunctionObjective, GradientObjective
from .._keras import (
    check_function,
    check_precision,
    checked_optimizer,
    checked_rate,
    checked_type,
    keras,
    tf,
    with_optimizer,
)
from .line_search import backtrack
from .steihaug import Solution, steihaug

#: What was done in place of the step, by the number that stands in the history.
FALLBACKS = ("", "negative curvature", "steepest descent", "rejected", "not finite", "pretraining")

#: Columns of the history.
COLUMNS = (
    "step",
    "loss",
    "gradient_norm",
    "cg_steps",
    "cg_residual",
    "curvature",
    "tau",
    "prediction_error",
    "step_length",
    "reduction_ratio",
    "fallback",
)

#: Of the running mean that the preconditioner is.
_PRECONDITIONER_MEMORY = 0.95

#: Damping that is chosen automatically: in units of the curvature along the gradient, where
#: nothing that the last step foretold came true. Measured: half of it overfits single batches,
#: the double is slow (docs/neural_network.rst).
_DAMPING = 1.0

#: The curvature that damping is in units of is not taken to fall faster than this from one step to
#: the next: that of a saturated softmax is next to nothing where the gradient is not. Measured: a
#: half ends with 1.2 times the training loss on digits; with a fifth, weights can still explode.
_LEAST_FALL = 0.3

#: Most steps of conjugate gradients, in a loop and (True) laid out one by one.
_MAX_CG_STEPS = {False: 20, True: 10}

#: The largest tolerance for conjugate gradients that is chosen automatically.
_MAX_TOLERANCE = 0.2


@keras.saving.register_keras_serializable(package="skhmat")
class NewtonCG(keras.optimizers.Optimizer):
    r"""Newton's method with truncated conjugate gradients.

    Each step solves :math:`(G + \tau I) d = -g` approximately by conjugate gradients, where
    :math:`G` is the Hessian or the Gauss-Newton matrix of the loss and known by its products
    alone, and moves the weights by :math:`\alpha d` (algorithm 7.5 of [1]_).

    Attached to a model by :func:`~skhmat.neural_network.second_order`, the optimizer knows the
    loss: Gauss-Newton products, line search and reduction ratio work. In a plain
    ``model.compile(optimizer=NewtonCG())`` it sees gradients alone: the Hessian is used, and a
    trust region takes the place of the line search. `minimize` takes any function of variables.

    Parameters
    ----------
    learning_rate : float or keras.optimizers.schedules.LearningRateSchedule, default=1.0
        The step length, the first that a line search tries.
    tau : float, "auto" or "levenberg-marquardt", default="auto"
        The damping :math:`\tau`, in units of the Hessian. "auto" is the curvature along the
        gradient (or 0.3 of what it was taken for at the last step, if that is more), times the
        square of how far the gradient at this step is from what the model of the last step foretold
        (relative to the gradient, at most 1): it vanishes where the loss is quadratic and the batch
        the same, and stays up where batches disagree.
        "levenberg-marquardt" (where the loss is known) adapts it from the ratio of the reduction
        of the loss to that foretold, on the same batch: times 1.5 where it is below 1/4, over 1.5
        above 3/4.
    cg_tol : float or "auto", default="auto"
        Conjugate gradients stop where the residual is this small relative to the gradient.
        "auto" is the error of the last prediction, as above, at most 0.2: what Eisenstat and
        Walker call a forcing term [2]_.
    max_cg_steps : int, default=None
        Most steps of conjugate gradients, each of one product. None means 20, and 10 where
        gradients alone are seen and each step is traced on its own.
    armijo : float or None, default=1e-4
        The part of the decrease of the linear model that the line search asks for [3]_; None
        for no line search.
    curvature : {"gauss_newton", "hessian"}, default="gauss_newton"
        The Gauss-Newton matrix has no negative curvature, where the loss is convex in the
        outputs. Gradients alone (see above) and plain functions have a Hessian only.
    blocks : {"global", "per_variable"}, default="global"
        Whether one system is solved for all weights, or one for each variable, with the
        diagonal blocks of the matrix.
    preconditioner : {None, "jacobi", "empirical_fisher"}, default=None
        A diagonal preconditioner: a running mean of the diagonal of the matrix, estimated with
        one more product per step, or of squared gradients [4]_.
    warm_start : float, default=0.0
        Conjugate gradients start from this part of the last direction.
    curvature_fraction : float, default=1.0
        Products are taken on this part of the batch, its first samples.
    trust_radius : float, default=1.0
        The radius of the trust region at first, in units of the weights. It limits steps along
        directions of negative curvature [5]_, and all steps where the loss is not known.
    pretrain_steps : int, default=0
        Steps that `pretrain_optimizer` takes before the first Newton step.
    pretrain_optimizer : str or keras.optimizers.Optimizer, default="adam"
    history_size : int, default=10000
        Steps that `history` goes back.
    shrinkage : float, default=1e-3
        Each step draws the weights to zero by this part of them, times its length and the square
        of the prediction error: it counts where batches disagree, and vanishes where steps are
        exact. Weights of one dimension (biases, scales) and plain functions are left alone.
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
        learning_rate = checked_rate(learning_rate)
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
        self.pretrain_optimizer = checked_optimizer("pretrain_optimizer", pretrain_optimizer)
        self.history_size = history_size
        self._warned = False
        self._log = None

    def get_config(self):
        """Return the parameters, as :meth:`from_config` takes them."""
        config = super().get_config()
        del config["gradient_accumulation_steps"], config["loss_scale_factor"]
        own = (
            "tau cg_tol max_cg_steps armijo curvature blocks preconditioner warm_start "
            "curvature_fraction trust_radius shrinkage pretrain_steps history_size"
        )
        config |= {key: getattr(self, key) for key in own.split()}
        config["pretrain_optimizer"] = keras.optimizers.serialize(self.pretrain_optimizer)
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Return an optimizer with the parameters of `get_config`."""
        config = with_optimizer(config, "pretrain_optimizer", custom_objects)
        return super().from_config(config, custom_objects=custom_objects)

    def build(self, variables):
        """Create the state for these variables."""
        if self.built or not variables:
            return
        dtype = checked_type("NewtonCG", variables)
        super().build(variables)
        layout = Layout(values(variables), self.blocks == "per_variable")

        def vector(name, size=layout.size):
            return self.add_variable((size,), dtype=dtype, name=name)

        def number(name, initializer="zeros"):
            return self.add_variable((), dtype=dtype, name=name, initializer=initializer)

        self._predicted = vector("predicted_gradient")
        self._known = number("has_prediction")
        self._radius = number("radius", keras.initializers.Constant(self.trust_radius))
        self._boost = number("boost", "ones")
        self._rejected = number("rejected")
        self._damping = number("damping", keras.initializers.Constant(-1.0))
        self._last_norm = number("last_gradient_norm")
        self._largest_norm = number("largest_gradient_norm")
        self._at_boundary = number("at_boundary")
        if self.warm_start:
            self._direction = vector("direction")
        self._scale = self.add_variable((layout.n_blocks,), dtype=dtype, name="curvature_scale")
        if self.preconditioner:
            self._diagonal = vector("diagonal")
        if self.pretrain_steps:
            self.pretrain_optimizer.build(variables)
        with tf.init_scope():
            self._log = tf.Variable(
                tf.zeros([self.history_size, len(COLUMNS)], tf.float64), trainable=False
            )
            self._logged = tf.Variable(0, dtype=tf.int64, trainable=False)

    # ---- the two ways in

    def apply(self, grads, trainable_variables=None):
        """Take a step from gradients alone, in the graph they were made in."""
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
        if not self._warned:
            self._warned = True
            warnings.warn(
                "NewtonCG: the optimizer sees gradients alone, so this is damped Newton-CG with "
                "the Hessian and a trust region. skhmat.neural_network.second_order(model) adds "
                "Gauss-Newton products and a line search, and is traced faster.",
                UserWarning,
                stacklevel=2,
            )
        if not self.built:
            self.build(trainable_variables)
        grads, trainable_variables = self._filter_empty_gradients(grads, trainable_variables)
        self._check_variables_are_known(trainable_variables)
        if len(trainable_variables) != len(self._trainable_variables):
            raise ValueError(
                "NewtonCG needs the gradient of every variable that it was built with: "
                f"{len(trainable_variables)} of {len(self._trainable_variables)} are there."
            )
        objective = GradientObjective(grads, trainable_variables, self.blocks == "per_variable")
        self._advance(objective)

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
        if not self.built:
            self.build(variables)
        self._check_variables_are_known(variables)
        objective = FunctionObjective(loss, variables, self.blocks == "per_variable")
        self._advance(objective)
        return objective.loss

    @property
    def history(self):
        """What each step did, oldest first.

        A dictionary of arrays of shape (n_steps,): ``step``, ``loss`` before the step (NaN where
        it is not known), ``gradient_norm``, ``cg_steps`` (products taken, one more than steps
        with `warm_start`), ``cg_residual`` (relative),
        ``curvature`` (the least that conjugate gradients met, its sign that of the matrix as
        far as they saw), ``tau``, ``prediction_error``, ``step_length``, ``reduction_ratio``
        and ``fallback`` (strings, "" for a plain Newton step). It is not saved: a loaded optimizer
        begins anew.
        """
        if self._log is None:
            return {name: np.empty(0) for name in COLUMNS}
        n = int(self._logged)
        rows = self._log.numpy()
        rows = rows[:n] if n <= len(rows) else np.roll(rows, -(n % len(rows)), axis=0)
        history = dict(zip(COLUMNS, rows.T.copy(), strict=True))
        for name in ("step", "cg_steps"):
            history[name] = history[name].astype(np.int64)
        history["fallback"] = np.array(FALLBACKS)[history["fallback"].astype(np.int64)]
        return history

    # ---- a step

    def _advance(self, objective):
        """Take a step, by the pretraining optimizer or by Newton's method."""
        if objective.layout.size != self._predicted.shape[0]:
            raise ValueError(
                f"NewtonCG was built for {self._predicted.shape[0]} trainable weights, and there "
                f"are {objective.layout.size} now. Compile the model again, with a new optimizer."
            )
        if not self.pretrain_steps:
            self._newton_step(objective, self._solve(objective))
        else:
            # Gradients alone are not to be differentiated within a branch.
            system = self._solve(objective) if objective.evaluate is None else None
            tf.cond(
                self.iterations < self.pretrain_steps,
                lambda: self._pretrain_step(objective),
                lambda: self._newton_step(objective, system or self._solve(objective)),
            )
        self._finish()

    def _finish(self):
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
        gradients = objective.layout.unpack(objective.gradient)
        self.pretrain_optimizer.apply(gradients, self._trainable_variables)
        self._record(objective, cg_steps=0, fallback=FALLBACKS.index("pretraining"))

    def _solve(self, objective):
        """Return the Newton system and its solution."""
        layout, g = objective.layout, objective.gradient
        error = self._prediction_error(objective)
        gradients_alone = objective.evaluate is None
        if gradients_alone:
            self._adapt_radius_to_gradients(g)
        b = -layout.pack(self._clip_gradients(layout.unpack(g)))
        if objective.indefinite:
            b = self._probe_where_zero(b)
        precondition = start = known = None
        if self.warm_start:
            start = self.warm_start * self._direction
            known = self._damping_rule(error)(self._scale)
            known = tf.where(self._scale == 0, -tf.ones_like(known), known)
        if self.preconditioner:
            precondition = self._make_preconditioner(objective, error)
        tolerance = self.cg_tol
        if tolerance == "auto":
            tolerance = tf.clip_by_value(error, 10 * epsilon(g), _MAX_TOLERANCE)
        solution = steihaug(
            objective.product,
            b,
            layout,
            damping=self._damping_rule(error),
            known_damping=known,
            tolerance=tf.cast(tolerance, g.dtype),
            max_steps=self.max_cg_steps or _MAX_CG_STEPS[gradients_alone],
            radius=tf.convert_to_tensor(self._radius),
            bounded=gradients_alone,
            precondition=precondition,
            start=start,
            product_where=objective.product_where if gradients_alone else None,
        )
        return _System(solution, b, error)

    def _newton_step(self, objective, system):
        """Move along the solution, as far as the line search lets."""
        g, layout, solution = objective.gradient, objective.layout, system.solution
        d, Bd, fallback = _safeguarded(objective, system)
        slope, curvature = tf.tensordot(g, d, 1), tf.tensordot(d, Bd, 1)
        weights = [tf.identity(variable) for variable in objective.variables]
        parts = layout.unpack(d)

        def move(length):
            for variable, weight, part in zip(objective.variables, weights, parts, strict=True):
                variable.assign(weight + length * part)

        def evaluate(length):
            move(length)
            return tf.cast(objective.evaluate(), g.dtype)

        length = tf.cast(self.learning_rate, g.dtype)
        ratio = tf.constant(np.nan, g.dtype)
        if objective.evaluate is not None and self.armijo is not None:
            loss = tf.cast(objective.loss, g.dtype)
            length, reached = backtrack(evaluate, loss, slope, curvature, length, self.armijo)
            foretold = -(slope * length + curvature * length**2 / 2)
            ratio = tf.math.divide_no_nan(loss - reached, foretold)
        broken = fallback == FALLBACKS.index("not finite")
        length = tf.where(broken, tf.zeros_like(length), length)
        move(length)
        rejected = (length == 0) & (tf.tensordot(g, g, 1) > 0)
        fallback = tf.where(rejected & (fallback < 4), FALLBACKS.index("rejected"), fallback)

        def keep():
            self._shrink(objective, system, length)
            self._remember(objective, solution, d, g + length * Bd, length, ratio, rejected)

        # What is not finite is not to be remembered either.
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

    def _shrink(self, objective, system, length):
        """Draw the weights a little to zero, where batches disagree."""
        if not self.shrinkage or not objective.shrinks:
            return
        drawn = [variable for variable in objective.variables if len(variable.shape) > 1]
        if not drawn:
            return
        # What this changes of the next gradient was not foretold: keep it well below what was not
        # foretold of this one, or the two would drive each other.
        curvature = tf.reduce_max(tf.abs(system.solution.first_curvature))
        unforetold = system.error * tf.norm(objective.gradient)
        most = tf.math.divide_no_nan(0.3 * unforetold, curvature * tf.linalg.global_norm(drawn))
        part = tf.minimum(self.shrinkage * length * system.error**2, most)
        for variable in drawn:
            variable.assign((1 - part) * variable)

    def _prediction_error(self, objective):
        """Return how far the gradient is from what the last step foretold, relative, at most 1."""
        g = objective.gradient
        # Gradients of pure rounding tell nothing, so those before set the scale as well.
        norm = tf.where(tf.math.is_finite(tf.norm(g)), tf.norm(g), tf.zeros([], g.dtype))
        self._largest_norm.assign(tf.maximum(norm, self._largest_norm))
        scale = tf.maximum(tf.norm(g), self._last_norm)
        scale = tf.maximum(scale, epsilon(g) ** 0.75 * self._largest_norm)
        error = tf.minimum(tf.math.divide_no_nan(tf.norm(g - self._predicted), scale), 1)
        error = tf.where(tf.math.is_finite(error), error, tf.ones_like(error))
        return tf.where(self._known > 0, error, objective.first_error * tf.ones_like(error))

    def _damping_rule(self, error):
        """Return the function from the curvature along the gradient to the damping."""
        # A rejected step foretells nothing but that damping must grow.
        error = tf.maximum(error, self._rejected)
        if self.tau == "auto":
            least = _LEAST_FALL * self._scale
            factor = _DAMPING * self._boost * error**2
            return lambda curvature: factor * tf.maximum(tf.abs(curvature), least)
        if self.tau == "levenberg-marquardt":
            return lambda curvature: tf.where(
                self._damping < 0, error * tf.abs(curvature), self._damping
            )
        return lambda curvature: tf.ones_like(curvature) * self.tau

    def _probe_where_zero(self, b):
        """Return a random right-hand side where the gradient is 0, to look for a way down."""

        def probe():
            seed = tf.stack([self.iterations.value, 0])
            noise = tf.random.stateless_normal(tf.shape(b), tf.cast(seed, tf.int32), dtype=b.dtype)
            return 1e-3 * self._radius * noise

        return tf.cond(tf.reduce_any(b != 0), lambda: b, probe)

    def _make_preconditioner(self, objective, error):
        """Update the running diagonal and return the division by it."""
        g, layout = objective.gradient, objective.layout
        if self.preconditioner == "jacobi":
            seed = tf.cast(tf.stack([self.iterations.value, 1]), tf.int32)
            signs = tf.random.stateless_uniform(tf.shape(g), seed, 0, 2, dtype=tf.int32)
            signs = tf.cast(2 * signs - 1, g.dtype)
            estimate = signs * objective.product(signs)
        else:
            estimate = g**2
        memory = _PRECONDITIONER_MEMORY
        updated = memory * self._diagonal + (1 - memory) * estimate
        finite = tf.math.is_finite(tf.norm(updated))
        self._diagonal.assign(tf.where(finite, updated, self._diagonal))
        diagonal = tf.abs(tf.convert_to_tensor(self._diagonal))
        if self.preconditioner == "empirical_fisher":
            # Squared gradients of batches have no scale of their own: take that of the matrix.
            along = tf.math.divide_no_nan(layout.dot(g, diagonal * g), layout.dot(g, g))
            factor = tf.math.divide_no_nan(tf.convert_to_tensor(self._scale), along)
            diagonal = diagonal * layout.spread(factor)
        else:
            taken = tf.cast(self.iterations - self.pretrain_steps + 1, g.dtype)
            diagonal = diagonal / (1 - memory ** tf.maximum(taken, 1))
        shift = tf.maximum(self._damping_rule(error)(tf.convert_to_tensor(self._scale)), 0)
        floor = 0.01 * tf.reduce_mean(diagonal)
        diagonal = diagonal + layout.spread(shift) + floor
        diagonal = tf.where(diagonal > 0, diagonal, tf.ones_like(diagonal))
        return lambda r: r / diagonal

    def _adapt_radius_to_gradients(self, g):
        """Shrink the trust region where the last gradient was foretold badly, else let it grow."""
        missed = tf.math.divide_no_nan(tf.norm(g - self._predicted), self._last_norm)
        missed = tf.where(tf.math.is_finite(missed), missed, tf.constant(np.inf, g.dtype))
        known = (self._known > 0) & tf.math.is_finite(tf.norm(g))
        shrink = tf.where(known & (missed > 2), tf.constant(0.5, g.dtype), 1.0)
        grow = tf.where(known & (missed < 1) & (self._at_boundary > 0), 2.0, 1.0)
        self._radius.assign(self._radius * shrink * tf.cast(grow, g.dtype))

    def _remember(self, objective, solution, d, predicted, length, ratio, rejected):
        """Keep what the next step needs."""
        dtype = d.dtype
        one = tf.ones([], dtype)
        self._predicted.assign(predicted)
        self._rejected.assign(tf.cast(rejected, dtype))
        self._known.assign(one)
        self._last_norm.assign(tf.norm(objective.gradient))
        boost = tf.convert_to_tensor(self._boost)
        self._boost.assign(tf.where(rejected, 4 * boost, tf.maximum(boost / 4, one)))
        step = length * tf.norm(d)
        at_boundary = step >= 0.99 * self._radius
        self._at_boundary.assign(tf.cast(at_boundary, dtype))
        if objective.evaluate is not None and self.armijo is not None:
            radius = tf.convert_to_tensor(self._radius)
            bad = rejected | (ratio < 0.25)
            changed = tf.where(bad, tf.maximum(radius / 4, epsilon(d)), radius)
            changed = tf.where((ratio > 0.75) & at_boundary, 2 * radius, changed)
            self._radius.assign(tf.where(solution.negative, changed, radius))
        damping = tf.reduce_mean(solution.damping)
        if self.tau == "levenberg-marquardt":
            factor = tf.where(ratio > 0.75, 1 / 1.5, 1.0)
            factor = tf.where((ratio < 0.25) | rejected, 1.5, factor)
            damping = damping * tf.cast(factor, dtype)
        self._damping.assign(damping)
        if self.warm_start:
            self._direction.assign(d)
        scale = tf.maximum(tf.abs(solution.first_curvature), _LEAST_FALL * self._scale)
        self._scale.assign(scale)

    def _record(self, objective, **entries):
        """Add a row to the history."""
        entries["step"] = self.iterations.value
        entries["gradient_norm"] = tf.norm(objective.gradient)
        if objective.loss is not None:
            entries["loss"] = objective.loss
        row = [tf.cast(entries.get(name, np.nan), tf.float64) for name in COLUMNS]
        self._log[self._logged % self.history_size].assign(tf.stack(row))
        self._logged.assign_add(1)


class _System(NamedTuple):
    solution: Solution
    b: Any
    error: Any  # of the last prediction


def _safeguarded(objective, system):
    """Return a direction of descent, the curvature matrix times it, and what had to be done."""
    solution, b = system.solution, system.b
    g, d, Bd = objective.gradient, solution.direction, solution.product
    at_zero = tf.reduce_all(g == 0)
    flat = at_zero & ~solution.negative
    finite = tf.math.is_finite(tf.norm(d)) & tf.math.is_finite(tf.norm(Bd))
    descends = (tf.tensordot(g, d, 1) < 0) | at_zero
    steepest = ~(finite & descends)
    scale = tf.abs(solution.first_curvature) + solution.damping
    scale = objective.layout.spread(tf.where(scale > 0, scale, tf.ones_like(scale)))
    d = tf.where(steepest, b / scale, d)
    Bd = tf.where(steepest, b, Bd)
    d, Bd = (tf.where(flat, tf.zeros_like(v), v) for v in (d, Bd))
    fallback = tf.where(solution.negative, FALLBACKS.index("negative curvature"), 0)
    fallback = tf.where(steepest, FALLBACKS.index("steepest descent"), fallback)
    broken = ~tf.math.is_finite(tf.norm(d))
    d, Bd = (tf.where(broken, tf.zeros_like(v), v) for v in (d, Bd))
    return d, Bd, tf.where(broken, FALLBACKS.index("not finite"), fallback)

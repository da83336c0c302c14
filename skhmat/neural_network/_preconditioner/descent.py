"""Steps of the inner optimizers with preconditioned gradients, and learning from each batch."""

from dataclasses import dataclass, field

from .._curvature.parameter_vector import ParameterVector
from .._keras import tf, unwrap_variables
from .diagnostics import Diagnostics
from .estimate_state import EstimateSettings
from .hessian_estimate import EstimatePolicy, HessianEstimate
from .inner_optimizer import apply_inner, remaining_part, transport_momentum
from .learning_rates import LearningRatePolicy, LearningRates
from .restart import LossMonitor, PredictionMonitor, RestartPolicy, RestartRequest


@dataclass(frozen=True)
class DescentPolicy:
    """Numbers that decide what the preconditioner does, unless a parameter does.

    Attributes
    ----------
    estimate, rates, restart
        The policies of these modules.
    """

    estimate: EstimatePolicy = field(default_factory=EstimatePolicy)
    rates: LearningRatePolicy = field(default_factory=LearningRatePolicy)
    restart: RestartPolicy = field(default_factory=RestartPolicy)


POLICY = DescentPolicy()


@dataclass(frozen=True)
class DescentSettings:
    """The user's settings of the steps.

    Attributes
    ----------
    estimate : EstimateSettings
    restart : {"epoch", "auto"}, int or None
    adapts : bool
        Whether learning rates are learned.
    sets_rates : bool
        Whether inner optimizers use them.
    given_rate : float or None
        The learning rate of the first epoch.
    first_rate : float
        The learning rate until something is known.
    update_while_estimating : bool
    """

    estimate: EstimateSettings
    restart: str | int | None
    adapts: bool
    sets_rates: bool
    given_rate: float | None
    first_rate: float
    update_while_estimating: bool


class PreconditionedDescent:
    """The state of the optimizer, in the order of saved models, which must not change, and a step.

    Parameters
    ----------
    add_variable : callable
        Creates state: ``add_variable(name, shape=(), dtype="float64", initializer="zeros")``.
    groups : VariableGroups
    inners : list of keras.optimizers.Optimizer
        One for each group.
    dtype : str
        Of the variables.
    settings : DescentSettings
    policy : DescentPolicy

    Attributes
    ----------
    groups, request, diagnostics, losses, rates, estimate, predictions
        Objects with a part of the state each; `predictions` is None unless ``restart="auto"``.
    """

    def __init__(self, add_variable, groups, inners, dtype, settings, policy=POLICY):
        self._inners, self._settings = inners, settings
        # Rates are learned as if there were no momentum.
        self._remaining = remaining_part(inners[0])
        self._rank = settings.estimate.rank
        variables = unwrap_variables(groups.ordered)
        self.groups = groups
        self.request = RestartRequest(add_variable, settings.restart)
        self.diagnostics = Diagnostics(add_variable)
        self.losses = LossMonitor(add_variable, policy.restart)
        self.rates = LearningRates(
            add_variable,
            len(groups),
            settings.first_rate / self._remaining,
            is_given=settings.given_rate is not None,
            is_preconditioned=self._rank > 0,
            adapts=settings.adapts,
            policy=policy.rates,
        )
        self.estimate = HessianEstimate(
            add_variable,
            ParameterVector(variables),
            [ParameterVector(group).size for group in groups.split(groups.ordered)],
            dtype,
            self.rates,
            self.diagnostics,
            self._transport_momentum,
            settings.estimate,
            policy.estimate,
        )
        self.predictions = None
        if settings.restart == "auto" and self._rank:
            n_predicted = len(groups) * self._rank
            self.predictions = PredictionMonitor(
                add_variable, variables, n_predicted, policy.restart
            )

    def set_rate(self, rate):
        """Use a learning rate for all groups until the next estimate is finished."""
        self.rates.set(rate / self._remaining)

    def request_if_predictions_fail(self):
        """Request a new estimate if the present one no longer predicts gradients."""
        if self.predictions is not None:
            self.request.add(self.predictions.has_failed(self.estimate.kept_eigenvalues))

    def request_if_due(self, is_new_epoch):
        """Request a new estimate if an epoch, (), bool, or the number of steps, is over."""
        self.request.update(is_new_epoch, self.estimate, self.diagnostics)

    def report(self):
        """Warn of problems since the last report."""
        estimate = self._settings.estimate
        self.diagnostics.report(
            worst=float(self.estimate.state.worst.numpy()),
            length=estimate.prior_iterations + estimate.num_observations,
        )

    def step(self, objective, is_known, has_epochs):
        """Learn from the batch, then let the inner optimizers update the weights.

        objective : FunctionObjective or GradientObjective
        is_known : list of bool
            Whether the loss depends on each variable.
        has_epochs : bool
            Whether something ends the first epoch.
        """
        gradients, estimate = objective.gradients, self.estimate
        if self.predictions is not None:
            U = self.groups.split([u.value for u in estimate.state.U])
            self.predictions.watch(gradients, U, estimate)
            self.request_if_predictions_fail()
        # The cost of a step without a product is that of its passes over the gradients: this one
        # serves everything that follows.
        squares = _squared_lengths(self.groups.split(gradients))
        finite = tf.math.is_finite(tf.reduce_sum(squares))
        # Nothing can be learned from a gradient that is zero.
        is_able = finite & tf.reduce_any(squares > 0)
        begins = self.request.is_pending & estimate.is_idle & is_able
        tf.cond(begins, lambda: self._begin_estimate(gradients, squares), lambda: None)
        self.rates.fall(self.losses.overshoot())
        usable = estimate.advance(objective, squares, is_able)
        self.diagnostics.count("not_finite", ~finite | ~usable)
        if self._settings.sets_rates and self._settings.given_rate is None:
            # If the curvature overflows, the rate that follows from it is not finite either.
            finite &= usable | (estimate.finished.value > 0)
        tf.cond(
            finite,
            lambda: self._update(gradients, squares, is_known, has_epochs),
            lambda: None,
        )
        self.request.count_step()

    def _begin_estimate(self, gradients, squares):
        self.rates.limit(self.losses)
        self.request.settle()
        self.estimate.begin(gradients, squares)

    def _update(self, gradients, squares, is_known, has_epochs):
        """Hand the rescaled gradients to the inner optimizers.

        squares : tensor of shape (n_groups,)
            Squared lengths of the gradients.
        """
        settings, estimate = self._settings, self.estimate
        pieces = self.groups.split(gradients)
        if self._rank:
            pieces, changes = estimate.precondition(pieces)
            squares += changes
        is_finished = estimate.finished.value > 0
        if settings.adapts:
            shortening = self.rates.shortening(squares, ~estimate.is_idle, is_finished)
            pieces = tf.cond(
                tf.reduce_any(shortening < 1), lambda: _scale(pieces, shortening), lambda: pieces
            )
        rates = self.rates.value
        if settings.given_rate is not None:
            # In the first epoch; if nothing ends that, until the first estimate is finished.
            is_first = estimate.started.value <= 1 if has_epochs else ~is_finished
            given = tf.cast(settings.given_rate / self._remaining, rates.dtype)
            rates = tf.where(is_first, given, rates)

        def move():
            for inner, rate, group, known in zip(
                self._inners, tf.unstack(rates), pieces, self.groups.split(is_known), strict=True
            ):
                own_rate = self._remaining * rate if settings.sets_rates else None
                apply_inner(inner, group, known, own_rate)

        if settings.update_while_estimating:
            move()
        else:
            tf.cond(estimate.is_idle, move, lambda: None)

    def _transport_momentum(self, undo):
        """Let momentum follow a new preconditioner; `undo` multiplies by the last one's inverse."""
        redo = self.estimate.precondition
        transport_momentum(self._inners, undo, lambda groups: redo(groups)[0])


def _squared_lengths(groups):
    """Return the squared lengths of the gradients of each group, (n_groups,)."""
    return tf.stack(
        [2 * tf.add_n([tf.cast(tf.nn.l2_loss(g), tf.float64) for g in group]) for group in groups]
    )


def _scale(groups, factors):
    """Return the gradients of each group times its factor, of shape (n_groups,)."""
    factors = tf.unstack(tf.cast(factors, groups[0][0].dtype))
    return [[factor * g for g in group] for factor, group in zip(factors, groups, strict=True)]

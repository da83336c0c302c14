"""What NewtonCG keeps from step to step, separate from the rules that change it."""

from .._keras import keras


class NewtonState:
    """The variables of the optimizer: what is saved with a model, in the order of their creation.

    The names and the order are those of saved models, and must not change. `n` is the number of
    weights.

    Attributes
    ----------
    predicted : (n,)
        The gradient that the last step predicted for this one.
    has_prediction : ()
        1 after the first Newton step, 0 before.
    radius : ()
        Of the trust region.
    boost : ()
        Factor of the automatic damping that rejected steps raise, at least 1.
    rejected : ()
        1 if the last step was rejected.
    damping : ()
        The damping of the last step, as Levenberg and Marquardt adapt it; negative before it.
    last_norm, largest_norm : ()
        Norms of the last gradient, and of the largest one so far.
    at_boundary : ()
        1 if the last step ended at the boundary of the trust region.
    direction : (n,) or None
        The last direction, with `warm_start`.
    scale : (n_blocks,)
        The curvature along the last gradient.
    diagonal : (n,) or None
        The running mean of the diagonal, with a preconditioner.
    """

    def __init__(self, add_variable, parameters, dtype, *, trust_radius, warm_start, has_diagonal):
        def vector(name):
            return add_variable((parameters.size,), dtype=dtype, name=name)

        def number(name, initializer="zeros"):
            return add_variable((), dtype=dtype, name=name, initializer=initializer)

        self.predicted = vector("predicted_gradient")
        self.has_prediction = number("has_prediction")
        self.radius = number("radius", keras.initializers.Constant(trust_radius))
        self.boost = number("boost", "ones")
        self.rejected = number("rejected")
        self.damping = number("damping", keras.initializers.Constant(-1.0))
        self.last_norm = number("last_gradient_norm")
        self.largest_norm = number("largest_gradient_norm")
        self.at_boundary = number("at_boundary")
        self.direction = vector("direction") if warm_start else None
        self.scale = add_variable((parameters.n_blocks,), dtype=dtype, name="curvature_scale")
        self.diagonal = vector("diagonal") if has_diagonal else None

"""Keras models as scikit-learn estimators.

`base` has what `classifier` and `regressor` share; `targets` encodes y, `networks` makes models and
optimizers, `losses` knows what a loss says of the outputs, `training` and `prediction` run the
network, and `persistence` pickles it.
"""

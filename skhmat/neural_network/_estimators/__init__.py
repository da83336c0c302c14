"""Keras models as scikit-learn estimators.

`base` has what `classifier` and `regressor` share; `targets` encodes y, `networks` makes models,
losses and optimizers, and `persistence` pickles them.
"""
